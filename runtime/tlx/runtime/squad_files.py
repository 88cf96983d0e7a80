"""Files of questions, contexts and answers → typed rows: SQuAD 1.1 and 2.0, and tables with a question a row."""

from __future__ import annotations

import json
import warnings
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from tlx.runtime.columns import column_texts, pick_column
from tlx.runtime.errors import DataError
from tlx.runtime.tables import Source, Table, is_missing, number_in, read_table

__all__ = ["ANSWER_NAMES", "Gold", "Question", "answer_spans", "is_squad", "read_questions"]

QUESTION_NAMES = ("question", "query")
CONTEXT_NAMES = ("context", "passage", "paragraph", "document", "text")
ANSWER_NAMES = ("answers", "answer", "answer_text")
Gold = tuple[tuple[int, int, str], ...]
"""The answers that count as right, `(start, end, text)` in characters of the context; () where there is none."""


class Question(NamedTuple):
    """One question as it stood in the file; `where` names it in messages. `answers` are (text, start or None)."""

    where: str
    question: str
    context: str
    answers: tuple[tuple[str, int | None], ...] | None


def is_squad(columns: Mapping[str, Any]) -> bool:
    """Whether a table's first row is a SQuAD document: `{"data": [{"paragraphs": …}]}`."""
    data = columns.get("data")
    return isinstance(data, list) and all(isinstance(item, dict) and "paragraphs" in item for item in data[:1])


def read_questions(
    source: Source, columns: Mapping[str, str], *, split: str = "train", gold: bool = True
) -> tuple[Table, list[Question]]:
    """The file's table and its questions. `columns` may name "text" (the question), "text_pair" (the context) and "label".

    Without `gold` answers are not looked for, and every row stays. With it, rows without a question are left out, which
    one warning counts. Raises DataError naming the file and the line or the question.
    """
    table = read_table(source, split=split)
    if is_squad({name: values[0] for name, values in table.columns.items()}):
        rows = list(_squad_questions(table.source, table.columns["data"][0]))
        if not gold:
            rows = [row._replace(answers=None) for row in rows]
    else:
        rows = _table_questions(table, columns, gold=gold)
    if gold:
        rows = _asked(rows, table.source)
    if not rows:
        raise DataError(f"{table.source} has no questions: wanted data → paragraphs → qas with one or more")
    return table, rows


def answer_spans(rows: Sequence[Question], source: str) -> list[Gold]:
    """Each question's answers with their places in the context.

    An answer without a start is looked for from the left. A start that is wrong is put right where the text occurs
    once, and counted in one warning; where it does not occur, or at several places, DataError names the question.
    """
    spans: list[Gold] = []
    moved: list[str] = []
    for row in rows:
        found = []
        for text, start in row.answers or ():
            place = _place(row, text, start)
            if start is not None and place != start:
                moved.append(row.where)
            found.append((place, place + len(text), text))
        spans.append(tuple(found))
    if moved:
        warnings.warn(
            f"{source}: {len(moved)} answers did not stand where answer_start says, but at one other place: "
            f"that place was taken (the first is {moved[0]})",
            UserWarning,
            stacklevel=3,
        )
    return spans


def _asked(rows: list[Question], source: str) -> list[Question]:
    """The rows that have a question."""
    empty = [row.where for row in rows if not row.question.strip()]
    if empty:
        warnings.warn(
            f"{source}: {len(empty)} of {len(rows)} rows have an empty question and are left out (the first is {empty[0]})",
            UserWarning,
            stacklevel=4,
        )
    return [row for row in rows if row.question.strip()]


def _place(row: Question, text: str, start: int | None) -> int:
    context = row.context
    if start is not None and context.startswith(text, start):
        return start
    place = context.find(text)
    if place < 0:
        raise DataError(
            f"{row.where}: the answer {_short(text)} is not in the context: copy it from there or remove it"
        )
    if start is not None and context.find(text, place + 1) >= 0:
        there = _short(context[start : start + len(text)])
        raise DataError(
            f"{row.where}: the answer {_short(text)} is not at answer_start {start} (there is {there}) but at several "
            "other places: put answer_start right"
        )
    return place


def _squad_questions(source: str, data: Sequence[Any]) -> Iterator[Question]:
    count = 0
    for article in data:
        for paragraph in _items(article, "paragraphs", f"{source} data"):
            near = f"{source} the paragraph after question {count}" if count else f"{source} the first paragraph"
            for item in _items(paragraph, "qas", near):
                count += 1
                name = item.get("id") if isinstance(item, dict) else None
                where = f"{source} question {name if not is_missing(name) else count}"
                if not isinstance(item, dict):
                    raise DataError(f"{where} is a {type(item).__name__}: wanted an object with question and answers")
                context, question = paragraph.get("context"), item.get("question")
                answers = () if item.get("is_impossible") else _answers(where, item.get("answers"), None)
                yield _question(where, question, context, answers)


def _items(holder: Any, name: str, where: str) -> list[Any]:
    found = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(found, list):
        raise DataError(f"{where} has no list {name!r}: wanted SQuAD's form, data → paragraphs → context and qas")
    return found


def _table_questions(table: Table, columns: Mapping[str, str], *, gold: bool) -> list[Question]:
    question = pick_column(table, "text", QUESTION_NAMES, columns.get("text"))
    names = [name for name in CONTEXT_NAMES if name != question]
    context = pick_column(table, "text-pair", names, columns.get("text_pair"))
    texts = [column_texts(table, name, blank=True) for name in (question, context)]
    if not gold:
        return [Question(table.where(i), q, c, None) for i, (q, c) in enumerate(zip(*texts, strict=True))]
    answers = table.columns[pick_column(table, "label", ANSWER_NAMES, columns.get("label"))]
    nothing: Sequence[Any] = [None] * len(table)
    starts, impossible = (table.columns.get(name, nothing) for name in ("answer_start", "is_impossible"))
    rows = []
    for i, (q, c) in enumerate(zip(*texts, strict=True)):
        where = table.where(i)
        none = impossible[i] is True or str(impossible[i]).strip().lower() in ("true", "1")
        rows.append(_question(where, q, c, () if none else _answers(where, answers[i], starts[i])))
    return rows


def _question(where: str, question: Any, context: Any, answers: tuple[tuple[str, int | None], ...]) -> Question:
    if not isinstance(question, str):
        raise DataError(f"{where} has no question (it has {question!r}): wanted a text")
    if not isinstance(context, str) or not context.strip():
        raise DataError(f"{where}: the context is empty: give a text or remove the question")
    return Question(where, question, context, answers)


def _answers(where: str, value: Any, start: Any) -> tuple[tuple[str, int | None], ...]:
    """The answers in any of the usual forms: {"text": [], "answer_start": []}, a list of {"text", "answer_start"}, a text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        value = _parsed(value)
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        texts = texts if isinstance(texts, (list, tuple)) else [texts]
        starts = starts if isinstance(starts, (list, tuple)) else [starts] * len(texts)
        if len(starts) != len(texts):
            raise DataError(f"{where} has {len(texts)} answers and {len(starts)} answer_start: give one for each")
        pairs = list(zip(texts, starts, strict=True))
    elif isinstance(value, (list, tuple)):
        pairs = [(v.get("text"), v.get("answer_start")) if isinstance(v, Mapping) else (v, None) for v in value]
    else:
        pairs = [] if is_missing(value) else [(str(value), start)]
    return tuple(dict.fromkeys(_answer(where, text, start) for text, start in pairs))


def _parsed(text: str) -> Any:
    """What a cell holds as JSON, or as Python writes it, in a data frame's CSV say; the text itself, which may begin with a bracket."""
    for parse in (json.loads, literal_eval):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return parse(text)
    return text


def _answer(where: str, text: Any, start: Any) -> tuple[str, int | None]:
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where} has an answer without text: give one, or no answers where the context has none")
    if is_missing(start):
        return text, None
    number = number_in(start)  # 3.0 is how data frames write it beside empty cells
    if number is None or not number.is_integer():
        raise DataError(f"{where} has answer_start {start!r}: wanted a whole number of characters, or none")
    return text, int(number) if number >= 0 else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
