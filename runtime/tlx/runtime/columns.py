"""Which columns of a table hold the texts, and which what is to be learnt: by their usual names, or as asked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from tlx.runtime.errors import DataError
from tlx.runtime.tables import Source, Table, is_missing, read_table
from tlx.runtime.tasks.task import Input
from tlx.runtime.unnamed import is_unnamed, texts_and_labels

if TYPE_CHECKING:
    from tlx.runtime.folder import Manifest

__all__ = [
    "GOLD_NAMES",
    "LABEL_NAMES",
    "SCORE_NAMES",
    "TEXT_NAMES",
    "check_choices",
    "column_texts",
    "columns_in",
    "input_columns",
    "inputs_in",
    "pick_column",
    "pick_pair",
    "read_inputs",
    "told",
    "trained_columns",
    "with_texts",
]

TEXT_NAMES = (
    "text",
    "sentence",
    "utterance",
    "query",
    "question",
    "content",
    "review",
    "comment",
    "comment_text",
    "review_text",
    "full_text",
    "document",
    "body",
    "tweet",
    "message",
    "post",
    "article",
    "abstract",
    "description",
    "input",
    "title",
    "headline",
    "utt",
    "reviewtext",
    "text_a",
    "phrase",
    "review_body",
    "claim",
    "abst",
)
LABEL_NAMES = (
    "labels",
    "label_text",
    "label_name",
    "label",
    "intent",
    "category",
    "class",
    "class index",
    "target",
    "sentiment",
    "topic",
    "emotion",
    "entailment",
    "gold_label",
    "is_duplicate",
    "quality",
    "entailment_label",
    "entailment_judgment",
    "airline_sentiment",
)
SCORE_NAMES = ("score", "similarity", "rating", "stars", "relatedness_score", "overall", "star_rating")
GOLD_NAMES = (*LABEL_NAMES, *SCORE_NAMES)
PAIR_NAMES = (
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("text", "text_pair"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("premise", "hypothesis"),
    ("premise", "hypo"),
    ("context", "hypothesis"),
    ("#1 string", "#2 string"),
    ("question1", "question2"),
    ("question", "context"),
    ("question", "passage"),
    ("question", "sentence"),
    ("query", "passage"),
    ("query", "document"),
    ("query", "positive"),
    ("query", "answer"),
    ("question", "answer"),
    ("anchor", "positive"),
    ("sent0", "sent1"),
)
"""Columns that come in twos, in order."""

_CHOICE = re.compile(r"(choice|answer|option|ending|sol)_?\d", re.IGNORECASE)
MOST_TOLD = 8
FEW = 0.01
"""Rows without a text are left out where they are at most so many of all: public data have one or two."""
MOST_LISTED = 20
LONG_NAME = 40  # characters; what is longer is hardly a column's name


def pick_column(
    table: Table, kind: str, names: Sequence[str], asked: str | None, *, taken: Collection[str] = ()
) -> str:
    """The column asked for, the first of the usual `names` that is there and not `taken`, or, where columns have no names, the
    only one that holds what `kind` (text, label) says. Raises DataError listing the columns."""
    there = ", ".join(list(table.columns)[:MOST_LISTED]) + (", …" if len(table.columns) > MOST_LISTED else "")
    if asked is not None:
        if asked not in table.columns:
            raise DataError(f"{table.source} has no column {asked!r} (it has: {there}): name one with --{kind}")
        return asked
    lowered = _lowered(table, taken)
    for name in names:
        if name in lowered:
            return lowered[name]
    hint = ""
    if is_unnamed(table) and kind in ("text", "label"):
        texts, labels = texts_and_labels(table)
        if len(texts) == len(labels) == 1:
            return texts[0] if kind == "text" else labels[0]
        hint = _choice(table, texts, labels)
    data = any(name.strip().isdecimal() or len(name) > LONG_NAME or name.count(" ") > 4 for name in table.columns)
    if data and not hint:
        hint = ", or put a row of names first: this one seems to be data"
    marks = [
        name
        for name, values in table.columns.items()
        if {"0"} <= {str(value).strip() for value in values} <= {"0", "1"}
    ]
    if kind == "label" and len(marks) > 1:
        hint = f", or several of 1 and 0: --label {','.join(marks)}"
    raise DataError(
        f"{table.source} has no column that looks like a {kind} (it has: {there}): name it with --{kind}{hint}"
    )


def _choice(table: Table, texts: Sequence[str], labels: Sequence[str]) -> str:
    """What to write where columns without names hold several texts, or where which one is the label is not plain."""
    if not texts or not labels:
        return ""
    pair = f" --text-pair {texts[1]!r}" if len(texts) > 1 else ""
    if len(labels) > 1:  # which of them, nobody knows
        held = "; ".join(f"{name!r} ({', '.join(_first_values(table, name))})" for name in labels)
        return f", as --text {texts[0]!r}{pair} and --label with one of {held} would"
    return f", as --text {texts[0]!r}{pair} --label {labels[0]!r} would"


def _first_values(table: Table, name: str) -> list[str]:
    """Some of a column's different values."""
    return list(dict.fromkeys(str(value).strip() for value in table.columns[name]))[:3]


def check_choices(table: Table) -> None:
    """Raises DataError for rows of multiple choice, whose label is the number of one of the texts beside the question."""
    names = sorted(name for name in table.columns if _CHOICE.fullmatch(name))
    if len(names) > 1:
        raise DataError(
            f"{table.source} has choices ({', '.join(names)}), and tlx has no multiple choice: make a row of each choice, with 1 or 0 "
            "as its label, or name a column with --text"
        )


def pick_pair(table: Table, columns: Mapping[str, str]) -> tuple[str, str] | None:
    """The two columns of a pair of texts: those asked for as "text" and "text_pair", or usual names that are both there.

    None when the table holds single texts. A column that was asked for as the "label" is no text. Raises DataError when one
    that was asked for is not there.
    """
    if "text_pair" in columns:
        first = pick_column(table, "text", [pair[0] for pair in PAIR_NAMES], columns.get("text"))
        return first, pick_column(table, "text-pair", (), columns["text_pair"])
    if "text" in columns:
        return None
    lowered = _lowered(table, _asked_labels(columns))
    return next(((lowered[a], lowered[b]) for a, b in PAIR_NAMES if a in lowered and b in lowered), None)


def column_texts(table: Table, column: str, *, blank: bool = False) -> list[str]:
    """A column as texts. Raises DataError naming the row where one is missing; with `blank` that is an empty text."""
    texts = []
    for row, value in enumerate(table.columns[column]):
        if is_missing(value):
            if blank:
                texts.append(value if isinstance(value, str) else "")
                continue
            count = sum(map(is_missing, table.columns[column]))
            others = f" ({count} rows in all)" if count > 1 else ""
            raise DataError(f"{table.where(row)}: column {column!r} is empty{others}: give a text or remove the row")
        if isinstance(value, (list, tuple, dict)):
            raise DataError(f"{table.where(row)}: column {column!r} holds a {type(value).__name__}: wanted a text")
        texts.append(value if isinstance(value, str) else str(value))
    return texts


def with_texts(table: Table, names: Sequence[str]) -> Table:
    """The table without its rows that lack a text, which a warning counts; the table itself where they are more than few."""
    keep = [not any(is_missing(table.columns[name][row]) for name in names) for row in range(len(table))]
    if all(keep) or keep.count(False) > FEW * len(keep):
        return table
    return table.kept(keep, f"have no text ({', '.join(map(repr, names))})")


def input_columns(table: Table, columns: Mapping[str, str], *, pair: bool | None = None) -> tuple[str, ...]:
    """The columns that hold the inputs: one of texts, or the two of a pair; `pair`, where given, says which of both.

    Raises DataError when they are not there.
    """
    two = pick_pair(table, columns) if pair is not False else None
    if two is not None:
        return two
    if pair:
        there = ", ".join(list(table.columns)[:MOST_LISTED])
        raise DataError(
            f"{table.source} has no two columns that look like pairs of texts (it has: {there}): name them with --text and "
            "--text-pair"
        )
    return (pick_column(table, "text", TEXT_NAMES, columns.get("text"), taken=_asked_labels(columns)),)


def _asked_labels(columns: Mapping[str, str]) -> set[str]:
    """The columns that "label" names: one, or several between commas."""
    asked = columns.get("label", "")
    return {asked, *(name.strip() for name in asked.split(","))}


def _lowered(table: Table, taken: Collection[str]) -> dict[str, str]:
    """The columns that are not taken, by their names in lower case; the first of those that differ in case alone."""
    return {name.lower(): name for name in reversed(list(table.columns)) if name not in taken}


def inputs_in(table: Table, names: Sequence[str], *, blank: bool = False) -> list[Input]:
    """The inputs that the columns hold: a text each, or a tuple of them where the columns are several."""
    if len(names) == 1:
        return list(column_texts(table, names[0], blank=blank))
    return list(zip(*(column_texts(table, name, blank=blank) for name in names), strict=True))


def read_inputs(table: Table, columns: Mapping[str, str], names: Sequence[str], *, blank: bool = True) -> list[Input]:
    """The inputs of a table, without gold: one text each, or several where `names` are several."""
    if len(names) == 1:
        return inputs_in(table, [pick_column(table, "text", TEXT_NAMES, columns.get("text"))], blank=blank)
    chosen = [columns.get(name) or name for name in names]
    if len(names) == 2 and not set(chosen) <= set(table.columns):
        chosen = list(pick_pair(table, columns) or chosen)
    for name in chosen:
        pick_column(table, "text-pair" if name == chosen[-1] else "text", (), name)
    return inputs_in(table, chosen, blank=blank)


def trained_columns(manifest: Manifest, source: Source, asked: Mapping[str, str]) -> dict[str, str]:
    """The columns that were asked for, and for the others those that training was told, where the file has them."""
    recipe = manifest.lineage.get("recipe") or {}
    data = recipe.get("data") or {}
    before = {key: data[key] for key in ("text", "text_pair", "label") if key not in asked and data.get(key)}
    return {**columns_in(source, before), **asked}


def columns_in(source: Source, named: Mapping[str, str]) -> dict[str, str]:
    """Those of the named columns that the file has."""
    from tlx.runtime.column_files import COLUMNS, file_format

    if not named:
        return {}
    if file_format(source) in COLUMNS:
        # Columns of words have numbers; a name is of a table.
        return {key: name for key, name in named.items() if name.isdecimal()}
    there = set(read_table(source).columns)
    return {key: name for key, name in named.items() if name in there or {n.strip() for n in name.split(",")} <= there}


def told(table: Table, inputs: Sequence[str], gold: Sequence[str]) -> str:
    """What a table was read as, in words: what is learnt from what, and what was not read."""
    left = [name for name in table.columns if name not in (*inputs, *gold)]
    learnt = f"{_names(gold)} from {_names(inputs)}" if gold else _names(inputs)
    return f"{learnt} (not read: {_names(left)})" if left else learnt


def _names(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - MOST_TOLD} more" if len(columns) > MOST_TOLD else ""
    return ", ".join(repr(name) for name in columns[:MOST_TOLD]) + more
