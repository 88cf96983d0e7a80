"""Data → tables: files of CSV, TSV, JSONL, Parquet and plain lines, several as one, and Hugging Face data sets."""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from tlx.runtime.delimited import read_delimited
from tlx.runtime.errors import DataError
from tlx.runtime.json_files import read_json, read_jsonl
from tlx.runtime.shards import files_matching, files_of_split, is_pattern
from tlx.runtime.text_files import decoded, read_bytes, suffix_of

__all__ = [
    "Source",
    "Table",
    "accepted",
    "has_labels",
    "has_tabs",
    "is_missing",
    "iterate_texts",
    "kept_rows",
    "number_in",
    "read_table",
    "warn_of",
]

LABEL_PREFIX = "__label__"
"""What fastText's labels begin with, which its lines begin with."""
TOLD_BY = 200
"""So many lines tell whether lines without that have a label, too."""
_LABELLED = (
    re.compile(r"(?P<label>[A-Z]{2,}:\w+)\s+(?P<text>\S.*)"),
    re.compile(r"(?P<label>\d\d?)\s+(?P<text>\S.*)"),
    re.compile(r"(?P<text>.*\S)\s*[;@]\s*(?P<label>[A-Za-z_]+)"),
)
"""How: as TREC's do (`DESC:manner How did …`), with a small number that comes again and again, or behind the text (`a dull film;sadness`)."""
Parts = tuple[list[str], str]
"""The labels of a line, several only of fastText's, and its text."""
REFUSED = ("reject", "ignore")
ARCHIVES = (".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length as they stood in the file. `lines[i]` is the line (from 1) where row i starts, or where the
    table came from several files a file and its line.

    `sha256` is that of the file's bytes (of a data set that is not a file, datasets' fingerprint).
    """

    source: str
    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int | tuple[str, int]]
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """`file line n` (of documents and Parquet `file row n`), for messages."""
        found = self.lines[row]
        file, line = (self.source, found) if isinstance(found, int) else found
        return f"{file} {getattr(line, 'unit', 'line')} {line}"

    def select(self, rows: Sequence[int]) -> Table:
        """The rows `rows`, in that order."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        return replace(self, columns=columns, lines=[self.lines[row] for row in rows])

    def kept(self, keep: Sequence[bool], why: str) -> Table:
        """The rows to keep; kept_rows counts the others in a warning, and raises DataError where there are no more."""
        places = [self.where(row) for row in range(len(self))]
        return self.select(kept_rows(self.source, places, keep, why))

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


Source = str | Path | Table
"""Where data are; a table is what was there, read."""


def read_table(source: Source, *, split: str = "train") -> Table:
    """The table in a file (format by suffix, .gz behind it or not), in the files that a pattern matches, in a folder, or in
    a Hugging Face data set when `source` names no file (arrow_data.read_named has the spelling).

    A folder is one that datasets saved, that holds words, tags and intents in step, a folder of texts for each label, or the
    files of `split`. A table is given back as it is. Raises DataError naming file and line.
    """
    if isinstance(source, Table):
        return source
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, split)
    if path.exists():
        return _read_file(path, split)
    if is_pattern(source):
        return _joined(str(source), [_read_file(file, split) for file in files_matching(source)])
    from tlx.runtime.arrow_data import is_name, read_named

    if is_name(source):
        return read_named(str(source), split)
    raise DataError(f"{path} does not exist: give a .csv, .tsv, .jsonl or .parquet file")


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


def accepted(table: Table) -> Table:
    """The table without the rows that an annotator rejected or left, as Prodigy writes it; a warning counts them."""
    answers = table.columns.get("answer", ())
    if not answers or not set(answers) <= {"accept", *REFUSED}:
        return table
    return table.kept([answer not in REFUSED for answer in answers], "were rejected or ignored")


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


def _read_folder(folder: Path, split: str) -> Table:
    from tlx.runtime.arrow_data import is_saved, read_saved

    if is_saved(folder):
        return read_saved(folder, split)
    from tlx.runtime.label_folders import label_folders, read_label_folders
    from tlx.runtime.step_files import read_step_files, step_files

    place = step_files(folder, split)
    if place is not None:
        return read_step_files(place)
    labels = label_folders(folder, split)
    if labels:
        return read_label_folders(folder, labels)
    return _joined(str(folder), [_read_file(file, split) for file in files_of_split(folder, split)])


def _read_file(path: Path, split: str) -> Table:
    """The table in a file, of several splits in it the one named. Raises DataError where it has no rows, or a suffix that says nothing."""
    readers: dict[str, Callable[[Path, str], tuple[dict[str, list[Any]], Sequence[int]]]] = {
        ".csv": lambda path, text: read_delimited(path, text, ","),
        ".tsv": lambda path, text: read_delimited(path, text, "\t"),
        ".jsonl": read_jsonl,
        ".ndjson": read_jsonl,
        ".json": partial(read_json, split=split),
        ".txt": _read_lines,
    }
    suffix = suffix_of(path)
    if path.suffix.lower() == ".parquet":
        from tlx.runtime.arrow_data import read_parquet

        table = read_parquet(path)
    elif suffix in readers:
        content, sha256 = read_bytes(path)
        columns, lines = readers[suffix](path, decoded(path, content))
        table = Table(source=str(path), columns=columns, lines=lines, sha256=sha256)
    else:
        unpack = "; unpack it first" if suffix in ARCHIVES else "; where it is one of these, copy it to such a name"
        raise DataError(
            f"{path} ends in {path.suffix.lower() or 'nothing'}: wanted .csv, .tsv, .jsonl, .json, .parquet or .txt, "
            f"maybe with .gz behind it (words with tags: .conll, .conllu, .bio, .iob or .iob2, and a task that reads them){unpack}"
        )
    if not len(table):
        raise DataError(f"{path} has a header but no rows: wanted at least one")
    return table


def _read_lines(path: Path, text: str) -> tuple[dict[str, list[Any]], Sequence[int]]:
    if has_tabs(text):
        return read_delimited(path, text, "\t")
    numbered = [(n, line.strip()) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    places = [n for n, _ in numbered]
    parted = _parting(text)
    if parted is not None:
        found = [(n, parted(line)) for n, line in numbered]
        without = next((n for n, (labels, _) in found if not labels), None)
        if without is not None:
            raise DataError(
                f"{path} line {without} has no label beside its text, as the first line has ({found[0][1][0][0]}): add one, or take the "
                "line out"
            )
        labels, texts = zip(*(parts for _, parts in found), strict=True)
        single = all(len(found) == 1 for found in labels)
        gold = {"label": [found[0] for found in labels]} if single else {"labels": list(labels)}
        return {"text": list(texts), **gold}, places
    return {"text": [line for _, line in numbered]}, places


def has_tabs(text: str) -> bool:
    """Whether the lines are a table's: two at least, none of them blank, and all with as many tabs, one or more."""
    lines = text.strip("\n").split("\n")
    return len(lines) > 1 and "\t" in lines[0] and len({line.count("\t") if line.strip() else 0 for line in lines}) == 1


def has_labels(text: str) -> bool:
    """Whether each line has a label: begins with one of fastText's, as the first that is not blank tells, or with what comes again
    and again where other files have a label in front, or ends so."""
    return _parting(text) is not None


def _parting(text: str) -> Callable[[str], Parts] | None:
    """What gives the labels and the text of a line; None where the first lines have no labels in the same way, and few different
    ones."""
    if text.lstrip().startswith(LABEL_PREFIX):
        return _prefixed
    lines = [line.strip() for line in text.split("\n", 4 * TOLD_BY)[: 4 * TOLD_BY] if line.strip()][:TOLD_BY]
    for kind in _LABELLED:
        found = [kind.fullmatch(line) for line in lines]
        labels = [match["label"] for match in found if match is not None]
        onward = sum(a.isdecimal() and b.isdecimal() and int(b) == int(a) + 1 for a, b in pairwise(labels))
        if labels and None not in found and 2 * len(set(labels)) <= len(lines) and 2 * onward < len(lines):
            return partial(_matched, kind)  # numbers that count the lines, as dialogues have them, are no labels
    return None


def _matched(kind: re.Pattern[str], line: str) -> Parts:
    match = kind.fullmatch(line)
    return ([], line) if match is None else ([match["label"]], match["text"])


def _prefixed(line: str) -> Parts:
    """The labels that a line of fastText's begins with, and the text behind them."""
    labels, rest = [], line
    while rest.startswith(LABEL_PREFIX):
        label, *behind = rest.split(None, 1)
        labels.append(label.removeprefix(LABEL_PREFIX))
        rest = "".join(behind)
    return labels, rest


def _joined(source: str, tables: Sequence[Table]) -> Table:
    """The rows of several files as one table. Raises DataError where their columns are not the same."""
    first = tables[0]
    if len(tables) == 1:
        return first
    for table in tables:
        if set(table.columns) != set(first.columns):
            raise DataError(
                f"{table.source} has the columns {', '.join(table.columns)}, {first.source} has {', '.join(first.columns)}: "
                "wanted the same in each"
            )
    columns = {name: [value for table in tables for value in table.columns[name]] for name in first.columns}
    lines = [(table.source, line) for table in tables for line in table.lines if isinstance(line, int)]
    digest = hashlib.sha256(" ".join(table.sha256 for table in tables).encode()).hexdigest()
    return Table(source=source, columns=columns, lines=lines, sha256=digest)
