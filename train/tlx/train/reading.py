"""What a recipe names is read: the examples, the split, the task they are for."""

from __future__ import annotations

from pathlib import Path

from tlx.runtime.errors import DataError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.folder import file_record
from tlx.runtime.shards import files_matching, is_pattern
from tlx.train.beforehand import Files, check_start, read_files
from tlx.train.pretrained import check_model, model_hashes
from tlx.train.recipe import Recipe
from tlx.train.split import same_as, stratified_split
from tlx.train.tasks import train_task
from tlx.train.tasks.task import TrainTask
from tlx.train.writing import Data

__all__ = ["check_models", "hashes_of", "learnt_too", "read_data", "reading"]

LABELS_TOLD = 6
MANY_LEARNT = 0.05


def read_data(recipe: Recipe, files: Files | None = None) -> tuple[Recipe, Data, TrainTask]:
    """The examples, split, and the task they are for. `files` are the recipe's where they were read before."""
    section, files = recipe.data, files or read_files(recipe)
    kind, whole, held = train_task(files.task), files.train, files.validation
    task = kind(whole, recipe.task)
    if not task.learns_alone and not recipe.model.teachers:
        raise UsageError(
            f"{kind.half.name} learns from a teacher when the texts stand alone: pass --teacher, or labels, scores or pairs"
        )
    if held is not None:
        data = Data(train=whole, validation=held, sources=(whole, held))
    else:
        share, seed = section.validation_share, recipe.train.seed
        first, held = stratified_split(whole, share, seed, task.strata, task.split_group)
        data = Data(train=first, validation=held, sources=(whole,))
    if not len(data.validation) or not len(data.train):
        raise DataError(
            f"{section.train} has {len(whole)} rows: none can be held out and leave each label one to learn from; "
            "pass --validation FILE, or add rows"
        )
    task.check_examples(data.validation)
    first, held, more = task.completed(data.train, data.validation, section.columns, recipe.train.seed)
    data = Data(train=first, validation=held, sources=(*data.sources, *more))
    return recipe.updated("model", task=kind.half.name), data, task


def learnt_too(train: Examples, validation: Examples) -> str | None:
    """What to say where many of the validation inputs are learnt from, too: the figures then tell less than they seem to."""
    learnt = {same_as(item) for item in train.inputs}
    count = sum(same_as(item) in learnt for item in validation.inputs)
    if count <= MANY_LEARNT * len(validation):
        return None
    return (
        f"warning: {count} of {len(validation)} inputs of {validation.source} are among the training rows: its figures are better than "
        "those of new inputs will be; take them out"
    )


def reading(task: TrainTask, examples: Examples) -> str:
    """What the data were taken for, so that a wrong guess is seen before the work begins."""
    parts = [examples.told] if examples.told else []
    if task.labels:
        shown = ", ".join(task.labels[:LABELS_TOLD]) + (", …" if len(task.labels) > LABELS_TOLD else "")
        parts.append(f"{len(task.labels)} labels: {shown}")
    return f"{task.name}: {'; '.join(parts) or examples.source} (else: --task, --text, --label)"


def check_models(recipe: Recipe) -> dict[str, str]:
    """The sha256 of every file of the base and the teachers, which are there; to be called before the data are read.

    Raises UsageError where one is no model or none is named, IntegrityError where it is not what its manifest says.
    """
    check_start(recipe.model)
    found: dict[str, str] = {}
    for source in dict.fromkeys((*filter(None, [recipe.model.base]), *recipe.model.teachers)):
        found |= model_hashes(source)
        check_model(source)
    return found


def hashes_of(recipe: Recipe, data: Data) -> dict[str, str]:
    """The sha256 of every file of texts that the run reads."""
    found = {part.source: part.sha256 for part in data.sources}
    files = [path for source in recipe.data.unlabelled for path in _files(source)]
    return found | {str(path): file_record(path.parent, path.name).sha256 for path in files}


def _files(source: str) -> list[Path]:
    """The files of a path, a pattern or a folder; none of a name on a hub."""
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(item for item in path.rglob("*") if item.is_file())
    return files_matching(source) if is_pattern(source) else []
