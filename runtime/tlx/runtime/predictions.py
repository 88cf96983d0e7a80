"""Inputs from arguments, files or a stream → answers, one record an input, to the screen or to a file."""

from __future__ import annotations

import codecs
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from tlx.runtime.column_files import COLUMNS, TABBED, file_format
from tlx.runtime.errors import DataError, UsageError
from tlx.runtime.json_files import fault
from tlx.runtime.predictor import Predictor
from tlx.runtime.tables import Source, Table, iterate_texts
from tlx.runtime.tasks import Task
from tlx.runtime.tasks.task import Input
from tlx.runtime.text_files import decoded, stored_bytes, suffix_of

__all__ = [
    "check_output",
    "group_arguments",
    "parse_options",
    "predict",
    "read_file",
    "stdin_blocks",
    "write_predictions",
]

Record = dict[str, Any]
OUTPUTS = (".csv", ".jsonl")
FIRST_BYTES, MOST_BYTES = (
    256,
    1 << 18,
)  # of standard input at a time: little at first, so that the first answers come at once


def predict(
    predictor: Predictor, blocks: Iterable[Sequence[Input]], options: Mapping[str, Any]
) -> Iterator[tuple[Record, str]]:
    """For each input, in order: its record, and its answer as one line of text. No block is read before the one before it
    is answered. `options` are the task's."""
    task = predictor.task
    for block in blocks:
        for item, answer in zip(block, predictor(block, **options), strict=True):
            shown = " | ".join(" ".join(text.split()) for text in ((item,) if isinstance(item, str) else item))
            yield task.record(item, answer), f"{task.show(answer)}\t{shown}"


def parse_options(predictor: Predictor, top_k: str | None, settings: Sequence[str]) -> dict[str, Any]:
    """`--top-k N|all` and `--option name=value` as keywords of a call, the task's own where nothing is said.

    Raises UsageError for those that the predictor refuses.
    """
    options: dict[str, Any] = dict(predictor.task.command_options)
    if top_k is not None:
        if top_k != "all" and (not top_k.isdecimal() or int(top_k) < 1):
            raise UsageError(f"--top-k is {top_k!r}: wanted a whole number from 1, or all")
        options["top_k"] = None if top_k == "all" else int(top_k)
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--option {setting}: wanted name=value, e.g. aggregation_strategy=simple")
        options[name] = _value(value)
    predictor.check(options)
    return options


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def group_arguments(texts: Sequence[str], names: Sequence[str]) -> list[Input]:
    """Texts of a command line as inputs: one each, or so many together as an input has parts."""
    if len(names) == 1:
        return list(texts)
    if len(texts) % len(names):
        raise UsageError(f"found {len(texts)} texts: give {' and '.join(names)} for each answer, so many together")
    return [tuple(texts[i : i + len(names)]) for i in range(0, len(texts), len(names))]


def read_file(source: Source, task: Task, columns: Mapping[str, str]) -> list[Input]:
    """The inputs of a file: the lines of a .txt (empty ones too), or the columns of a .csv, .tsv, .jsonl or .parquet.

    A .txt of fastText's lines has texts and labels; one that is evidently columns of words is read so by a task that reads them.
    """
    if isinstance(source, Table):
        return task.inputs_of(source, columns)
    path, found = Path(source), file_format(source)
    if (
        suffix_of(path) == ".txt"
        and path.is_file()
        and (found in (".txt", TABBED) or (found in COLUMNS and not task.recognises(found, {})))
    ):
        text = decoded(path, stored_bytes(path)[0])
        if not text:
            raise DataError(f"{path} is empty: wanted one input a line")
        return list(_lines(text.removesuffix("\n").split("\n"), str(path), task.input_names))
    return task.inputs_of(path, columns)


def stdin_blocks(names: Sequence[str]) -> Iterator[list[Input]]:
    """The lines of standard input, as UTF-8; the parts of an input are parted by tabs, or are the fields of a JSON object.

    A block is what is there: no line is waited for before the lines that came are answered and their answers seen.
    """
    read = 0
    for block in _blocks_there(sys.stdin.buffer):
        if not read and block:
            block[0] = block[0].removeprefix(codecs.BOM_UTF8)
        yield list(_lines((line.decode("utf-8") for line in block), "standard input", names, read))
        read += len(block)
        sys.stdout.flush()


def _blocks_there(stream: BinaryIO) -> Iterator[list[bytearray]]:
    """The stream's lines; a block are those that one read completes, which waits only where nothing is there."""
    rest, size = bytearray(), FIRST_BYTES
    while chunk := stream.read1(size):  # type: ignore[attr-defined]  # typeshed: of every buffer, not of BinaryIO
        rest += chunk
        if b"\n" in chunk:
            *lines, rest = rest.split(b"\n")
            yield lines
        size = min(4 * size, MOST_BYTES)
    if rest:
        yield [rest]


def _lines(stream: Iterable[str], source: str, names: Sequence[str], before: int = 0) -> Iterator[Input]:
    for number, line in enumerate(iterate_texts(stream, source), start=before + 1):
        yield line if len(names) == 1 else _split(line, f"{source} line {number}", names)


def _split(line: str, where: str, names: Sequence[str]) -> Input:
    if line.startswith("{"):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is not valid JSON: {fault(error)}") from error
        parts = [found.get(name) for name in names]
    else:
        parts = line.split("\t")
    if len(parts) != len(names) or not all(isinstance(part, str) for part in parts):
        raise DataError(f"{where}: wanted {' and '.join(names)}, parted by a tab, or a JSON object with these")
    return tuple(parts)


def write_predictions(records: Iterable[tuple[Record, str]], path: Path | None, *, as_json: bool) -> int:
    """The records on standard output, or in the file (.csv or .jsonl), which appears whole or not at all. Their number.

    Raises UsageError for another suffix, before a record is taken.
    """
    if path is None:
        return _write((_json_line(r) if as_json else shown for r, shown in records), sys.stdout, flush=True)
    check_output(path)
    with _written_atomically(path) as stream:
        if path.suffix.lower() == ".jsonl":
            return _write((_json_line(record) for record, _ in records), stream)
        return _write_csv((record for record, _ in records), stream)


def check_output(path: Path, read: Path | None = None) -> None:
    """Raises UsageError when a file of that name cannot be written, or is the one that is `read`."""
    if read is not None and path.exists() and read.exists() and path.samefile(read):
        raise UsageError(
            f"--output {path} is the file of --input, whose labels it would take the place of: name another"
        )
    if path.suffix.lower() not in OUTPUTS:
        raise UsageError(f"--output {path} ends in {path.suffix or 'nothing'}: wanted {' or '.join(OUTPUTS)}")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: the folder {path.parent} does not exist: make it first")
    if path.is_dir():
        raise UsageError(f"--output {path} is a folder: name a file")


def _write(lines: Iterable[str], stream: IO[str], *, flush: bool = False) -> int:
    count = 0
    for line in lines:
        stream.write(line + "\n")
        count += 1
        if flush and count % 64 == 1:  # the first answers are seen at once, the others cheaply
            stream.flush()
    return count


def _json_line(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False)


def _write_csv(records: Iterable[Record], stream: IO[str]) -> int:
    """One column a field; lists of answers as a JSON list a field ("labels", "scores", …).

    An empty list does not tell its fields: such records wait for the first that does, so that the header has them all.
    """
    writer = csv.writer(stream, lineterminator="\n")
    names: list[str] = []
    waiting: list[Record] = []
    count = 0
    for record in records:
        count += 1
        waiting.append(_flat(record))
        if not names and any(value == [] for value in record.values()):
            continue
        if not names:
            names = list(waiting[-1])
            writer.writerow(names)
        writer.writerows([row.get(name, "[]") for name in names] for row in waiting)
        waiting = []
    if waiting:
        writer.writerows([list(waiting[0]), *(list(row.values()) for row in waiting)])
    return count


def _flat(record: Record) -> Record:
    """Plain values. A list of answers is one JSON list for each of their fields: labels, scores, …; lists of such lists (those of
    several masks) are lists of lists."""
    flat: Record = {}
    for name, value in record.items():
        nested = isinstance(value, list) and bool(value) and all(isinstance(item, list) for item in value)
        items = [item for part in value for item in part] if nested else value
        if isinstance(items, list) and all(isinstance(item, dict) for item in items):
            fields = dict.fromkeys(field for item in items for field in item) or {name.removesuffix("s"): None}
            for field in fields:
                told = (
                    [[item.get(field) for item in part] for part in value]
                    if nested
                    else [item.get(field) for item in items]
                )
                flat[f"{field}s"] = json.dumps(told, ensure_ascii=False)
        else:
            flat[name] = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
    return flat


@contextmanager
def _written_atomically(path: Path) -> Iterator[IO[str]]:
    path = path.resolve()  # where it is a link, what it leads to
    if path.exists() and not path.is_file():  # a pipe, say
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
