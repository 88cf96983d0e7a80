"""The one training loop, over Accelerate. Every technique is a term, a choice of what is trained, or a loop around it."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tlx.runtime.errors import TrainingError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.metrics import LOWER_IS_BETTER
from tlx.runtime.tasks.task import Encoded, Outputs, unit_index, unit_starts
from tlx.train.batches import Batch, Rows, plan_batches, sorted_batches
from tlx.train.checkpoint import Progress, load_state, save_state
from tlx.train.objective import Objective
from tlx.train.recipe import TrainSection
from tlx.train.runs import CHECKPOINT
from tlx.train.tasks.task import TrainTask
from tlx.train.trainer import Trainer
from tlx.train.unread import unread_skipped

__all__ = ["Fit", "Report", "autocast_for", "fit", "predict_rows"]

BEST = "best.safetensors"

Report = Callable[[Progress, int], None]
"""Called after every step with where the loop is and the number of steps in all."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What one run trains: the model, its objective, its rows, and what it is judged by."""

    model: PreTrainedModel
    objective: Objective
    train: Rows
    validation: Rows
    validation_inputs: Encoded
    validation_examples: Examples
    settings: TrainSection
    """With epochs, learning_rate and precision resolved."""
    fresh: frozenset[str]
    """Names of parameters that start from nothing: they learn `head_rate_factor` times faster."""
    starts_trained: bool
    """No parameter starts from nothing: what the model has is judged before the first step, and kept if nothing beats it."""
    folder: Path
    """Checkpoints and the best weights lie here."""

    @property
    def metric(self) -> str:
        """The figure that chooses the weights."""
        return self.settings.metric or self.objective.task.main_metric

    @cached_property
    def budget(self) -> int:
        """Padded tokens that a batch may hold, so that a batch has `batch_rows` rows on average."""
        tokens = (self.settings.batch_rows or 32) * float(self.train.lengths.mean())
        return max(math.ceil(tokens / self.train.group * 1.05), 1)


def fit(run: Fit, accelerator: Accelerator, report: Report, *, resume: bool) -> Progress:
    """Trains until the last epoch or until the figures fall for good; the model then holds the weights that were kept (`_compared`),
    and the task has chosen with them what its answers need.

    A run that was killed and resumed goes through the same batches with the same random numbers as one that was not.
    Ctrl-C and SIGTERM write a checkpoint first.
    """
    settings, checkpoint = run.settings, run.folder / CHECKPOINT
    autocast = autocast_for(accelerator.device, settings.precision)
    trainer = Trainer(run.model, run.objective, settings, run.fresh, accelerator, autocast)
    progress = (trainer.restore(checkpoint) if resume else None) or Progress()
    if progress.best is not None:
        load_state(run.folder / BEST)  # damage is told now, not after the last step
    total = _total_steps(run, accelerator.num_processes)
    started, saved = time.monotonic() - progress.seconds, time.monotonic()
    if not progress.step:
        _judge_the_start(run, progress, accelerator)
    with _stoppable() as asked_to_stop:
        while not progress.stopped and (progress.step < total or _unjudged(progress)):
            for batch in _rest_of_epoch(run, progress, total, accelerator):
                loss = trainer.step(batch, progress.step, total)
                _note(progress, loss, batch.rows, time.monotonic() - started)
                report(progress, total)
                due = time.monotonic() - saved > settings.checkpoint_seconds
                if (due or asked_to_stop()) and accelerator.is_main_process:
                    trainer.save(checkpoint, progress)
                    saved = time.monotonic()
                if asked_to_stop():
                    raise KeyboardInterrupt
            progress.epoch, progress.batch = progress.epoch + 1, 0
            _judge_and_keep(run, progress, accelerator)
            report(progress, total)
    accelerator.wait_for_everyone()
    run.model.load_state_dict(load_state(run.folder / BEST))
    run.model.eval()
    _choose_the_rest(run, progress)
    return progress


@torch.no_grad()
def predict_rows(
    task: TrainTask,
    model: PreTrainedModel,
    rows: Rows,
    autocast: Callable[[], AbstractContextManager[None]],
    budget: int,
    report: Callable[[NDArray[np.int64]], None] | None = None,
) -> NDArray[np.float32]:
    """The model's outputs, `(units, outputs)` float32, in the order of the rows; computed longest batches first.

    `report` is called after each batch, with the numbers of its rows.
    """
    model.eval()
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []

    def computed(index: NDArray[np.int64]) -> torch.Tensor:
        inputs = {name: value.to(model.device) for name, value in rows.student.padded(index).items()}
        with autocast():
            return task.outputs(model, inputs)[0].float()

    with unread_skipped(task, model, rows.student):
        for index in sorted_batches(rows.student.lengths, budget):
            values = task.kept(computed(index), None if rows.gold is None else rows.gold.of(index)).cpu().numpy()
            found.append((index, values))
            if report is not None:
                report(index)
    if not found:
        raise TrainingError("there are no rows to predict: the data is empty")
    # Each row has as many lines as its gold, or as its batch says: one, or one a token.
    starts = None if rows.gold is None else rows.gold.starts
    if starts is None:
        per_row = len(found[0][1]) == len(found[0][0])
        starts = unit_starts(None if per_row else rows.student.lengths, len(rows))
    outputs = np.empty((int(starts[-1]), found[0][1].shape[1]), dtype=np.float32)
    for index, values in found:
        outputs[unit_index(starts, index)] = values
    return outputs


def autocast_for(device: torch.device, precision: str) -> Callable[[], AbstractContextManager[None]]:
    """A maker of autocast contexts: bfloat16, or one that changes nothing."""

    def make() -> Any:
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")

    return make


def _epoch(run: Fit, epoch: int) -> tuple[Rows, list[NDArray[np.int64]]]:
    """The rows as they are drawn for an epoch, and its batches: the same whenever they are asked for."""
    seed = run.settings.seed
    drawn = run.objective.task.drawn(run.train, np.random.default_rng([seed, 4, epoch]))
    return drawn, plan_batches(drawn.lengths, run.budget, np.random.default_rng([seed, 2, epoch]))


def _rest_of_epoch(run: Fit, progress: Progress, total: int, accelerator: Accelerator) -> Iterator[Batch]:
    """This process's batches of the current epoch that are still to come, up to the last step."""
    drawn, batches = _epoch(run, progress.epoch)
    batches = _own_share(batches, accelerator.process_index, accelerator.num_processes)
    for rows in batches[progress.batch :]:
        if progress.step >= total:
            return
        rng = np.random.default_rng([run.settings.seed, 3, progress.step])
        yield run.objective.task.corrupted(drawn.batch(rows), rng)


def _total_steps(run: Fit, processes: int) -> int:
    """Epochs are cut anew each time, so their number of batches varies a little: the plan counts them one by one."""
    epochs = float(run.settings.epochs or 1)
    whole, part = int(epochs), epochs - int(epochs)
    counts = [math.ceil(len(_epoch(run, epoch)[1]) / processes) for epoch in range(whole + (part > 0))]
    return max(sum(counts[:whole]) + (int(counts[-1] * part) if part else 0), 1)


def _own_share(batches: list[NDArray[np.int64]], index: int, processes: int) -> list[NDArray[np.int64]]:
    """This process's batches, as many as every other's; the first ones serve again where they do not divide evenly."""
    rounds = math.ceil(len(batches) / processes)
    return [batches[i % len(batches)] for i in range(index, rounds * processes, processes)]


def _note(progress: Progress, loss: float, rows: int, seconds: float) -> None:
    if not math.isfinite(loss):
        raise TrainingError(f"the loss became {loss} at step {progress.step}: lower train.learning_rate")
    progress.step += 1
    progress.batch += 1
    progress.rows += rows
    progress.seconds = seconds
    progress.loss_sum += loss
    progress.loss_count += 1
    if progress.loss_count == 10:
        progress.losses.append((progress.step, progress.loss_sum / progress.loss_count))
        progress.loss_sum, progress.loss_count = 0.0, 0


def _unjudged(progress: Progress) -> bool:
    """Whether the last steps were not evaluated yet: the run was stopped between them and the evaluation."""
    return not progress.evaluations or progress.evaluations[-1]["step"] < progress.step


def _judge_the_start(run: Fit, progress: Progress, accelerator: Accelerator) -> None:
    """The metric that was asked for exists, and weights that are trained already are the first to be beaten.

    Raises UsageError when the validation figures do not hold the one that shall choose.
    """
    if run.settings.metric is not None:
        figures = _figures(run, _judged(run))
        if run.metric not in figures:
            raise UsageError(
                f"train.metric is {run.metric!r}, which {run.objective.task.name} does not measure on these validation "
                f"rows: choose one of {', '.join(figures)}"
            )
    if run.starts_trained:
        _judge_and_keep(run, progress, accelerator)


def _judge_and_keep(run: Fit, progress: Progress, accelerator: Accelerator) -> None:
    """Measures the model on the validation rows, notes it, and writes the weights when they are to be kept."""
    if _evaluated(run, progress) and accelerator.is_main_process:
        save_state(run.folder / BEST, run.model.state_dict())


def _evaluated(run: Fit, progress: Progress) -> bool:
    """The figures, noted; True when these weights are to be kept in place of those before."""
    outputs = _judged(run)
    figures, loss = _figures(run, outputs), run.objective.task.validation_loss(outputs, run.validation_examples)
    told = {} if loss is None else {"validation_loss": loss}
    value = figures[run.metric]
    kept, stays = _compared(run.metric, value, progress, len(run.validation_examples))
    progress.evaluations.append({"epoch": progress.epoch, "step": progress.step, **figures, **told})
    progress.since_best = 0 if stays else progress.since_best + 1
    progress.stopped = progress.since_best >= run.settings.patience
    if kept:
        progress.kept_epoch = progress.epoch
    if progress.best is None or math.isnan(progress.best) or _better(run.metric, value, progress.best):
        progress.best = value
    if not progress.epoch and not math.isnan(value):
        progress.start = value
    return kept


def _compared(metric: str, value: float, progress: Progress, rows: int) -> tuple[bool, bool]:
    """Whether weights of this figure are to be kept in place of those before, and whether they are no reason to stop.

    The rate falls to nothing, so that later weights are better on other rows as a rule, by less than a few validation rows can
    tell: the later ones are kept unless their figure is worse than the best so far by more than its standard error (the rule of
    one standard error, Breiman et al. 1984). Weights that were trained before the run must be beaten. Figures that are no share
    have no standard error here. At a share of 1 nothing is left to be gained.
    """
    best = progress.best
    if best is None or math.isnan(best):
        return True, True
    if math.isnan(value):
        return False, False
    share = metric not in LOWER_IS_BETTER
    noise = math.sqrt(best * (1.0 - best) / max(rows, 1)) if share and 0.0 < best < 1.0 else 0.0
    near = not _better(metric, best - noise, value)
    kept = near and (progress.start is None or _better(metric, value, progress.start))
    return kept, near and not (share and value >= 1.0)


def _better(metric: str, value: float, other: float) -> bool:
    return value < other if metric in LOWER_IS_BETTER else value > other


def _choose_the_rest(run: Fit, progress: Progress) -> None:
    """The task chooses what its answers need beside the weights, and the figures of these are told anew: in float32, as the folder
    answers. A threshold between answers in bfloat16 lies elsewhere."""
    outputs = _judged(run, "fp32")
    run.objective.task.tune(outputs, run.validation_examples)
    progress.kept.update(_figures(run, outputs))


def _figures(run: Fit, outputs: Outputs) -> dict[str, float]:
    teacher = run.validation.teacher_outputs
    values = None if teacher is None else teacher.values.numpy()
    return run.objective.task.metrics(outputs, run.validation_examples, values)


def _judged(run: Fit, precision: str | None = None) -> Outputs:
    """What the model as it is gives for the validation rows, in the precision of training or another."""
    autocast = autocast_for(run.model.device, precision or run.settings.precision)
    values = predict_rows(run.objective.task, run.model, run.validation, autocast, 4 * run.budget)
    return Outputs(run.validation_examples.inputs, run.validation_inputs, values)


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Within, the first SIGINT or SIGTERM only sets a flag, so that a step is never torn; the second one ends at once."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        for wanted in (signal.SIGINT, signal.SIGTERM):
            before[wanted] = signal.signal(wanted, note)
    except ValueError:  # not the main thread: signals are the caller's
        pass
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
