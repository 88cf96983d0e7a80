"""Data files → tables: CSV, TSV, JSONL, Parquet, plain lines, and names of Hugging Face data sets."""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlx.runtime.delimited import read_delimited
from tlx.runtime.errors import DataError, MissingExtraError

__all__ = [
    "Table",
    "is_missing",
    "iterate_texts",
    "kept_rows",
    "number_in",
    "read_table",
    "read_text",
    "warn_of",
]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length as they stood in the file. `lines[i]` is the line (from 1) where row i starts.

    `sha256` is that of the file's bytes ("" for a data set that is not a file).
    """

    source: str
    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int]
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """`file line n`, for messages."""
        return f"{self.source} line {self.lines[row]}"

    def select(self, rows: Sequence[int]) -> Table:
        """The rows `rows`, in that order."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        return replace(self, columns=columns, lines=[self.lines[row] for row in rows])

    def sample(self) -> dict[str, Any]:
        """A value of each column, to tell what kind it holds: the first that is neither missing nor an empty list, but of
        numbers the first that is not whole, if any."""
        found = {}
        for name, values in self.columns.items():
            there = (value for value in values if value != [] and not is_missing(value))
            found[name] = next(there, values[0])
            if number_in(found[name]) is not None:
                found[name] = next((v for v in values if (n := number_in(v)) is not None and n % 1), found[name])
        return found


def read_table(source: str | Path, *, split: str = "train") -> Table:
    """The table in a file (format by suffix), or in a Hugging Face data set when `source` names no file.

    A data set is `owner/name`, `name`, or either with `:split` behind it. Raises DataError naming file and line.
    """
    path = Path(source)
    readers: dict[str, Callable[[Path, str], Table]] = {
        ".csv": _read_csv,
        ".tsv": _read_tsv,
        ".jsonl": _read_jsonl,
        ".ndjson": _read_jsonl,
        ".json": _read_json,
        ".txt": _read_lines,
    }
    suffix = path.suffix.lower()
    if path.is_dir():
        raise DataError(f"{path} is a folder: give a .csv, .tsv, .jsonl or .parquet file")
    if not path.exists():
        if not suffix and re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:\w+)?", str(source)):
            return _read_hub(str(source), split)
        raise DataError(f"{path} does not exist: give a .csv, .tsv, .jsonl or .parquet file")
    if suffix == ".parquet":
        table = _read_parquet(path)
    elif suffix in readers:
        content = _bytes(path)
        table = readers[suffix](path, _text(path, content))
        if re.search(rb"\\u[dD][89a-fA-F]", content):
            _check_unicode(table)
        table = replace(table, sha256=hashlib.sha256(content).hexdigest())
    else:
        raise DataError(
            f"{path} ends in {suffix or 'nothing'}: wanted .csv, .tsv, .jsonl, .json, .parquet or .txt (words with tags: .conll, "
            ".conllu, .bio, .iob or .iob2, and a task that reads them)"
        )
    if not len(table):
        raise DataError(f"{path} has a header but no rows: wanted at least one")
    return table


def iterate_texts(stream: Iterable[str], source: str) -> Iterator[str]:
    """The texts of a stream of plain lines, one each; blank lines are texts too, so that answers stay in step."""
    try:
        for line in stream:
            yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not UTF-8 (byte {error.start}): convert it, e.g. `iconv -t utf-8`") from error


def kept_rows(source: str, where: Sequence[str], keep: Sequence[bool], why: str) -> list[int]:
    """The numbers of the rows to keep. The others are counted in a warning; DataError where there are no more."""
    kept = [row for row, wanted in enumerate(keep) if wanted]
    if not kept:
        raise DataError(f"{source}: all {len(keep)} rows {why}: wanted one at least")
    if len(kept) < len(keep):
        first = next(place for place, wanted in zip(where, keep, strict=True) if not wanted)
        warn_of(source, f"{len(keep) - len(kept)} of {len(keep)} rows {why} and are left out", first)
    return kept


def warn_of(source: str, what: str, first: str) -> None:
    """A warning of what was found in a file, and where first."""
    warnings.warn(f"{source}: {what} (the first: {first})", UserWarning, stacklevel=4)


def number_in(value: Any) -> float | None:
    """The value as a finite number; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def is_missing(value: Any) -> bool:
    """None, NaN, or a blank string."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and not value.strip()


def read_text(source: str | Path) -> tuple[str, str]:
    """A UTF-8 file's text, and the sha256 of its bytes. Raises DataError naming file and line."""
    path = Path(source)
    content = _bytes(path)
    return _text(path, content), hashlib.sha256(content).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not content.strip():
        raise DataError(f"{path} is empty: wanted a header and rows")
    return content


def _check_unicode(table: Table) -> None:
    """Raises DataError where an escape of JSON stands for half a character, as in "\\ud83d": no tokenizer takes it."""
    for column, values in table.columns.items():
        for row, value in enumerate(values):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            half = re.search("[\ud800-\udfff]", text)
            if half is not None:
                before = text[max(half.start() - 20, 0) : half.start()]
                raise DataError(
                    f"{table.where(row)}: column {column!r} holds \\u{ord(half[0]):04x} alone (after {before!r}), half of a "
                    "surrogate pair and no character: write the pair whole, or remove it"
                )


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} line {line} is not UTF-8 (byte 0x{content[error.start]:02x}): save the file as UTF-8, "
            "as `iconv -f cp1252 -t utf-8` does for one of Windows"
        ) from error


def _read_csv(path: Path, text: str) -> Table:
    return _read_delimited(path, text, ",")


def _read_tsv(path: Path, text: str) -> Table:
    return _read_delimited(path, text, "\t")


def _read_delimited(path: Path, text: str, delimiter: str) -> Table:
    columns, lines = read_delimited(path, text, delimiter)
    return Table(source=str(path), columns=columns, lines=lines)


def _read_jsonl(path: Path, text: str) -> Table:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path} line {number} is not valid JSON: {error.msg} (wanted one object a line)"
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number} holds a {type(row).__name__}: wanted one JSON object a line")
        rows.append(row)
        lines.append(number)
    return Table(source=str(path), columns=_columns_of(rows), lines=lines)


def _read_json(path: Path, text: str) -> Table:
    """One document, an object being one row and a list a row each item; or else an object a line."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # a second line that begins anew
            return _read_jsonl(path, text)
        raise DataError(f"{path} line {error.lineno} is not valid JSON: {error.msg}") from error
    rows = document if isinstance(document, list) else [document]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path} item {number} is a {type(row).__name__}: wanted a JSON object")
    return Table(source=str(path), columns=_columns_of(rows), lines=range(1, len(rows) + 1))


def _columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The columns of objects, in the order of their first coming; None where one lacks a field."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_lines(path: Path, text: str) -> Table:
    numbered = [(n, line.strip()) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return Table(source=str(path), columns={"text": [line for _, line in numbered]}, lines=[n for n, _ in numbered])


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data", f"{path}: reading Parquet") from error
    try:
        found = pyarrow.parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from error
    columns = found.to_pydict()
    if not columns:
        raise DataError(f"{path} has no columns: wanted a text column")
    features = _features(found.schema.metadata or {})
    named = {name: _named(features.get(name), values, f"{path}: column {name!r}") for name, values in columns.items()}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Table(source=str(path), columns=named, lines=range(1, found.num_rows + 1), sha256=digest)


def _features(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """What Hugging Face's datasets wrote into a Parquet file about its columns; {} where another program wrote the file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def _read_hub(name: str, split: str) -> Table:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "datasets", "data", f"{name} is no file; loading it as a Hugging Face data set"
        ) from error
    repository, _, asked = name.partition(":")
    try:
        data = datasets.load_dataset(repository, split=asked or split)
    except Exception as error:  # the library raises dozens of kinds, network ones among them
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{name} is neither a file nor a Hugging Face data set that can be loaded here: {reason}"
        ) from error
    features = data.features.to_dict()
    columns = {
        column: _named(features.get(column), data[column][:], f"{name}: column {column!r}")
        for column in data.column_names
    }
    return Table(source=name, columns=columns, lines=range(1, len(data) + 1))


def _named(feature: Any, values: list[Any], where: str) -> list[Any]:
    """Class numbers as the names that the column's feature (as datasets writes it in JSON) has for them, -1 as None.

    Lists of them (ner_tags) too; other values as they are. Raises DataError for a number that has no name.
    """
    if isinstance(feature, list) and len(feature) == 1:  # how old versions write a list
        feature = {"feature": feature[0]}
    if not isinstance(feature, dict):
        return values
    if feature.get("_type") != "ClassLabel":
        inner = feature.get("feature")
        if not isinstance(inner, dict) or inner.get("_type") != "ClassLabel":
            return values
        return [None if value is None else _named(inner, value, where) for value in values]
    names = feature.get("names") or []
    unnamed = next((v for v in values if isinstance(v, int) and not -1 <= v < len(names)), None)
    if unnamed is not None:
        raise DataError(
            f"{where} holds the class {unnamed}, but its metadata name {len(names)}: write the data set again"
        )
    return [(None if value == -1 else names[value]) if isinstance(value, int) else value for value in values]
