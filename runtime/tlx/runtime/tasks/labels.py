"""The cells of a label column: one label, a list of them, or a mark for inputs out of scope."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from tlx.runtime.errors import DataError
from tlx.runtime.tables import accepted, is_missing

if TYPE_CHECKING:
    from tlx.runtime.tables import Table

__all__ = [
    "check_no_tags",
    "decided",
    "is_list",
    "is_out_of_scope",
    "ordered_labels",
    "read_column",
    "read_indicators",
    "read_label",
    "read_label_list",
]

NUMBER = re.compile(r"-?[0-9]+")
WHOLE = re.compile(r"-?[0-9]+\.0+")
"""A whole number as a table of floats writes it: the label that a file of integers calls by the digits alone."""

UNDECIDED = ("-1", "-1.0")
FEW_UNDECIDED = 0.05
_ITEM = re.compile(r"""'[^']*'|"[^"]*"|-?\d+""")
_ARRAY = re.compile(rf"\[\s*(?:(?:{_ITEM.pattern})(?:\s+(?:{_ITEM.pattern}))*\s*)?\]")
SEPARATORS = ("|", ";", ",")
INDICATORS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


def is_out_of_scope(value: Any, oos: str) -> bool:
    """Whether the cell holds the label for inputs out of scope, or nothing."""
    return is_missing(value) or (isinstance(value, str) and value.strip() == oos)


def is_list(value: Any) -> bool:
    """Whether the cell holds several labels: a list, or what looks like one in JSON."""
    return isinstance(value, (list, tuple)) or (
        isinstance(value, str) and value.startswith("[") and value.endswith("]") and isinstance(_as_list(value), list)
    )


def decided(table: Table, column: str) -> Table:
    """The table without the rows that have a mark for no label, or that Prodigy's user rejected; warnings count them.

    SNLI writes "-" as the gold_label where annotators did not agree, OCNLI among labels that are words. Hugging Face's data sets
    have -1 beside the names of classes, or beside the numbers 0, 1, 2 …, where more than a few are another class.
    """
    table = accepted(table)
    cells = [str(value).strip() for value in table.columns[column]]
    classes = set(cells) - {*UNDECIDED, "-", ""}
    words = all(cell[:1].isalpha() for cell in classes)
    counted = classes in ({str(n) for n in range(len(classes))}, {f"{n}.0" for n in range(len(classes))})
    few = sum(cell in UNDECIDED for cell in cells) <= FEW_UNDECIDED * len(cells)
    marks = {"-"} if column.lower() == "gold_label" or (words and len(classes) > 1) else set()
    if (words and classes) or (counted and few and len(classes) > 2):
        marks |= set(UNDECIDED)
    keep = [cell not in marks for cell in cells]
    if all(keep) or not any(keep):
        return table
    mark = cells[keep.index(False)]
    return table.kept(keep, f"have no label ({mark!r})")


def read_column(table: Table, column: str, oos: str | None, known: Collection[str] = ()) -> tuple[list[Any], bool]:
    """(the gold of each row, whether a row has several labels) of a label column. Rows out of scope have the gold None.

    Lists make the labels several, and so does a column called labels whose cells hold labels between separators, or another in which
    these are evident. `known` are the labels of data or of a model with several a row, which tell a separator where the rows are
    too few for it.
    """
    values = list(table.columns[column])
    separator = _separator(values, known, evident=column.lower() != "labels")
    several = separator is not None or any(is_list(value) for value in values)
    if several and separator is None:
        values = _named_by_place(values)

    def read(row: int, value: Any) -> Any:
        if oos is not None and is_out_of_scope(value, oos):
            return None
        if not several:
            return read_label(table, row, column, value)
        if separator is not None and not is_missing(value):
            value = [part for part in value.split(separator) if part.strip()]
        return read_label_list(table, row, column, value)

    return [read(row, value) for row, value in enumerate(values)], several


def check_no_tags(table: Table, column: str, gold: Sequence[Any]) -> None:
    """Raises DataError where the lists of a column hold tags of words."""
    from tlx.runtime.tagged import TAG

    found = {label for labels in gold for label in labels or ()}
    if "O" in found and len(found) > 1 and all(TAG.fullmatch(label) for label in found):
        raise DataError(
            f"{table.source}: column {column!r} holds tags of words ({', '.join(sorted(found)[:3])}, …): give the words as a list of as "
            "many, in a column tokens, or spans as [start, end, label]"
        )


def read_indicators(table: Table, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The labels of each row where every label has a column of its own, 1 where it holds and 0 where not."""
    found: list[list[str]] = [[] for _ in range(len(table))]
    for column in columns:
        for row, value in enumerate(table.columns[column]):
            mark = str(value).strip().lower()
            if mark not in INDICATORS:
                raise DataError(
                    f"{table.where(row)}: column {column!r} holds {value!r}: wanted 1 or 0, as it is a label"
                )
            if INDICATORS[mark]:
                found[row].append(column)
    return [tuple(labels) for labels in found]


def _separator(values: Sequence[Any], known: Collection[str], *, evident: bool) -> str | None:
    """What stands between the labels of a cell, if the cells are made of labels that are known, or of fewer than there are
    different cells; to be `evident`, of labels that other rows have alone, and of numbers where it is a comma."""
    cells = {value for value in values if isinstance(value, str) and value.strip()}
    if any(is_list(cell) for cell in cells) or any(not isinstance(v, str) and not is_missing(v) for v in values):
        return None
    for separator in SEPARATORS:
        parts = {part.strip() for cell in cells for part in cell.split(separator)}
        if not any(separator in cell for cell in cells):
            continue
        if evident:
            alone = {cell.strip() for cell in cells if separator not in cell} | set(known)
            found = parts <= alone and (separator != "," or all(map(str.isdecimal, parts)))
        else:
            found = len(parts) < len(cells) or parts - {""} <= set(known)
        if found:
            return separator
    return None


def read_label(table: Table, row: int, column: str, value: Any) -> str:
    """The cell's label. Raises DataError naming the row when there is none."""
    if is_missing(value) or (isinstance(value, str) and value.strip().lower() == "nan"):
        raise DataError(f"{table.where(row)}: column {column!r} has no label: give one or remove the row")
    if isinstance(value, (list, tuple, dict)):
        raise DataError(f"{table.where(row)}: column {column!r} holds {value!r}: wanted one label")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool):
        return str(value).lower()  # as JSON and most CSV write it
    text = str(value).strip()
    if text in ("True", "False"):  # as Python writes it into CSV
        return text.lower()
    return text.partition(".")[0] if WHOLE.fullmatch(text) else text


def read_label_list(table: Table, row: int, column: str, value: Any) -> tuple[str, ...]:
    """The cell's distinct labels. Raises DataError naming the row when it holds no list of labels."""
    value = _as_list(value)
    if not isinstance(value, (list, tuple)):
        raise DataError(
            f"{table.where(row)}: column {column!r} holds {table.columns[column][row]!r}: wanted a list of labels, "
            'as ["one", "two"], in every row'
        )
    return tuple(dict.fromkeys(read_label(table, row, column, item) for item in value))


def _as_list(value: Any) -> Any:
    """The list that a cell holds as JSON or as Python writes it; other values as they are."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return _literal(value)


def _named_by_place(values: Sequence[Any]) -> list[Any]:
    """Vectors of a 0 or 1 for each label as lists of the places of the ones; other cells as they are. Lists of as many zeros and ones
    in every row are such vectors where one holds a number twice, which no list of labels does."""
    lists = []
    for cell in map(_as_list, values):  # most columns end it at their first cell
        if not isinstance(cell, (list, tuple)) or any(isinstance(item, str) or item not in (0, 1) for item in cell):
            return list(values)
        lists.append(cell)
    if len({len(cell) for cell in lists}) != 1 or not any(len(set(cell)) < len(cell) for cell in lists):
        return list(values)
    return [[place for place, item in enumerate(cell) if item] for cell in lists]


def _literal(text: str) -> Any:
    """A list as Python writes it, or as numpy does, without commas, which is what data frames leave in CSV; the text itself when it
    is none."""
    if _ARRAY.fullmatch(text):  # to Python, two strings beside one another are one
        return [ast.literal_eval(item) for item in _ITEM.findall(text)]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def ordered_labels(labels: set[str]) -> tuple[str, ...]:
    """Numbers in numeric order (of equal ones, as 1 and 01, in alphabetic order), else alphabetic."""
    if all(NUMBER.fullmatch(label) for label in labels):
        return tuple(sorted(sorted(labels), key=int))
    return tuple(sorted(labels))
