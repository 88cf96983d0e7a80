"""A recipe becomes a model folder: data → model → transfer texts → loop → folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError

from tlx.runtime.errors import DataError, FolderError, UsageError
from tlx.runtime.examples import TEXT_NAMES, Examples, is_missing, pick_column, read_table
from tlx.runtime.folder import file_record
from tlx.runtime.staging import check_out, clear_stale, staged_folder
from tlx.runtime.tasks import guess_task
from tlx.runtime.tasks.task import Encoded, Input, Task, unit_starts
from tlx.train.augment import augment, embedding_neighbours
from tlx.train.batches import Ragged, Rows, TokenRows, encode, token_rows, tokens_of, with_words
from tlx.train.building import Student, build
from tlx.train.checkpoint import Progress
from tlx.train.console import Advance, Console
from tlx.train.defaults import augment_count, resolve_max_tokens, resolve_training
from tlx.train.loop import Fit, Report, fit, judge
from tlx.train.objective import HiddenStates, Objective
from tlx.train.pretrained import model_hashes, token_limit
from tlx.train.recipe import Recipe
from tlx.train.runs import begin, check_same_data, kept_if_worked, recipe_of, run_folder
from tlx.train.split import stratified_split
from tlx.train.tasks import train_task
from tlx.train.tasks.task import TrainTask
from tlx.train.teachers import Teacher, ask_teachers, load_teacher, takes_types
from tlx.train.trainable import UsedRows
from tlx.train.writing import Data, write_model

__all__ = ["TrainResult", "run_folder", "train"]

LABELS_TOLD = 6


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run made. `metrics` are those of the best weights on the validation rows."""

    folder: Path
    task: str
    metrics: Mapping[str, float]
    best_epoch: float
    steps: int
    rows: int
    seconds: float


def train(
    recipe: Recipe, out: str | Path, *, overwrite: bool = False, resume: bool = False, console: Console | None = None
) -> TrainResult:
    """Trains and writes the model folder `out`; nothing is there until all is.

    A run that was stopped is continued with `resume`, with the recipe it had. Raises UsageError when `out` exists,
    DataError for faults in the data, TrainingError when the loop cannot go on.
    """
    out, console = Path(out), console or Console()
    if out.name in ("", ".."):
        raise UsageError(f"{out} cannot be made anew: name a new folder, e.g. --out models/mine")
    several_on_cpu = not torch.cuda.is_available() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    folder, accelerator = run_folder(out), Accelerator(cpu=several_on_cpu)
    try:
        clear_stale(out)
        recipe = recipe_of(folder, recipe, resume=resume, overwrite=overwrite)
        check_out(out, overwrite=overwrite, used=_read_by(recipe))
        if not accelerator.is_main_process:
            console = Console(quiet=True)
        with kept_if_worked(folder) if accelerator.is_main_process else nullcontext():
            result = _run(recipe, out, folder, accelerator, overwrite=overwrite, resume=resume, console=console)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        flags = "--resume --overwrite" if overwrite else "--resume"
        how = f"go on with `tlx train {flags} --out {out}`" if folder.exists() else "start again"
        raise FolderError(f"{out} was not written: {reason}; mend that and {how}") from error
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _read_by(recipe: Recipe) -> list[str]:
    """The files and folders that the recipe names."""
    data, model = recipe.data, recipe.model
    single = (data.train, data.validation, model.base, recipe.distil.cache)
    options = [value for value in recipe.task.values() if isinstance(value, str) and Path(value).is_file()]
    return [*filter(None, single), *data.unlabelled, *model.teachers, *options]


def _run(
    recipe: Recipe,
    out: Path,
    folder: Path,
    accelerator: Accelerator,
    *,
    overwrite: bool,
    resume: bool,
    console: Console,
) -> TrainResult:
    torch.manual_seed(recipe.train.seed)
    device, given = accelerator.device, recipe
    recipe, data, task = _read(recipe)
    hashes = _hashes(recipe, data)
    if resume:
        check_same_data(folder, hashes)
    console.say(_reading(task, data.train))
    console.say(f"{len(data.train)} training and {len(data.validation)} validation rows from {data.train.source}")
    teachers = [load_teacher(source, type(task), device) for source in recipe.model.teachers]
    recipe = _adopt(recipe, task, teachers, console)
    if recipe.model.base is not None or teachers:
        task.start_from(recipe.model.base or teachers[0].source)
    inputs = _transfer_inputs(recipe, task, data, teachers, console)
    every_text = [*data.train.texts, *Examples(source="", inputs=inputs).texts]
    student = build(recipe.model, task, teachers, every_text, recipe.train.dropout)
    task.adopt_tokenizer(student.tokenizer)
    task.begin(student.model, student.untrained)
    if accelerator.is_main_process and not resume:
        begin(folder, given, hashes)
    with accelerator.main_process_first():
        recipe, prepared = _rows(recipe, task, teachers, student, data, inputs, folder, device, console)
    rows, validation = prepared.train, prepared.validation
    model, states = student.model, None
    if rows.teacher is not None:
        states = HiddenStates(task, model, teachers[0].model, recipe.distil, student.kept)
    narrowed = UsedRows(model, [rows.student, validation.student], student.tokenizer.all_special_ids)
    rows = replace(rows, student=narrowed.narrowed(rows.student))
    validation = replace(validation, student=narrowed.narrowed(validation.student))
    section = recipe.distil if teachers else None
    run = Fit(
        model=model,
        objective=Objective(task, section, recipe.train.label_smoothing, states),
        train=rows,
        validation=validation,
        validation_inputs=prepared.validation_encoded,
        validation_examples=data.validation,
        settings=recipe.train,
        fresh=student.fresh,
        starts_trained=not student.untrained,
        folder=folder,
    )
    with console.stage("train", 1000) as advance:
        progress = fit(run, accelerator, _reporter(advance, run.metric), resume=resume)
    tuned = judge(run, accelerator.device)
    task.tune(tuned, data.validation)
    narrowed.restore()
    task.finish(model)
    if recipe.train.metric is not None:
        task.settings["metric"] = recipe.train.metric
    if accelerator.is_main_process:
        with staged_folder(out, overwrite=overwrite) as stage:
            write_model(stage, out, recipe, task, student, data, teachers, progress, len(rows))
    return TrainResult(
        folder=out,
        task=task.name,
        metrics=progress.best_metrics,
        best_epoch=progress.best_epoch,
        steps=progress.step,
        rows=len(rows),
        seconds=progress.seconds,
    )


def _read(recipe: Recipe) -> tuple[Recipe, Data, TrainTask]:
    """The examples, split, and the task they are for."""
    section = recipe.data
    if section.train is None:
        raise UsageError("there is no training data: name a file, as in `tlx train data/train.csv --out models/mine`")
    named = {"text": section.text, "text_pair": section.text_pair, "label": section.label}
    columns = {name: value for name, value in named.items() if value is not None}
    kind = train_task(recipe.model.task or guess_task(section.train, columns))
    whole = kind.half.read(section.train, columns)
    task = kind(whole, recipe.task)
    if not task.learns_alone and not recipe.model.teachers:
        raise UsageError(
            f"{kind.half.name} learns from a teacher when the texts stand alone: pass --teacher, or labels, scores or pairs"
        )
    if section.validation is not None:
        held = kind.half.read(section.validation, columns, split="validation")
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
    first, held, more = task.completed(data.train, data.validation, recipe.train.seed)
    data = Data(train=first, validation=held, sources=(*data.sources, *more))
    return recipe.updated("model", task=kind.half.name), data, task


def _reading(task: TrainTask, examples: Examples) -> str:
    """What the data were taken for, so that a wrong guess is seen before the work begins."""
    parts = [examples.told] if examples.told else []
    if task.labels:
        shown = ", ".join(task.labels[:LABELS_TOLD]) + (", …" if len(task.labels) > LABELS_TOLD else "")
        parts.append(f"{len(task.labels)} labels: {shown}")
    return f"{task.name}: {'; '.join(parts) or examples.source} (else: --task, --text, --label)"


def _hashes(recipe: Recipe, data: Data) -> dict[str, str]:
    """The sha256 of every file that the run reads. Raises IntegrityError where a model is not what its manifest says."""
    found = {part.source: part.sha256 for part in data.sources}
    for source in (*recipe.model.teachers, *filter(None, [recipe.model.base])):
        found |= model_hashes(source)
    files = [path for path in map(Path, recipe.data.unlabelled) if path.is_file()]
    return found | {str(path): file_record(path.parent, path.name).sha256 for path in files}


def _adopt(recipe: Recipe, task: TrainTask, teachers: Sequence[Teacher], console: Console) -> Recipe:
    """The task has the teachers' labels, and the recipe the options that it leaves to them."""
    for teacher in teachers:
        task.check_teacher(teacher.model, teacher.source)
        if not task.labels:
            continue
        task.adopt_labels(teacher.labels, teacher.source)
        if set(teacher.labels) != set(task.labels):
            raise DataError(
                f"teachers {teachers[0].source} and {teacher.source} have different labels: train them on the same data"
            )
    if teachers and task.labels:
        task.adopt_labels(teachers[0].labels, teachers[0].source)
    for teacher in teachers:
        options, line = task.adopt_options(teacher.source)
        recipe = replace(recipe, task={**recipe.task, **options})
        if line:
            console.say(line)
    return recipe


def _transfer_inputs(
    recipe: Recipe, task: TrainTask, data: Data, teachers: Sequence[Teacher], console: Console
) -> list[Input]:
    """Unlabelled and augmented inputs for the teachers to label; none without a teacher."""
    inputs: list[Input] = []
    _check_augment(recipe, task)
    columns = {"text": recipe.data.text, "text_pair": recipe.data.text_pair}
    for source in recipe.data.unlabelled:
        inputs += _unlabelled(source, task, {name: value for name, value in columns.items() if value is not None})
    if not teachers:
        if inputs:
            raise UsageError("unlabelled texts need a teacher to label them: pass --teacher")
        return []
    count = (
        augment_count(recipe, len(data.train), _mean_tokens(recipe, task, data, teachers[0])) if task.transfers else 0
    )
    if count:
        with console.stage("augment", 1) as advance:
            table = teachers[0].model.get_input_embeddings().weight.detach().float().cpu().numpy()
            texts = data.train.texts
            neighbours = embedding_neighbours(teachers[0].tokenizer, table, texts)
            kinds = [task.alike(gold) for gold in data.train.gold or ()] if task.labels else []
            known = kinds if kinds and None not in kinds else None
            inputs += augment(texts, count=count, seed=recipe.augment.seed, gold=known, neighbours=neighbours)
            advance(1, f"{len(inputs)} texts")
    return inputs


def _mean_tokens(recipe: Recipe, task: TrainTask, data: Data, teacher: Teacher) -> float:
    """How many tokens of the teacher's a training input has on average, cut where it would be."""
    limit = token_limit(teacher.model, teacher.tokenizer)
    wanted = min(recipe.model.max_tokens or limit, recipe.train.max_tokens or limit, limit)
    tokens = tokens_of(teacher.tokenizer, wanted, task.runtime)
    return sum(len(row) for row in encode(task.runtime, tokens, data.train.inputs).rows) / max(len(data.train), 1)


def _check_augment(recipe: Recipe, task: TrainTask) -> None:
    """Raises UsageError when the recipe asks for texts that are not made, or that nobody would label."""
    asked = recipe.augment.count
    if asked and not recipe.model.teachers:
        raise UsageError(
            f"--augment {asked}: the texts made need a teacher to label them; pass --teacher, or leave it out"
        )
    if asked and not task.transfers:
        parts = " and ".join(task.runtime.input_names)
        raise UsageError(
            f"--augment {asked}: for {task.name} with inputs of {parts} no texts are made; leave it out, and give "
            "--unlabelled FILE where the teacher shall label more"
        )


def _unlabelled(source: str, task: TrainTask, columns: Mapping[str, str]) -> list[Input]:
    """The inputs of a file of transfer texts: the only column, whatever its name, or the task's usual ones."""
    if len(task.runtime.input_names) > 1:
        return task.runtime.inputs_of(source, columns)
    table = read_table(source)
    names = TEXT_NAMES if len(table.columns) > 1 else tuple(table.columns)
    column = pick_column(table, "text", names, columns.get("text") if columns.get("text") in table.columns else None)
    return [str(value) for value in table.columns[column] if not is_missing(value)]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The rows of a run; `validation_encoded` is what the metrics are computed with."""

    train: Rows
    validation: Rows
    validation_encoded: Encoded


def _rows(
    recipe: Recipe,
    task: TrainTask,
    teachers: Sequence[Teacher],
    student: Student,
    data: Data,
    inputs: Sequence[Input],
    folder: Path,
    device: torch.device,
    console: Console,
) -> tuple[Recipe, Prepared]:
    """Everything encoded, labelled and counted; the recipe comes back with what depended on it."""
    model, half = student.model, task.runtime
    limit = token_limit(model, student.tokenizer)
    whole = tokens_of(student.tokenizer, limit, half)
    lengths = np.array([len(row) for row in encode(half, whole, data.train.inputs).rows], dtype=np.int64)
    recipe = resolve_max_tokens(recipe, lengths, limit, half)
    max_tokens, reads = int(recipe.train.max_tokens or limit), int(recipe.model.max_tokens or limit)
    tokens = tokens_of(student.tokenizer, max_tokens, half)
    parts = ([*data.train.inputs, *inputs], list(data.validation.inputs))
    labelled = encode(half, tokens, data.train.inputs)
    _tell_cut(labelled.truncated, len(data.train), max_tokens, limit, console)
    encoded = [
        task.arranged(encode(half, tokens, parts[0]) if inputs else labelled, max_tokens),
        encode(half, tokens_of(student.tokenizer, reads, half), parts[1]),
    ]
    width, depth = (getattr(model.config, name, n) for name, n in (("hidden_size", 384), ("num_hidden_layers", 6)))
    row_lengths = np.array([len(row) for row in encoded[0].rows], dtype=np.int64)
    recipe = resolve_training(recipe, row_lengths, width, depth, device, task.rows_a_step)
    pad, types = tokens.pad_id or 0, takes_types(model)
    own, held = (token_rows(part, pad, types=types) for part in encoded)
    theirs: TokenRows | None = None
    shared = bool(teachers) and teachers[0].tokenizer is student.tokenizer
    # Words are aligned where each input is one row.
    aligned = _wants_states(recipe, task, teachers, student) and (shared or encoded[0].owners is None)
    if task.beside and teachers and (not (aligned and shared) or len(teachers) > 1 or inputs):
        raise UsageError(
            f"{task.name} masks other tokens at every step, and its teacher answers beside the student: give one --teacher "
            "(no --base, --vocabulary or --unlabelled), keep distil.hidden over 0, and cut it by --layers"
        )
    if aligned and shared:
        theirs = own
    elif aligned:
        own = with_words(own, tokens, parts[0])
        theirs = _teacher_rows(teachers[0], half, max_tokens, parts[0])
    # One teacher that runs beside the student anyway answers there.
    asked = ([] if aligned and len(teachers) == 1 else parts[0], [] if task.beside else parts[1])
    answers = _answers(recipe, task, teachers, student, asked, encoded, folder, console)
    gold = task.gold(data.train, labelled if inputs else encoded[0])
    if gold is not None and inputs:
        rest = task.unlabelled_gold(encode(half, tokens, inputs))
        gold = None if rest is None else gold.followed_by(rest)
    train_rows = Rows(student=own, gold=gold, teacher_outputs=answers[0], teacher=theirs, group=task.group)
    held_rows = Rows(student=held, gold=task.held_gold(encoded[1]), teacher_outputs=answers[1])
    return recipe, Prepared(train=train_rows, validation=held_rows, validation_encoded=encoded[1])


def _tell_cut(count: int, total: int, max_tokens: int, limit: int, console: Console) -> None:
    """Says how many training texts lose their end, and what would keep it."""
    if not count:
        return
    advice = f"--max-tokens keeps up to {limit}" if max_tokens < limit else "the model takes no more"
    console.say(f"warning: training texts longer than {max_tokens} tokens are cut: {count} of {total} ({advice})")


def _teacher_rows(teacher: Teacher, half: Task, max_tokens: int, inputs: Sequence[Input]) -> TokenRows:
    """The inputs in the teacher's own tokens, with their words."""
    tokens = tokens_of(teacher.tokenizer, min(max_tokens, token_limit(teacher.model, teacher.tokenizer)), half)
    rows = token_rows(encode(half, tokens, inputs), tokens.pad_id or 0, types=takes_types(teacher.model))
    return with_words(rows, tokens, inputs)


def _answers(
    recipe: Recipe,
    task: TrainTask,
    teachers: Sequence[Teacher],
    student: Student,
    asked: Sequence[Sequence[Input]],
    encoded: Sequence[Encoded],
    folder: Path,
    console: Console,
) -> list[Ragged | None]:
    """What the teachers give for each part that they are asked, in the student's units; None for an empty part."""
    answers: list[Ragged | None] = [None for _ in asked]
    if not teachers:
        return answers
    limits = int(recipe.train.max_tokens or 0), int(recipe.model.max_tokens or 0)
    cache = folder / "cache" if recipe.distil.cache is None else Path(recipe.distil.cache)
    with console.stage("teacher", len(teachers) * sum(map(len, asked))) as advance:
        for index, part in enumerate(asked):
            if not part:
                continue
            values = ask_teachers(
                teachers,
                task,
                part,
                encoded[index],
                student.tokenizer,
                limits[index],
                cache,
                recipe.train.precision,
                lambda n: advance(n, ""),
            )
            units = task.runtime.units(encoded[index])
            starts = None if units is None else unit_starts(units, len(encoded[index].rows))
            answers[index] = Ragged(torch.from_numpy(values), starts)
    return answers


def _wants_states(recipe: Recipe, task: TrainTask, teachers: Sequence[Teacher], student: Student) -> bool:
    """Whether hidden states are compared: both sides must be encoders with layers, and of the same rows and units."""
    if not teachers or recipe.distil.hidden + recipe.distil.relations == 0:
        return False
    if task.per_token and teachers[0].tokenizer is not student.tokenizer:
        return False
    configs = (student.model.config, teachers[0].model.config)
    return all(hasattr(config, "num_hidden_layers") and not config.is_encoder_decoder for config in configs)


def _reporter(advance: Advance, metric: str) -> Report:
    """Moves a bar of a thousand units, with the epoch, the loss and the best figure behind it."""
    shown = 0

    def report(progress: Progress, total: int) -> None:
        nonlocal shown
        units = 1000 * progress.step // total
        loss = f"loss {progress.losses[-1][1]:.3f}" if progress.losses else ""
        best = f"best {metric} {progress.best:.4f}" if progress.best is not None else ""
        advance(units - shown, f"epoch {progress.epoch + 1} {loss} {best}")
        shown = units

    return report
