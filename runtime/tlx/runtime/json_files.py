"""JSON documents and lines of JSON → columns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlx.runtime.errors import DataError
from tlx.runtime.shards import split_named

__all__ = ["RowNumbers", "fault", "read_json", "read_jsonl"]

Rows = tuple[dict[str, list[Any]], Sequence[int]]
"""Columns, and the line where each row starts, from 1, or of a document its number among the rows (Row)."""


class Row(int):
    """The number of a row, from 1, where lines tell nothing."""

    unit = "row"


class RowNumbers(Sequence[Row]):
    """Those of `count` rows, without holding them."""

    def __init__(self, count: int) -> None:
        self._numbers = range(1, count + 1)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, row: Any) -> Any:
        found = self._numbers[row]
        return Row(found) if isinstance(found, int) else [Row(number) for number in found]


def fault(error: ValueError | RecursionError) -> str:
    """What json.loads found wrong, in a few words."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "nested too deep" if isinstance(error, RecursionError) else "a number of thousands of digits"


def read_jsonl(path: Path, text: str) -> Rows:
    """An object a line. Raises DataError naming the line."""
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path} line {number} is not valid JSON: {fault(error)} (wanted one object a line)"
            ) from error
        row = _row_of(row)
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number} holds a {type(row).__name__}: wanted one JSON object a line")
        rows.append(row)
        lines.append(number)
    return _checked(path, text, _columns_of(rows), lines)


def read_json(path: Path, text: str, split: str) -> Rows:
    """One document, an object being one row and a list a row each item; or else an object a line. Of a document that holds
    several splits, those of `split`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        if fault(error) == "Extra data":  # a second line that begins anew
            return read_jsonl(path, text)
        line = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"{path}{line} is not valid JSON: {fault(error)}") from error
    rows = document if isinstance(document, list) else _rows_in(path, document, split)
    rows = [_row_of(row) for row in rows]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path} row {number} is a {type(row).__name__}: wanted a JSON object")
        if {"annotations", "data"} <= set(row):
            raise DataError(f"{path} is Label Studio's whole export: export it as JSON-MIN, which has an object a row")
    return _checked(path, text, _columns_of(rows), RowNumbers(len(rows)))


def _rows_in(path: Path, document: Any, split: str) -> list[Any]:
    """The rows of a document that is no list: of columns (as pandas writes them: lists, or objects by the number of the row), of
    the split among several, of one list of objects under "data" or "rows", or one row. Raises DataError where it lacks the split."""
    if not isinstance(document, dict) or not document:
        return [document]
    values = list(document.values())
    if all(isinstance(value, dict) for value in values):
        keys = list(values[0])
        if len(keys) > 1 and all(list(value) == keys for value in values) and all(key.isdecimal() for key in keys):
            return [{name: value[key] for name, value in document.items()} for key in keys]
    if len(values) > 1 and all(isinstance(value, list) for value in values):
        if split_named(list(document), "train") is not None:
            name = split_named(list(document), split)
            if name is None:
                raise DataError(
                    f"{path} holds the splits {', '.join(document)}, and no {split}: name another file for it"
                )
            return list(document[name])
        plain = all(not isinstance(item, (dict, list)) for item in values[0])
        if plain and len({len(value) for value in values}) == 1 and len(values[0]) > 1:
            return [dict(zip(document, row, strict=True)) for row in zip(*values, strict=True)]
    for name in ("data", "rows"):
        found = document.get(name)
        if (
            isinstance(found, list)
            and found
            and all(isinstance(item, dict) and "paragraphs" not in item for item in found)
        ):
            return [item["row"] if name == "rows" and isinstance(item.get("row"), dict) else item for item in found]
    return [document]


def _row_of(row: Any) -> Any:
    """The row; a pair of a text and its annotations (spaCy's) or its label (CLINC150's) as one object."""
    if isinstance(row, list) and len(row) == 2 and isinstance(row[0], str):
        if isinstance(row[1], dict):
            return {"text": row[0], **row[1]}
        if isinstance(row[1], str):
            return {"text": row[0], "label": row[1]}
    return row


def _columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The columns of objects, in the order of their first coming; None where one lacks a field."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _checked(path: Path, text: str, columns: dict[str, list[Any]], lines: Sequence[int]) -> Rows:
    """Both. Raises DataError where an escape stands for half a character, as in "\\ud83d": no tokenizer takes it."""
    if re.search(r"\\u[dD][89a-fA-F]", text) is None:
        return columns, lines
    for column, values in columns.items():
        for row, value in enumerate(values):
            written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            half = re.search("[\ud800-\udfff]", written)
            if half is not None:
                before = written[max(half.start() - 20, 0) : half.start()]
                raise DataError(
                    f"{path} {getattr(lines[row], 'unit', 'line')} {lines[row]}: column {column!r} holds \\u{ord(half[0]):04x} alone (after {before!r}), half "
                    "of a surrogate pair and no character: write the pair whole, or remove it"
                )
    return columns, lines
