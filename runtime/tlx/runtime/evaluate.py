"""A predictor and examples → the task's metrics."""

from __future__ import annotations

import warnings
from typing import Any, Protocol, TypedDict

import numpy as np

from tlx.runtime.errors import DataError
from tlx.runtime.examples import Examples
from tlx.runtime.tasks import Task
from tlx.runtime.tasks.task import Outputs

__all__ = ["Evaluation", "Runs", "evaluate", "warn_of_unknown_labels"]


class Runs(Protocol):
    """What evaluation needs of a predictor: the runtime's has it, and so has the torch engine of `tlx.export`."""

    @property
    def task(self) -> Task: ...
    @property
    def variant(self) -> str: ...
    def run(self, inputs: Any, /) -> Outputs: ...


class Evaluation(TypedDict):
    """The metrics of a variant on `n` examples."""

    task: str
    variant: str
    n: int
    metrics: dict[str, float]


def evaluate(predictor: Runs, examples: Examples) -> Evaluation:
    """The task's metrics of the predictor on the examples.

    A gold label that the model does not know counts as an error, and is warned about once. Raises DataError when
    there are no examples or no gold, or the model knows none of the labels.
    """
    if not len(examples):
        raise DataError(f"{examples.source} has no examples: nothing to measure against")
    warn_of_unknown_labels(predictor.task, examples)
    metrics = predictor.task.metrics(predictor.run(examples.inputs), examples)
    if not metrics:
        raise DataError(
            f"{examples.source} has nothing to measure against: give labels, scores, or pairs as in training"
        )
    faulty = [name for name, value in metrics.items() if not np.isfinite(value)]
    if faulty:
        raise DataError(f"{examples.source}: {faulty[0]} is not a number: the model gives NaN for some input")
    return Evaluation(task=predictor.task.name, variant=predictor.variant, n=len(examples), metrics=metrics)


def warn_of_unknown_labels(task: Task, examples: Examples) -> None:
    """A UserWarning names the gold labels that the model does not know, and how many examples have one.

    Raises DataError when it knows none.
    """
    known = set(task.labels) or set(examples.labels)
    unknown = [label for label in examples.labels if label not in known]
    if not unknown:
        return
    if len(unknown) == len(examples.labels):
        raise DataError(
            f"{examples.source}: the model knows none of its labels ({', '.join(map(repr, unknown[:3]))}; it knows "
            f"{', '.join(map(repr, task.labels[:3]))} …): give data with the model's labels, or name the column with --label"
        )
    strange = set(unknown)
    rows = sum(not strange.isdisjoint(task.labels_of(item)) for item in (examples.gold or ()))
    named = ", ".join(repr(label) for label in unknown[:3]) + (" …" if len(unknown) > 3 else "")
    warnings.warn(
        f"{examples.source}: {rows} of {len(examples)} examples have a label that the model does not know ({named}): "
        "each counts as an error",
        UserWarning,
        stacklevel=3,
    )
