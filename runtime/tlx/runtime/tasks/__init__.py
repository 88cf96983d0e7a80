"""The table of tasks: Hugging Face's task name → the module that holds the task's torch-free half."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tlx.runtime.errors import UsageError
from tlx.runtime.tasks.task import Task

__all__ = ["TASKS", "Task", "task_named"]

TASKS: dict[str, str] = {
    "text-classification": "tlx.runtime.tasks.classification",
}


def task_named(name: str) -> type[Task]:
    """The task's runtime half. Raises UsageError listing the tasks when there is none of that name."""
    if name not in TASKS:
        raise UsageError(f"unknown task {name!r}: choose one of {', '.join(sorted(TASKS))}")
    return cast(type[Task], import_module(TASKS[name]).TASK)
