"""The one training loop, over Accelerate. Every technique is a term, a choice of what is trained, or a loop around it."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from tlx.runtime.errors import TrainingError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.metrics import LOWER_IS_BETTER
from tlx.runtime.tasks.task import Encoded, Outputs, unit_index, unit_starts
from tlx.train.batches import Rows, plan_batches, sorted_batches
from tlx.train.checkpoint import Progress, load_checkpoint, load_state, save_checkpoint, save_state
from tlx.train.dropout import replace_dropout
from tlx.train.memory import keep_freed_memory
from tlx.train.objective import Objective
from tlx.train.recipe import TrainSection
from tlx.train.replica import Replica
from tlx.train.tasks.task import TrainTask

__all__ = ["Fit", "Report", "fit", "judge", "predict_rows"]

BEST = "best.safetensors"
LOSS_STEP = 0.01
"""Between equal figures, a validation loss that is lower by this share is worth going on for."""

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


def fit(run: Fit, accelerator: Accelerator, report: Report, *, resume: bool) -> Progress:
    """Trains until the last epoch or until nothing gets better; the model then holds the best weights it had.

    The learning rate rises over the first `warmup_share` of the steps and falls to zero as a cosine. A run that was
    killed and resumed goes through the same batches with the same random numbers as one that was not.
    Ctrl-C and SIGTERM write a checkpoint first.
    """
    settings = run.settings
    epochs, rate = float(settings.epochs or 1), float(settings.learning_rate or 1e-4)
    parts: dict[str, nn.Module] = {"model": run.model}
    if run.objective.states is not None:
        parts["states"] = run.objective.states
    modules = nn.ModuleDict(parts)
    modules.to(accelerator.device)
    optimizer = torch.optim.AdamW(_groups(modules, run.fresh, settings), lr=rate, fused=True)
    base_rates = [group["lr"] * group["factor"] for group in optimizer.param_groups]
    checkpoint = run.folder / "checkpoint"
    torch.manual_seed(settings.seed)
    progress = (load_checkpoint(checkpoint, modules, optimizer) if resume else None) or Progress()
    best = run.folder / BEST
    if progress.best is not None:
        load_state(best)  # damage is told now, not after the last step
    on_cpu = accelerator.device.type == "cpu"
    if on_cpu:
        keep_freed_memory()
    replica = Replica(run.model) if on_cpu and settings.precision == "bf16" else None
    computing: nn.Module = run.model if replica is None else replica.module
    stream = replace_dropout(nn.ModuleList([computing, modules]), settings.seed) if on_cpu else None
    if replica is not None and run.objective.states is not None:
        run.objective.states.teacher[0].to(torch.bfloat16)
    forward, optimizer = accelerator.prepare(computing, optimizer)
    budget = token_budget(run.train, settings.batch_rows or 32)
    total = _total_steps(run, budget, epochs, accelerator.num_processes)
    started, saved = time.monotonic() - progress.seconds, time.monotonic()
    autocast = autocast_for(accelerator.device, settings.precision)
    # transformers' own models compute in the type of their weights; other modules may mix types, which autocast settles.
    plain = (
        replica is not None and run.objective.states is None and type(run.model).__module__.startswith("transformers.")
    )
    training_autocast = nullcontext if plain else autocast
    if run.settings.metric is not None and not progress.step:
        _check_metric(run, autocast, budget * 4)
    if run.starts_trained and not progress.step:
        _judge_and_keep(run, progress, autocast, budget * 4, accelerator)
    with _stoppable() as asked_to_stop:
        while not progress.stopped and (progress.step < total or _unjudged(progress)):
            drawn, batches = _epoch(run, budget, progress.epoch)
            batches = _own_share(batches, accelerator.process_index, accelerator.num_processes)
            for rows in batches[progress.batch :]:
                if progress.step >= total:
                    break
                factor = _schedule(progress.step, total, settings.warmup_share)
                for group, base in zip(optimizer.param_groups, base_rates, strict=True):
                    group["lr"] = base * factor
                if stream is not None:
                    stream.set_step(progress.step, accelerator.process_index)
                forward.train()
                batch = run.objective.task.corrupted(
                    drawn.batch(rows), np.random.default_rng([settings.seed, 3, progress.step])
                )
                loss = run.objective(forward, batch.to(accelerator.device), training_autocast())
                accelerator.backward(loss)
                if replica is not None:
                    replica.hand_over()
                _share_gradients(run, accelerator)
                accelerator.clip_grad_norm_(modules.parameters(), settings.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                if replica is not None:
                    replica.follow()
                _note(progress, float(loss.detach()), batch.rows, time.monotonic() - started)
                report(progress, total)
                due = time.monotonic() - saved > settings.checkpoint_seconds
                if (due or asked_to_stop()) and accelerator.is_main_process:
                    save_checkpoint(checkpoint, modules, optimizer, progress)
                    saved = time.monotonic()
                if asked_to_stop():
                    raise KeyboardInterrupt
            progress.epoch, progress.batch = progress.epoch + 1, 0
            _judge_and_keep(run, progress, autocast, budget * 4, accelerator)
            report(progress, total)
    accelerator.wait_for_everyone()
    run.model.load_state_dict(load_state(best))
    run.model.eval()
    return progress


@torch.no_grad()
def predict_rows(
    task: TrainTask,
    model: PreTrainedModel,
    rows: Rows,
    autocast: Callable[[], AbstractContextManager[None]],
    budget: int,
    report: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """The model's outputs, `(units, outputs)` float32, in the order of the rows; computed longest batches first."""
    model.eval()
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    for index in sorted_batches(rows.student.lengths, budget):
        inputs = {name: value.to(model.device) for name, value in rows.student.padded(index).items()}
        with autocast():
            raw = task.outputs(model, inputs)[0].float()
        values = task.kept(raw, None if rows.gold is None else rows.gold.of(index)).cpu().numpy()
        found.append((index, values))
        if report is not None:
            report(len(index))
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


def token_budget(rows: Rows, batch_rows: int) -> int:
    """Padded tokens a batch may hold, so that a batch has `batch_rows` rows on average."""
    return max(int(math.ceil(batch_rows * float(rows.lengths.mean()) / rows.group * 1.05)), 1)


def autocast_for(device: torch.device, precision: str) -> Callable[[], AbstractContextManager[None]]:
    """A maker of autocast contexts: bfloat16, or one that changes nothing."""

    def make() -> Any:
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")

    return make


def _groups(modules: nn.Module, fresh: frozenset[str], settings: TrainSection) -> list[dict[str, Any]]:
    """Parameters by (decays, fresh): vectors (biases, norms) do not decay; `factor` multiplies the rate."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in modules.named_parameters():
        if parameter.requires_grad:
            key = (parameter.ndim > 1, name.removeprefix("model.") in fresh)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decays else 0.0,
            "factor": settings.head_rate_factor if is_fresh else 1.0,
        }
        for (decays, is_fresh), parameters in groups.items()
    ]


def _schedule(step: int, total: int, warmup_share: float) -> float:
    warmup = max(int(total * warmup_share), 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


def _epoch(run: Fit, budget: int, epoch: int) -> tuple[Rows, list[NDArray[np.int64]]]:
    """The rows as they are drawn for an epoch, and its batches: the same whenever they are asked for."""
    seed = run.settings.seed
    drawn = run.objective.task.drawn(run.train, np.random.default_rng([seed, 4, epoch]))
    return drawn, plan_batches(drawn.lengths, budget, np.random.default_rng([seed, 2, epoch]))


def _total_steps(run: Fit, budget: int, epochs: float, processes: int) -> int:
    """Epochs are cut anew each time, so their number of batches varies a little: the plan counts them one by one."""
    whole, part = int(epochs), epochs - int(epochs)
    counts = [math.ceil(len(_epoch(run, budget, epoch)[1]) / processes) for epoch in range(whole + (part > 0))]
    return max(sum(counts[:whole]) + (int(counts[-1] * part) if part else 0), 1)


def _own_share(batches: list[NDArray[np.int64]], index: int, processes: int) -> list[NDArray[np.int64]]:
    """This process's batches; the first ones serve again where they do not divide evenly."""
    padded = batches + batches[: -len(batches) % processes]
    return padded[index::processes]


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


def _share_gradients(run: Fit, accelerator: Accelerator) -> None:
    """What the terms learn beside the model is outside of DDP: its gradients are averaged here."""
    if accelerator.num_processes > 1 and run.objective.states is not None:
        for parameter in run.objective.states.parameters():
            if parameter.grad is not None:
                parameter.grad = accelerator.reduce(parameter.grad, "mean")


def _unjudged(progress: Progress) -> bool:
    """Whether the last steps were not evaluated yet: the run was stopped between them and the evaluation."""
    return not progress.evaluations or progress.evaluations[-1]["step"] < progress.step


def _judge_and_keep(
    run: Fit,
    progress: Progress,
    autocast: Callable[[], AbstractContextManager[None]],
    budget: int,
    accelerator: Accelerator,
) -> None:
    """Measures the model on the validation rows, notes it, and writes the weights when they are the best so far."""
    if _evaluated(run, progress, autocast, budget) and accelerator.is_main_process:
        save_state(run.folder / BEST, run.model.state_dict())


def _evaluated(run: Fit, progress: Progress, autocast: Callable[[], AbstractContextManager[None]], budget: int) -> bool:
    """The figures, noted; True when they are the best so far."""
    outputs = _validation_outputs(run, autocast, budget)
    figures, loss = _figures(run, outputs), run.objective.task.validation_loss(outputs, run.validation_examples)
    told = {} if loss is None else {"validation_loss": loss}
    progress.evaluations.append({"epoch": progress.epoch, "step": progress.step, **figures, **told})
    better, worth_going_on = _compared(run.metric, figures[run.metric], loss, progress)
    progress.since_best = 0 if worth_going_on else progress.since_best + 1
    progress.stopped = progress.since_best >= run.settings.patience
    if better:
        progress.best, progress.best_loss, progress.best_epoch = figures[run.metric], loss, progress.epoch
    return better


def _compared(metric: str, value: float, loss: float | None, progress: Progress) -> tuple[bool, bool]:
    """Whether the figure is better than the best so far, and whether that is worth another evaluation's patience.

    Equal figures are told apart by the loss of the validation rows, else the later one is taken: with few rows, or one
    label in most of them, the first epoch would win every tie. A tie is worth patience where the loss fell by LOSS_STEP.
    """
    best, best_loss = progress.best, progress.best_loss
    if best is None or math.isnan(best):
        return True, True
    if value != best:
        better = value < best if metric in LOWER_IS_BETTER else value > best
        return better, better
    # While nothing is right (taggers begin so: every tag is O), going on costs no patience.
    nothing = value == 0.0
    if loss is None or best_loss is None:
        return True, nothing
    return loss < best_loss, nothing or loss < best_loss * (1.0 - LOSS_STEP)


def _figures(run: Fit, outputs: Outputs) -> dict[str, float]:
    teacher = run.validation.teacher_outputs
    values = None if teacher is None else teacher.values.numpy()
    return run.objective.task.metrics(outputs, run.validation_examples, values)


def _check_metric(run: Fit, autocast: Callable[[], AbstractContextManager[None]], budget: int) -> None:
    """Raises UsageError, before the first step, when the validation figures do not hold the one that shall choose."""
    figures = _figures(run, _validation_outputs(run, autocast, budget))
    if run.metric not in figures:
        raise UsageError(
            f"train.metric is {run.metric!r}, which {run.objective.task.name} does not measure on these validation rows: "
            f"choose one of {', '.join(figures)}"
        )


def judge(run: Fit, device: torch.device) -> Outputs:
    """What the model as it is gives for the validation rows."""
    budget = 4 * token_budget(run.train, run.settings.batch_rows or 32)
    return _validation_outputs(run, autocast_for(device, run.settings.precision), budget)


def _validation_outputs(run: Fit, autocast: Callable[[], AbstractContextManager[None]], budget: int) -> Outputs:
    values = predict_rows(run.objective.task, run.model, run.validation, autocast, budget)
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
