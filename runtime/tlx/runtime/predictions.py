"""Texts from arguments, files or a stream → answers, one record a text, to the screen or to a file."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import tee
from pathlib import Path
from typing import IO, Any

from tlx.runtime.errors import DataError, UsageError
from tlx.runtime.examples import TEXT_NAMES, iterate_texts, pick_column, read_table
from tlx.runtime.predictor import Predictor

__all__ = ["predict", "read_texts", "stdin_texts", "top_k_option", "write_predictions"]

Record = dict[str, Any]
OUTPUTS = (".csv", ".jsonl")


def predict(predictor: Predictor, texts: Iterable[str], *, top_k: Any, at_once: bool = False) -> Iterator[Record]:
    """One record for each text, in order and as soon as it is there: `{"text", "label", "score"}`, or `{"text", "labels": [...]}`.

    `top_k` is text-classification's. `at_once` answers each text before the next is read (a person types them).
    """
    source, kept = tee(texts)
    if at_once:
        answers: Iterator[Any] = (predictor([text], top_k=top_k)[0] for text in source)
    else:
        answers = predictor(source, top_k=top_k)
    for text, answer in zip(kept, answers, strict=True):
        yield {"text": text, **answer} if isinstance(answer, dict) else {"text": text, "labels": answer}


def top_k_option(asked: str | None, *, multi_label: bool) -> Any:
    """What `--top-k` asks for: a number, "all", or by default the best label (multi-label: those over their thresholds)."""
    if asked is None:
        return "threshold" if multi_label else "best"
    if asked == "all":
        return None
    if not asked.isdigit() or int(asked) < 1:
        raise UsageError(f"--top-k is {asked!r}: wanted a whole number from 1, or all")
    return int(asked)


def read_texts(path: Path, column: str | None) -> list[str]:
    """The texts of a file: the lines of a .txt (empty ones too), or the text column of a .csv, .tsv, .jsonl or .parquet."""
    if path.suffix.lower() == ".txt" and path.is_file():
        with path.open(encoding="utf-8-sig", newline="\n") as stream:
            texts = list(iterate_texts(stream, str(path)))
        if not texts:
            raise DataError(f"{path} is empty: wanted one text a line")
        return texts
    table = read_table(path)
    name = pick_column(table, "text", TEXT_NAMES, column)
    texts = []
    for row, value in enumerate(table.columns[name]):
        if value is None or value != value:  # NaN
            raise DataError(f"{table.where(row)}: column {name!r} has no text: give one or remove the row")
        texts.append(value if isinstance(value, str) else str(value))
    return texts


def stdin_texts() -> Iterator[str]:
    """The lines of standard input, as UTF-8."""
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict", newline="\n")
    return iterate_texts(sys.stdin, "standard input")


def write_predictions(records: Iterable[Record], path: Path | None, *, as_json: bool) -> int:
    """The records on standard output, or in the file (.csv or .jsonl), which appears whole or not at all. Their number.

    Raises UsageError for another suffix, before a record is taken.
    """
    if path is None:
        return _write(records, sys.stdout, _json_line if as_json else _plain_line, flush=True)
    check_output(path)
    with _written_atomically(path) as stream:
        if path.suffix.lower() == ".jsonl":
            return _write(records, stream, _json_line)
        return _write_csv(records, stream)


def check_output(path: Path) -> None:
    """Raises UsageError when a file of that name cannot be written."""
    if path.suffix.lower() not in OUTPUTS:
        raise UsageError(f"--output {path} ends in {path.suffix or 'nothing'}: wanted {' or '.join(OUTPUTS)}")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: the folder {path.parent} does not exist: make it first")


def _write(records: Iterable[Record], stream: IO[str], line: Callable[[Record], str], *, flush: bool = False) -> int:
    count = 0
    for record in records:
        stream.write(line(record) + "\n")
        count += 1
        if flush and count % 64 == 1:  # the first answers are seen at once, the others cheaply
            stream.flush()
    return count


def _json_line(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False)


def _plain_line(record: Record) -> str:
    labels = record.get("labels", [record])
    shown = ", ".join(f"{item['label']} {item['score']:.4f}" for item in labels) or "(no label)"
    return f"{shown}\t{' '.join(record['text'].split())}"


def _write_csv(records: Iterable[Record], stream: IO[str]) -> int:
    """Columns text, label, score; or text, labels, scores with a JSON list in each of the last two."""
    writer = csv.writer(stream, lineterminator="\n")
    count = 0
    for record in records:
        if "labels" in record:
            names = ("text", "labels", "scores")
            labels = json.dumps([item["label"] for item in record["labels"]], ensure_ascii=False)
            row = (record["text"], labels, json.dumps([item["score"] for item in record["labels"]]))
        else:
            names = ("text", "label", "score")
            row = (record["text"], record["label"], record["score"])
        if count == 0:
            writer.writerow(names)
        writer.writerow(row)
        count += 1
    return count


@contextmanager
def _written_atomically(path: Path) -> Iterator[IO[str]]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
