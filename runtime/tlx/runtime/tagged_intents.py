"""Texts with an intent each and slots: a table and a CoNLL file beside it, in step, or one table that has both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlx.runtime.column_files import COLUMNS
from tlx.runtime.columns import LABEL_NAMES, TEXT_NAMES, column_texts, pick_column
from tlx.runtime.errors import DataError
from tlx.runtime.tables import Source, Table, read_table
from tlx.runtime.tagged import Words, find_words, holds_tags, read_conll, read_tagged

__all__ = ["IntentsAndSlots", "read_intents_and_slots"]

INTENT_NAMES = ("intent", *(name for name in LABEL_NAMES if name not in ("labels", "intent")))


@dataclass(frozen=True, kw_only=True)
class IntentsAndSlots:
    """Parallel; `words` as in tagged.py, of `texts`."""

    source: str
    texts: Sequence[str]
    intents: Sequence[str]
    words: Sequence[Words]
    sha256: str


def read_intents_and_slots(source: Source, columns: Mapping[str, str], *, split: str = "train") -> IntentsAndSlots:
    """`columns` may name "text" and "label" (the intent). Raises DataError naming the row where the files part."""
    path = Path(source.source if isinstance(source, Table) else source)
    if path.suffix.lower() in COLUMNS:
        tables = [path.with_suffix(suffix) for suffix in (".csv", ".tsv", ".jsonl")]
        there = next((table for table in tables if table.exists()), None)
        if there is None:
            raise DataError(f"{path} has slots but no intents: put them into {tables[0].name} beside it (text,label)")
        source = path = there
    table = read_table(source, split=split)
    if holds_tags(table.sample()):
        tagged = read_tagged(table, {name: value for name, value in columns.items() if name == "text"}, split=split)
        return IntentsAndSlots(
            source=table.source,
            texts=tagged.texts,
            intents=_intents(tagged.table or table, columns),
            words=tagged.words,
            sha256=tagged.sha256,
        )
    slots = next((found for suffix in COLUMNS if (found := path.with_suffix(suffix)).exists()), None)
    if slots is None:
        raise DataError(f"{path} has no slots: put them into {path.with_suffix('.conll').name} beside it, row for row")
    text = pick_column(table, "text", TEXT_NAMES, columns.get("text"))
    texts, tagged = column_texts(table, text), read_conll(slots, every_row=True)
    words = [
        _placed(texts[row], tagged.texts[row], tagged.words[row], table.where(row), tagged.where[row])
        for row in range(min(len(texts), len(tagged.texts)))
    ]
    if len(texts) != len(tagged.texts):
        raise DataError(
            f"{path} has {len(texts)} rows but {slots} has {len(tagged.texts)} sentences: wanted one for each row"
        )
    digest = hashlib.sha256(f"{table.sha256} {tagged.sha256}".encode()).hexdigest()
    return IntentsAndSlots(
        source=table.source, texts=texts, intents=_intents(table, columns), words=words, sha256=digest
    )


def _intents(table: Table, columns: Mapping[str, str]) -> list[str]:
    return [
        intent.strip()
        for intent in column_texts(table, pick_column(table, "label", INTENT_NAMES, columns.get("label")))
    ]


def _placed(text: str, joined: str, words: Words, row: str, sentence: str) -> Words:
    """The words where they stand in the table's own text."""
    if text == joined:
        return words
    strings = [joined[start:end] for start, end, _ in words]
    found = find_words(text, strings)
    if isinstance(found, int):
        misfit = repr(strings[found]) if found < len(strings) else "its end"
        raise DataError(
            f"{row} and {sentence} are not the same words (from {misfit} on): put both files in step, row for row"
        )
    return tuple((start, end, tag) for (start, end), (_, _, tag) in zip(found, words, strict=True))
