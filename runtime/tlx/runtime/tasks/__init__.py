"""The table of tasks: Hugging Face's task name → the module that holds the task's torch-free half."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, cast

from tlx.runtime.errors import FolderError, UsageError
from tlx.runtime.tasks.task import Task

if TYPE_CHECKING:
    from tlx.runtime.folder import Manifest
    from tlx.runtime.tables import Source

__all__ = ["ALIASES", "TASKS", "Task", "guess_task", "task_named", "task_of"]

TASKS: dict[str, str] = {
    "feature-extraction": "tlx.runtime.tasks.embedding",
    "fill-mask": "tlx.runtime.tasks.filling",
    "intent-slots": "tlx.runtime.tasks.joint",
    "question-answering": "tlx.runtime.tasks.answering",
    "regression": "tlx.runtime.tasks.regression",
    "token-classification": "tlx.runtime.tasks.tagging",
    "text-classification": "tlx.runtime.tasks.classification",
}
"""In the order in which they are asked whether a file is theirs; text-classification takes the rest."""
ALIASES = {
    "ner": "token-classification",
    "sentence-similarity": "feature-extraction",
    "sentiment-analysis": "text-classification",
    "text-regression": "regression",
}


def task_named(name: str) -> type[Task]:
    """The task's runtime half. Raises UsageError listing the tasks when there is none of that name."""
    module = TASKS.get(ALIASES.get(name, name))
    if module is None:
        raise UsageError(f"unknown task {name!r}: choose one of {', '.join(sorted(TASKS))}")
    return cast(type[Task], import_module(module).TASK)


def task_of(manifest: Manifest) -> Task:
    """The runtime half of a folder's task, with the folder's labels and settings. Raises FolderError for settings that are none
    of the task's."""
    kind = task_named(manifest.task)
    try:
        return kind.from_manifest(manifest)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise FolderError(
            f"the manifest's settings are not those of {manifest.task} ({error}): train, export or copy the folder again"
        ) from error


def guess_task(source: Source, columns: Mapping[str, str] | None = None) -> str:
    """The task that a file of examples is for, by its format, else its columns, of which `columns` may name the "label".

    Raises DataError when it cannot be read.
    """
    from tlx.runtime.column_files import file_format
    from tlx.runtime.columns import GOLD_NAMES
    from tlx.runtime.tables import read_table

    suffix, last = file_format(source), "text-classification"
    for name in TASKS:
        if name != last and suffix and task_named(name).recognises(suffix, {}):
            return name
    sample = read_table(source).sample()
    label = (columns or {}).get("label")
    if label is not None and label not in sample and {name.strip() for name in label.split(",")} <= sample.keys():
        return last  # a column for each of several labels
    if label in sample:
        called = label if label.lower() in GOLD_NAMES else "label"
        others = {name: value for name, value in sample.items() if name.lower() not in GOLD_NAMES and name != label}
        sample = {**others, called: sample[label]}
    return next((name for name in TASKS if name != last and task_named(name).recognises(suffix, sample)), last)
