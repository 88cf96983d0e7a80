"""The table of tasks: Hugging Face's task name → the module that holds the task's torch half."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tlx.runtime.errors import UsageError
from tlx.runtime.tasks import ALIASES

if TYPE_CHECKING:
    from tlx.train.tasks.task import TrainTask

__all__ = ["TRAIN_TASKS", "train_task"]

TRAIN_TASKS = {
    "feature-extraction": "tlx.train.tasks.embedding",
    "intent-slots": "tlx.train.tasks.joint",
    "fill-mask": "tlx.train.tasks.filling",
    "question-answering": "tlx.train.tasks.answering",
    "regression": "tlx.train.tasks.regression",
    "text-classification": "tlx.train.tasks.classification",
    "token-classification": "tlx.train.tasks.tagging",
}


def train_task(name: str) -> type[TrainTask]:
    """The task's torch half. Raises UsageError listing the tasks when there is none of that name."""
    if ALIASES.get(name, name) not in TRAIN_TASKS:
        raise UsageError(f"unknown task {name!r}: choose one of {', '.join(sorted(TRAIN_TASKS))}")
    found: type[TrainTask] = import_module(TRAIN_TASKS[ALIASES.get(name, name)]).TRAIN_TASK
    return found
