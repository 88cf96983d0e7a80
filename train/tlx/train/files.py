"""The files that a recipe names, read before anything heavy is loaded: what is wrong with them is told at once."""

from __future__ import annotations

from dataclasses import dataclass

from tlx.runtime.column_files import read_once
from tlx.runtime.errors import UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.tasks import guess_task, task_named
from tlx.train.recipe import Recipe

__all__ = ["Files", "read_files"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """The examples of the training file, those of the validation file where there is one, and the task they are for."""

    task: str
    train: Examples
    validation: Examples | None


def read_files(recipe: Recipe) -> Files:
    """What the recipe's `data` names. Raises UsageError where that is nothing, DataError for faults in it."""
    section = recipe.data
    if section.train is None:
        raise UsageError("there is no training data: name a file, as in `tlx train data/train.csv --out models/mine`")
    named = {"text": section.text, "text_pair": section.text_pair, "label": section.label}
    columns = {name: value for name, value in named.items() if value is not None}
    source = read_once(section.train)
    half = task_named(recipe.model.task or guess_task(source, columns))
    train, validation = half.read(source, columns), None
    if section.validation is not None:
        validation = half.read(section.validation, columns, split="validation")
    return Files(task=half.name, train=train, validation=validation)
