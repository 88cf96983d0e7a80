"""Tagged data → texts with tagged words: CoNLL columns, lists of tokens and tags, texts with character spans.

Every form ends as the same: a text, and its words in order as (start, end, tag) characters of it. Tags with prefixes are
BIO whatever the file had (IOB1, BIOES, BMES and BILOU are rewritten): transformers' pipelines know no other.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from tlx.runtime.column_files import COLUMNS, file_format, read_sentences
from tlx.runtime.columns import TEXT_NAMES, column_texts, pick_column
from tlx.runtime.errors import DataError
from tlx.runtime.spelling import CJK
from tlx.runtime.tables import Source, Table, accepted, is_missing, kept_rows, read_table, warn_of
from tlx.runtime.text_files import suffix_of

__all__ = [
    "TAG",
    "Tagged",
    "Words",
    "find_words",
    "holds_tags",
    "is_columns",
    "join_words",
    "joined_words",
    "ordered_tags",
    "read_conll",
    "read_tagged",
]

Words = tuple[tuple[int, int, str], ...]

NO_COLUMNS: Mapping[str, str] = {}
TOKEN_NAMES = ("tokens", "words")
TAG_NAMES = ("tags", "ner_tags", "pos_tags", "slot_tags", "slots", "labels")
SPAN_NAMES = ("entities", "spans", "labels", "label")
OWN_TEXT = ("text", "value", "mention", "surface")
LABEL_KEYS = ("label", "type", "entity_type", "entity")
MOST, SOME = 0.5, 10
"""A warning is due where more than this share of so many spans or more end inside a word."""
_CJK = re.compile(f"[{CJK}]")
_WORD = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
_PREFIXED = re.compile(r"[A-Za-z]-")
ENTITY = "ENTITY"
"""What spans are called whose tags name no kind."""
TAG = re.compile(r"O|[BIESLUM]-.+", re.DOTALL)
_BEGINS, _GOES_ON = "BSU", "IELM"


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """Texts and their words, parallel; `where` says for each, for messages, where it stands in the file.

    `table` are the other columns, for files that have some.
    """

    source: str
    texts: list[str]
    words: list[Words]
    where: Sequence[str]
    sha256: str = ""
    table: Table | None = None


def read_tagged(source: Source, columns: Mapping[str, str], *, split: str = "train", every_row: bool = False) -> Tagged:
    """The tagged texts of a file of columns (a .txt too), or of a table with tokens and tags or with texts and spans.

    `columns` may name "text" (the tokens or texts) and "label" (the tags or spans). Rows without a token, and those that an
    annotator rejected, are left out, which a warning counts; with `every_row` they stay. Raises DataError with file and line.
    """
    if is_columns(source) or (not isinstance(source, Table) and suffix_of(source) == ".txt"):
        return read_conll(source, columns, every_row=every_row)
    table = read_table(source, split=split)
    tokens = _token_column(table, columns.get("text"))
    if tokens is None:
        return _spanned(table, columns, every_row=every_row)
    tags = pick_column(table, "label", TAG_NAMES, columns.get("label"))
    pairs = [_same_length(table, row, tokens, tags) for row in range(len(table))]
    where = [[table.where(row)] * len(words) for row, (words, _) in enumerate(pairs)]
    return _tagged(table.source, pairs, where, table.sha256, table, every_row=every_row)


def is_columns(source: Source) -> TypeGuard[str | Path]:
    """Whether it is a file of words in columns."""
    return not isinstance(source, Table) and file_format(source) in COLUMNS


def joined_words(table: Table, asked: str | None) -> list[str] | None:
    """The texts of a table with lists of words, tagged or not; None where it has no such column. `asked` may name it."""
    column = _token_column(table, asked)
    if column is None:
        return None
    texts = []
    for row, words in enumerate(table.columns[column]):
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(_no_list(table, row, column, words))
        texts.append(join_words([word.strip() for word in words if word.strip()])[0])
    return texts


def _token_column(table: Table, asked: str | None) -> str | None:
    sample = table.sample()
    return next((name for name in (asked, *TOKEN_NAMES) if name is not None and _is_tokens(sample.get(name))), None)


def holds_tags(columns: Mapping[str, Any]) -> bool:
    """Whether a sample row, by column, is one of tokens with tags or of a text with spans."""
    row = {name.lower(): value for name, value in columns.items()}
    if any(_is_tokens(row.get(name)) for name in TOKEN_NAMES):
        return any(isinstance(row.get(name), list) for name in TAG_NAMES)
    if not any(isinstance(row.get(name), str) for name in TEXT_NAMES):
        return False
    if any(isinstance(row.get(name), list) for name in ("entities", "spans")):
        return True
    labels = row.get("labels", row.get("label"))
    return isinstance(labels, list) and bool(labels) and isinstance(labels[0], (list, dict))


def read_conll(source: str | Path, columns: Mapping[str, str] = NO_COLUMNS, *, every_row: bool = False) -> Tagged:
    """The sentences of a file of columns. `columns` may hold numbers from 1: "text" (the words) and "label" (the tags)."""
    sentences, sha256 = read_sentences(source, columns)
    where = [[f"{source} line {number}" for number in sentence.lines] for sentence in sentences]
    pairs = [(sentence.words, sentence.tags) for sentence in sentences]
    return _tagged(str(source), pairs, where, sha256, every_row=every_row)


def join_words(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """(the words as one text, each one's characters in it): a space between two, but none where both sides are CJK."""
    parts, spans, position = [], [], 0
    for before, word in pairwise(("", *words)):
        if before and not (_CJK.match(before[-1]) and _CJK.match(word[0])):
            parts.append(" ")
            position += 1
        parts.append(word)
        spans.append((position, position + len(word)))
        position += len(word)
    return "".join(parts), spans


def find_words(text: str, words: Sequence[str]) -> list[tuple[int, int]] | int:
    """Each word's characters in the text, which holds nothing else but white space; else the number of the first misfit."""
    spans, position = [], 0
    for number, word in enumerate(words):
        start = text.find(word, position)
        if start < 0 or text[position:start].strip():
            return number
        position = start + len(word)
        spans.append((start, position))
    return len(words) if text[position:].strip() else spans


def ordered_tags(words: Sequence[Words]) -> tuple[str, ...]:
    """The distinct tags, O first, then in alphabetic order."""
    return tuple(sorted({tag for item in words for _, _, tag in item}, key=lambda tag: (tag != "O", tag)))


def _tagged(
    source: str,
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]],
    where: Sequence[Sequence[str]],
    sha256: str,
    table: Table | None = None,
    *,
    every_row: bool,
) -> Tagged:
    """The rows of words with their tags as texts. `where` tells of each word where it stands; "" is no word."""
    rows = [
        [item for item in zip(words, tags, places, strict=True) if item[0]]
        for (words, tags), places in zip(pairs, where, strict=True)
    ]
    blank = [
        place
        for (words, _), places in zip(pairs, where, strict=True)
        for word, place in zip(words, places, strict=True)
        if not word
    ]
    if blank:
        warn_of(source, f"{len(blank)} tokens are white space and are left out with their tags", blank[0])
    places = [where[row][0] if table is None else table.where(row) for row in range(len(rows))]
    kept = range(len(rows)) if every_row else kept_rows(source, places, [bool(row) for row in rows], "have no tokens")
    rows = [rows[row] for row in kept]
    found = _as_bio(
        [[tag for _, tag, _ in row] for row in rows], [[place for _, _, place in row] for row in rows], source
    )
    texts, words = [], []
    for row, tags in zip(rows, found, strict=True):
        text, spans = join_words([word for word, _, _ in row])
        texts.append(text)
        words.append(tuple((start, end, tag) for (start, end), tag in zip(spans, tags, strict=True)))
    return Tagged(
        source=source,
        texts=texts,
        words=words,
        where=[places[row] for row in kept],
        sha256=sha256,
        table=None if table is None else table.select(kept),
    )


def _spanned(table: Table, columns: Mapping[str, str], *, every_row: bool) -> Tagged:
    """The texts with their spans. Prodigy and Label Studio write none where a text has no span, Prodigy whether the annotator rejected it."""
    text = pick_column(table, "text", TEXT_NAMES, columns.get("text"))
    spans = pick_column(table, "label", SPAN_NAMES, columns.get("label"))
    sample = table.sample()
    prodigy = any(_is_prodigy(sample.get(name)) for name in TOKEN_NAMES)
    if prodigy or "annotation_id" in table.columns:
        table = replace(table, columns={**table.columns, spans: [value or [] for value in table.columns[spans]]})
    if prodigy and not every_row:
        table = accepted(table)
    texts = column_texts(table, text)
    where = [table.where(row) for row in range(len(table))]
    found = [_spans(table, row, spans, item) for row, item in enumerate(texts)]
    _warn_of_torn_words(table.source, texts, found)
    words = [_words_of_spans(*given) for given in zip(texts, found, where, strict=True)]
    return Tagged(source=table.source, texts=texts, words=words, where=where, sha256=table.sha256, table=table)


def _as_bio(rows: Sequence[Sequence[str]], where: Sequence[Sequence[str]], source: str) -> list[list[str]]:
    """The tags in BIO; as they are where none has a prefix (parts of speech). Prefixes alone (B, I, O: files of one kind of span)
    are those of spans called ENTITY. What only looks like a tag is refused."""
    kinds = {tag for row in rows for tag in row}
    if "B" in kinds and kinds <= set(_BEGINS + _GOES_ON + "O"):
        rows = [[tag if tag == "O" else f"{tag}-{ENTITY}" for tag in row] for row in rows]
    if not any(_PREFIXED.match(tag) for row in rows for tag in row):
        return [list(row) for row in rows]
    repaired: list[str] = []
    found = []
    for row, places in zip(rows, where, strict=True):
        tags, before, closed = [], "", True
        for tag, place in zip(row, places, strict=True):
            if not TAG.fullmatch(tag):
                raise DataError(
                    f"{place}: the tag {tag!r} is neither O nor begins with B-, I-, E-, M-, S-, L- or U-: correct it"
                )
            prefix, _, kind = tag.partition("-")
            goes_on = prefix in _GOES_ON and kind == before and not closed
            if prefix in _GOES_ON and not goes_on:
                repaired.append(place)
            tags.append("O" if tag == "O" else f"{'I' if goes_on else 'B'}-{kind}")
            before, closed = kind, prefix in "OESLU"
        found.append(tags)
    if repaired:
        warnings.warn(
            f"{source}: {len(repaired)} tags go on with a span that did not begin (the first: {repaired[0]}): "
            "each was read as B-",
            UserWarning,
            stacklevel=2,
        )
    return found


def _is_tokens(value: Any) -> bool:
    """Whether it is a list of words; Prodigy's tokens are objects, and its tags are spans of the text."""
    return isinstance(value, list) and not _is_prodigy(value)


def _is_prodigy(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _same_length(table: Table, row: int, tokens: str, tags: str) -> tuple[list[str], list[str]]:
    words, marks = table.columns[tokens][row], table.columns[tags][row]
    for name, value in ((tokens, words), (tags, marks)):
        if not isinstance(value, list):
            raise DataError(_no_list(table, row, name, value))
    if len(words) != len(marks):
        raise DataError(
            f"{table.where(row)} has {len(words)} {tokens} but {len(marks)} {tags}: wanted one tag for each token"
        )
    if not all(isinstance(word, str) for word in words):
        raise DataError(f"{table.where(row)}: column {tokens!r} holds something that is no word: wanted strings")
    wrong = next((mark for mark in marks if not isinstance(mark, str) or not mark.strip()), "O")
    if is_missing(wrong):
        raise DataError(f"{table.where(row)}: column {tags!r} has no tag for a token: give one or remove the row")
    if not isinstance(wrong, str):
        raise DataError(
            f'{table.where(row)}: column {tags!r} holds {wrong!r}: wanted names of tags, as in "B-PER"; write these in place '
            "of numbers, or give the data set's Parquet file or its name, which tell them"
        )
    return [word.strip() for word in words], [mark.strip() for mark in marks]


def _no_list(table: Table, row: int, column: str, value: Any) -> str:
    if value is None:
        found = ", ".join(name for name, values in table.columns.items() if values[row] is not None)
        return f"{table.where(row)} has no {column!r}, which other rows have (it has: {found or 'nothing'}): write all rows in one form"
    return f"{table.where(row)}: column {column!r} holds {str(value)[:40]!r}: wanted a list of strings"


def _spans(table: Table, row: int, column: str, text: str) -> list[tuple[int, int, str]]:
    """The spans of a row in order, checked: whole numbers, within the text, apart from one another, around something."""
    values = table.columns[column][row]
    place = table.where(row)
    if not isinstance(values, list):
        raise DataError(f"{place}: column {column!r} holds {str(values)[:40]!r}: wanted a list of spans")
    found = []
    for value in values:
        items = _fields(value) if isinstance(value, dict) else value
        if not isinstance(items, (list, tuple)) or len(items) != 3 or not all(type(n) is int for n in items[:2]):
            raise DataError(f"{place}: {value!r} is no span: wanted {{start, end, label}} or [start, end, label]")
        start, end, label = items
        if not isinstance(label, str) or not label.strip():
            raise DataError(f"{place}: the span {start} to {end} has no label: name one")
        if not 0 <= start < end <= len(text):
            raise DataError(
                f"{place}: the span {start} to {end} lies outside the text's {len(text)} characters: correct it"
            )
        if isinstance(value, dict):
            _check_own_text(place, text, start, end, value)
        if not text[start:end].strip():
            raise DataError(f"{place}: the span {start} to {end} holds only white space: correct it")
        found.append((start, end, label.strip()))
    found.sort()
    for (start, end, _), (after, last, _) in pairwise(found):
        if after < end:
            raise DataError(f"{place}: the spans {start} to {end} and {after} to {last} overlap: keep one of them")
    return found


def _check_own_text(place: str, text: str, start: int, end: int, span: Mapping[str, Any]) -> None:
    """Raises DataError where a span tells its text and that is another one than its characters."""
    own = next((span[name] for name in OWN_TEXT if isinstance(span.get(name), str)), None)
    held = text[start:end]
    if own is None or " ".join(own.split()) in ("", " ".join(held.split())):
        return
    if text[start : end + 1] == own:
        why = (
            "an end is the number of the first character behind the span, yours is of the last one in it: add 1 to each"
        )
    elif text[start - 1 : end - 1] == own or text[start - 1 : end] == own:
        why = "characters are counted from 0, yours from 1: take 1 from each start"
    else:
        why = "correct its start and end"
    raise DataError(f"{place}: the span {start} to {end} holds {held[:40]!r} but says that it is {own[:40]!r}: {why}")


def _warn_of_torn_words(source: str, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int, str]]]) -> None:
    """Spans that end before the last letter of a word are mostly spans whose end is meant inclusively."""
    ends = [(text, end) for text, found in zip(texts, spans, strict=True) for _, end, _ in found]
    torn = sum(
        text[end - 1 : end + 1].isalnum() and end < len(text) and not _CJK.search(text[end - 1 : end + 1])
        for text, end in ends
    )
    if len(ends) >= SOME and torn > MOST * len(ends):
        warnings.warn(
            f"{source}: {torn} of {len(ends)} spans end inside a word: an end is the number of the first character behind the span; "
            "add 1 to each where yours are of the last one in it",
            UserWarning,
            stacklevel=2,
        )


def _fields(span: Mapping[str, Any]) -> list[Any]:
    """Start, end and label, as Prodigy, doccano (start_offset), Label Studio (labels, a list) and others (type, entity) call them."""
    labels = span.get("labels")
    only = labels[0] if isinstance(labels, list) and len(labels) == 1 else None
    places = [span.get(name, span.get(f"{name}_offset")) for name in ("start", "end")]
    return [*places, next((span[name] for name in LABEL_KEYS if name in span), only)]


def _words_of_spans(text: str, spans: Sequence[tuple[int, int, str]], place: str) -> Words:
    """The words between white space and the borders of spans, each CJK character one, with BIO tags."""
    words: list[tuple[int, int, str]] = []

    def add(start: int, end: int, label: str | None) -> None:
        for number, match in enumerate(_WORD.finditer(text, start, end)):
            tag = "O" if label is None else f"{'I' if number else 'B'}-{label}"
            words.append((match.start(), match.end(), tag))

    position = 0
    for start, end, label in spans:
        add(position, start, None)
        add(start, end, label)
        position = end
    add(position, len(text), None)
    if not words:
        raise DataError(f"{place}: the text holds no word: remove the row")
    return tuple(words)
