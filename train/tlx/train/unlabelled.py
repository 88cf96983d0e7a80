"""Files of inputs whose labels, if any, do not matter: transfer texts, and texts out of scope."""

from __future__ import annotations

from collections.abc import Mapping

from tlx.runtime.column_files import COLUMNS, file_format, read_once
from tlx.runtime.columns import TEXT_NAMES, column_texts, columns_in, pick_column
from tlx.runtime.examples import Examples
from tlx.runtime.tables import is_missing, read_table
from tlx.runtime.tagged import holds_tags
from tlx.runtime.tasks.task import Task

__all__ = ["read_unlabelled"]


def read_unlabelled(source: str, half: Task, columns: Mapping[str, str]) -> Examples:
    """The inputs, without gold: of a table its only column, whatever its name, or those of `columns` that it has, or what the
    task reads in such a file. Cells without a text are passed over. Raises DataError naming file and row."""
    given = read_once(source)
    if file_format(given) in COLUMNS:
        return Examples(source=source, inputs=half.inputs_of(given, columns_in(given, columns)))
    table = read_table(given)
    there = columns_in(table, columns)
    if len(half.input_names) > 1:
        inputs = half.inputs_of(table, there)
    elif holds_tags(table.sample()):
        inputs = half.inputs_of(table, {})
    else:
        lone = next(iter(table.columns)) if len(table.columns) == 1 else None
        column = lone or pick_column(table, "text", TEXT_NAMES, there.get("text"))
        kept = table.kept([not is_missing(value) for value in table.columns[column]], "have no text")
        inputs = list(column_texts(kept, column))
    return Examples(source=table.source, inputs=inputs, sha256=table.sha256)
