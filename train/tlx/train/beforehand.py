"""What can be told before anything heavy is loaded: a recipe's models that are not there, and all that is wrong with its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tlx.runtime.column_files import read_once
from tlx.runtime.errors import DataError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.staging import check_out
from tlx.runtime.tasks import guess_task, task_named
from tlx.train.recipe import ModelSection, Recipe
from tlx.train.runs import recipe_of, run_folder

__all__ = ["Files", "check_folder", "check_start", "look_ahead", "read_files"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """The examples of the training file, those of the validation file where there is one, and the task they are for."""

    task: str
    train: Examples
    validation: Examples | None


def look_ahead(recipe: Recipe, out: Path, *, overwrite: bool) -> Files:
    """The recipe's files. Raises what `train` of a new run would raise about `out`, a model's folder that is none, or them."""
    recipe_of(run_folder(out), recipe, resume=False, overwrite=overwrite)
    check_out(out, overwrite=overwrite)
    check_start(recipe.model)
    for source in filter(None, (recipe.model.base, *recipe.model.teachers)):
        check_folder(source)
    return read_files(recipe)


def check_start(section: ModelSection) -> None:
    """Raises UsageError where the recipe names neither base nor teacher, or both where only one counts."""
    if section.base is None and not section.teachers:
        wanted = "pass --base (a pretrained model) or --teacher"
        if section.student == "transformer":
            raise UsageError(f"there is nothing to start from: {wanted}")
        raise UsageError(f"--student {section.student} needs a vocabulary: {wanted}")
    if section.student != "transformer" and section.base is not None and section.teachers:
        raise UsageError(
            f"--student {section.student} starts from its first teacher's words, and --base {section.base} would do nothing: leave "
            "--base out"
        )


def check_folder(source: str) -> None:
    """Raises UsageError where `source` can be neither a model's folder nor a name on a model hub."""
    path = Path(source)
    if path.is_file():
        raise UsageError(f"{source} is a file: wanted the folder of a pretrained model")
    here = len(path.parts) == 2 and path.parent.is_dir()  # a hub's names have two parts, too
    if not path.exists() and (here or path.is_absolute() or len(path.parts) > 2):
        raise UsageError(f"{source} does not exist: wanted the folder of a pretrained model, or a name on a model hub")
    if path.is_dir() and not (path / "config.json").is_file():
        raise UsageError(f"{source} has no config.json: wanted the folder of a pretrained model")


def read_files(recipe: Recipe) -> Files:
    """What the recipe's `data` names. Raises UsageError where that is nothing, DataError for faults in it."""
    try:
        return _read(recipe)
    except OSError as error:
        raise DataError(f"{recipe.data.train} cannot be read: {error.strerror or error}") from error


def _read(recipe: Recipe) -> Files:
    section = recipe.data
    if section.train is None:
        raise UsageError("there is no training data: name a file, as in `tlx train data/train.csv --out models/mine`")
    columns = section.columns
    source = read_once(section.train)
    half = task_named(recipe.model.task or guess_task(source, columns))
    train, validation = half.read(source, columns), None
    if section.validation is not None:
        held = read_once(section.validation, split="validation")
        validation = half.read_beside(held, columns, train, split="validation")
    return Files(task=half.name, train=train, validation=validation)
