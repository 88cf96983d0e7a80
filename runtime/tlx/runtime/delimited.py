"""CSV and TSV files → columns, as programs really write them: quoted or not, with other delimiters, with unnamed columns."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from tlx.runtime.errors import DataError
from tlx.runtime.spelling import CJK

__all__ = ["read_delimited"]

OTHERS = (";", "\t", "|")
"""What stands between the fields of a .csv whose header has no comma."""
SENTENCE = 4  # words
LONGEST_NAME = 200  # characters
_TOLD = re.compile(r"sep=(.)\r?\n")
_QUOTED = re.compile(r'"[^"]*"')
_CJK = re.compile(f"[{CJK}]")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
Row = tuple[int, list[str]]
"""The line (from 1) where a row starts, and its fields."""


def read_delimited(path: Path, text: str, delimiter: str) -> tuple[dict[str, list[str]], list[int]]:
    """(columns, the line where each row starts) of a file's text. The first row names the columns.

    A comma in `delimiter` stands for what the header uses, what Excel's line "sep=;" before it says, or what gives all rows as many
    fields where commas do not. In a file that is
    delimited by tabs a quotation mark is part of the text, unless the fields need it to hold tabs or line breaks. Columns
    without a name are called "column 3", and so are all, with a warning, where the first row is evidently data.
    Raises DataError naming the line where the fields are not as many as the header's, or a quotation is not closed.
    """
    told = _TOLD.match(text)
    if told is not None:
        delimiter, text = told[1], "\n" + text[told.end() :]  # an empty line, so that lines keep their numbers
    elif delimiter == ",":
        header = _QUOTED.sub("", text.split("\n", 1)[0])
        delimiter = next((sign for sign in (",", *OTHERS) if sign in header), ",")
    if not text.strip("\r\n"):
        raise DataError(f"{path} is empty: wanted a header and rows")
    rows = _plain_rows(path, text) if delimiter == "\t" else None
    if rows is None and delimiter == "," and told is None:
        rows = _rows_of_unknown_kind(path, text)
    (first, names), *rows = rows or _quoted_rows(path, text, delimiter)
    if _is_data(names, rows):
        rows, names = [(first, names), *rows], [""] * len(names)
        message = f"{path}: the first row is data, not names: columns are called column 1 to column {len(names)}"
        warnings.warn(message, UserWarning, stacklevel=2)
    names = [name.strip() or f"column {number}" for number, name in enumerate(names, start=1)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path} line 1 names column {repeated[0]!r} twice: rename one")
    for line, fields in rows:
        if len(fields) != len(names):
            mend = (
                f"quote fields that hold {delimiter!r}"
                if len(fields) > len(names)
                else "complete the row, or take it out"
            )
            raise DataError(f"{path} line {line} has {len(fields)} fields, the header has {len(names)}: {mend}")
    columns = {name: [fields[place] for _, fields in rows] for place, name in enumerate(names)}
    return columns, [line for line, _ in rows]


def _is_data(names: Sequence[str], rows: Sequence[Row]) -> bool:
    """Whether what should be names holds a sentence and, beside it, a number or what comes again in its column, as labels do; or
    more than any name."""
    if any(len(name) > LONGEST_NAME for name in names):
        return True
    if not any(len(name.split()) + len(_CJK.findall(name)) // 2 >= SENTENCE for name in names):
        return False
    if any(_NUMBER.fullmatch(name.strip()) for name in names):
        return True
    return any(
        name.strip() and any(place < len(fields) and fields[place] == name for _, fields in rows)
        for place, name in enumerate(names)
    )


def _plain_rows(path: Path, text: str) -> list[Row] | None:
    """The rows of tab-separated lines; None where quotation is meant: around every name, or lines are not of one length but
    their fields in quotation are. Raises DataError naming the first line of another length where both fail."""
    rows = [
        (number, line.split("\t"))
        for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1)
        if line.strip("\r")
    ]
    names = rows[0][1]
    if all(map(_is_quoted, names)):
        return None
    ragged = next(((number, len(fields)) for number, fields in rows if len(fields) != len(names)), None)
    if ragged is not None:
        try:
            _quoted_rows(path, text, "\t")
        except DataError as error:
            mend = "complete the row, or take it out" if 1 < ragged[1] < len(names) else "part the fields by tabs"
            raise DataError(
                f"{path} line {ragged[0]} has {ragged[1]} fields, the header has {len(names)}: {mend}"
            ) from error
        return None
    wrapped = [
        all(len(f[place]) > 1 and f[place][0] == f[place][-1] == '"' for _, f in rows[1:])
        for place in range(len(names))
    ]
    if len(rows) > 2 and any(wrapped):  # with \\" inside, as in Kaggle's labeledTrainData.tsv
        plain = [[_bare(f[place]) if wrapped[place] else f[place] for place in range(len(names))] for _, f in rows[1:]]
        return [rows[0], *((line, fields) for (line, _), fields in zip(rows[1:], plain, strict=True))]
    return [(line, [_unquoted(field) for field in fields]) for line, fields in rows]


def _rows_of_unknown_kind(path: Path, text: str) -> list[Row] | None:
    """The rows as commas part them, or else another delimiter, maybe with single quotes; None where no way gives all rows as
    many fields."""
    for quote, delimiter in [('"', ","), *product("\"'", OTHERS)]:
        try:
            rows = _quoted_rows(path, text, delimiter, quote)
        except DataError:
            continue
        if all(len(fields) == len(rows[0][1]) for _, fields in rows) and (delimiter == "," or len(rows[0][1]) > 1):
            return rows
    return None


def _is_quoted(field: str) -> bool:
    return len(field) > 1 and field[0] == field[-1] == '"' and '"' not in field[1:-1].replace('""', "")


def _unquoted(field: str) -> str:
    """The field without quotation where a writer of CSV put it, around one with a mark in it."""
    return field[1:-1].replace('""', '"') if _is_quoted(field) and '""' in field[1:-1] else field


def _bare(field: str) -> str:
    """What stands between the field's quotation marks, those in it as they are meant."""
    return field[1:-1].replace('""', '"').replace('\\"', '"')


def _quoted_rows(path: Path, text: str, delimiter: str, quote: str = '"') -> list[Row]:
    limit = csv.field_size_limit(1 << 30)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote, strict=True)
    rows: list[Row] = []
    start = 1
    try:
        for fields in reader:
            if fields:
                rows.append((start, fields))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path} line {start} is not valid {'TSV' if delimiter == chr(9) else 'CSV'} ({error}): a quotation that opens "
            'a field has to close it; inside one write "" for "'
        ) from error
    finally:
        csv.field_size_limit(limit)
    return rows
