"""A recipe becomes a model folder: data → model → transfer texts → loop → folder."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import SafetensorError

from tlx.runtime.errors import DataError, FolderError
from tlx.runtime.examples import Examples
from tlx.runtime.staging import check_out, clear_stale, staged_folder
from tlx.runtime.tasks.task import Input
from tlx.train.beforehand import Files
from tlx.train.building import Student, build
from tlx.train.checkpoint import Progress
from tlx.train.console import Advance, Console
from tlx.train.defaults import resolve_dropout
from tlx.train.dropout import set_dropout
from tlx.train.loop import Fit, Report, fit
from tlx.train.objective import HiddenStates, Objective
from tlx.train.preparing import Prepared, prepare
from tlx.train.probe import probe
from tlx.train.reading import check_models, hashes_of, learnt_too, read_data, reading
from tlx.train.recipe import Recipe
from tlx.train.runs import begin, check_same_data, claimed, has_checkpoint, recipe_of, run_folder
from tlx.train.tasks.task import TrainTask
from tlx.train.teachers import Teacher, check_cache, load_teacher
from tlx.train.terms.learnt import LearntTerm
from tlx.train.terms.vectors import TextVectors, head_of
from tlx.train.trainable import UsedRows
from tlx.train.transfer import transfer_inputs
from tlx.train.unread import unread_skipped
from tlx.train.writing import Data, write_model

__all__ = ["TrainResult", "run_folder", "train"]


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
    recipe: Recipe,
    out: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    console: Console | None = None,
    files: Files | None = None,
) -> TrainResult:
    """Trains and writes the model folder `out`; nothing is there until all is.

    A run that was stopped is continued with `resume`, with the recipe it had. `files` are the recipe's, where they were
    read before. Raises UsageError when `out` exists,
    DataError for faults in the data, TrainingError when the loop cannot go on.
    """
    out, console = Path(out), console or Console()
    several_on_cpu = not torch.cuda.is_available() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    folder, accelerator = run_folder(out), Accelerator(cpu=several_on_cpu)
    if not accelerator.is_main_process:
        console = Console(quiet=True)
    try:
        with claimed(folder) if accelerator.is_main_process else nullcontext():
            clear_stale(out)
            recipe = recipe_of(folder, recipe, resume=resume, overwrite=overwrite)
            check_out(out, overwrite=overwrite, used=_read_by(recipe))
            result = _run(recipe, out, folder, accelerator, files, overwrite=overwrite, resume=resume, console=console)
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                shutil.rmtree(folder, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        flags = "--resume --overwrite" if overwrite else "--resume"
        how = f"go on with `tlx train {flags} --out {shlex.quote(str(out))}`" if folder.exists() else "start again"
        raise FolderError(f"{out} was not written: {reason}; mend that and {how}") from error
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
    files: Files | None,
    *,
    overwrite: bool,
    resume: bool,
    console: Console,
) -> TrainResult:
    torch.manual_seed(recipe.train.seed)
    given = recipe
    models = check_models(recipe)
    if recipe.distil.cache is not None:
        check_cache(Path(recipe.distil.cache))
    recipe, data, task = read_data(recipe, files)
    hashes = models | hashes_of(recipe, data)
    if resume:
        check_same_data(folder, hashes)
    console.say(reading(task, data.train))
    if (flattered := learnt_too(data.train, data.validation)) is not None:
        console.say(flattered)
    console.say(f"{len(data.train)} training and {len(data.validation)} validation rows from {data.train.source}")
    teachers = [load_teacher(source, type(task), accelerator.device, models) for source in recipe.model.teachers]
    recipe = _adopt(recipe, task, teachers, console)
    recipe, student, inputs = _student(recipe, task, data, teachers, console)
    if accelerator.is_main_process and not resume:
        begin(folder, given, hashes)
    with accelerator.main_process_first():
        recipe, prepared = prepare(recipe, task, teachers, student, data, inputs, folder, accelerator.device, console)
    task.acquaint(student.model, student.untrained, prepared.train.student)
    narrowed = UsedRows(
        student.model, [prepared.train.student, prepared.validation.student], student.tokenizer.all_special_ids
    )
    run = Fit(
        model=student.model,
        objective=_objective(recipe, task, teachers, student, prepared),
        train=replace(prepared.train, student=narrowed.narrowed(prepared.train.student)),
        validation=replace(prepared.validation, student=narrowed.narrowed(prepared.validation.student)),
        validation_inputs=prepared.validation_encoded,
        validation_examples=data.validation,
        settings=recipe.train,
        fresh=student.fresh,
        starts_trained=not student.untrained,
        folder=folder,
    )
    progress = _learn(run, accelerator, resume=resume, console=console)
    narrowed.restore()
    task.finish(student.model)
    if accelerator.is_main_process:
        with staged_folder(out, overwrite=overwrite) as stage:
            write_model(stage, out, recipe, task, student, data, teachers, progress, len(run.train))
    return TrainResult(
        folder=out,
        task=task.name,
        metrics=progress.kept_metrics,
        best_epoch=progress.kept_epoch,
        steps=progress.step,
        rows=len(run.train),
        seconds=progress.seconds,
    )


def _student(
    recipe: Recipe, task: TrainTask, data: Data, teachers: Sequence[Teacher], console: Console
) -> tuple[Recipe, Student, list[Input]]:
    """The model to train, as the task begins it, the inputs that its teachers shall label, and the recipe with its dropout."""
    if recipe.model.base is not None or teachers:
        task.start_from(recipe.model.base or teachers[0].source)
    inputs = transfer_inputs(recipe, task, data, teachers, console)
    recipe = resolve_dropout(recipe, len(data.train), len(inputs))
    every_text = [*data.train.texts, *Examples(source="", inputs=inputs).texts]
    student = build(recipe.model, task, teachers, every_text)
    if recipe.train.dropout is not None:
        set_dropout(student.model, recipe.train.dropout)
    task.adopt_tokenizer(student.tokenizer)
    task.begin(student.model, student.untrained)
    return recipe, student, inputs


def _objective(
    recipe: Recipe, task: TrainTask, teachers: Sequence[Teacher], student: Student, prepared: Prepared
) -> Objective:
    """What the student's loss is: with a teacher's hidden states or text vectors where the rows were prepared for them."""
    learnt: LearntTerm | None = None
    vectors, head = prepared.train.teacher_vectors, head_of(student.model)
    if prepared.train.teacher is not None:
        learnt = HiddenStates(task, student.model, teachers[0].model, recipe.distil, student.kept)
    elif vectors is not None and head is not None:
        learnt = TextVectors(head, vectors.values.shape[1], recipe.distil.vectors)
    return Objective(task, recipe.distil if teachers else None, recipe.train.label_smoothing or 0.0, learnt)


def _learn(run: Fit, accelerator: Accelerator, *, resume: bool, console: Console) -> Progress:
    """The model has its best weights, and the task has chosen with them what its answers need."""
    task, learnt = run.objective.task, run.objective.learnt
    reads_all = learnt is not None and bool(learnt.asked)
    run.model.to(accelerator.device)  # where it shall be asked what its answers read
    lean = nullcontext() if reads_all else unread_skipped(task, run.model, run.train.student)
    with console.stage("train", 1000) as advance, lean:
        if run.settings.probe and task.probes and not (resume and has_checkpoint(run.folder)):
            advance(0, "fitting the head")
            probe(run, accelerator)
        progress = fit(run, accelerator, _reporter(advance, run.metric), resume=resume)
    if run.settings.metric is not None:
        task.settings["metric"] = run.settings.metric
    return progress


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
