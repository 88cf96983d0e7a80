"""The cells of a label column: one label, a list of them, or a mark for inputs out of scope."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tlx.runtime.errors import DataError

if TYPE_CHECKING:
    from tlx.runtime.examples import Table

__all__ = ["is_list", "is_out_of_scope", "ordered_labels", "read_label", "read_label_list"]


def is_out_of_scope(value: Any, oos: str) -> bool:
    """Whether the cell holds the label for inputs out of scope, or nothing."""
    from tlx.runtime.examples import is_missing

    return is_missing(value) or (isinstance(value, str) and value.strip() == oos)


def is_list(value: Any) -> bool:
    """Whether the cell holds several labels: a list, or what looks like one in JSON."""
    return isinstance(value, (list, tuple)) or (
        isinstance(value, str) and value.startswith("[") and value.endswith("]")
    )


def read_label(table: Table, row: int, column: str, value: Any) -> str:
    """The cell's label. Raises DataError naming the row when there is none."""
    from tlx.runtime.examples import is_missing

    if is_missing(value) or (isinstance(value, str) and value.strip().lower() == "nan"):
        raise DataError(f"{table.where(row)}: column {column!r} has no label: give one or remove the row")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def read_label_list(table: Table, row: int, column: str, value: Any) -> tuple[str, ...]:
    """The cell's distinct labels. Raises DataError naming the row when it holds no list of labels."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{table.where(row)}: column {column!r} holds {value!r}: wanted a JSON list of labels"
            ) from error
    if not isinstance(value, (list, tuple)):
        raise DataError(
            f"{table.where(row)}: column {column!r} holds {value!r}, other rows hold lists: use lists throughout"
        )
    return tuple(dict.fromkeys(read_label(table, row, column, item) for item in value))


def ordered_labels(labels: set[str]) -> tuple[str, ...]:
    """Numbers in numeric order, else alphabetic."""
    if all(label.lstrip("-").isdigit() for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))
