"""What embeddings learn from and are judged by: scored pairs, triplets, pairs, labelled texts, plain texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.columns import (
    LABEL_NAMES,
    TEXT_NAMES,
    column_texts,
    inputs_in,
    pick_column,
    pick_pair,
    told,
    with_texts,
)
from tlx.runtime.errors import DataError
from tlx.runtime.examples import Examples
from tlx.runtime.ranking import Relevance
from tlx.runtime.tables import Source, Table, is_missing, read_table
from tlx.runtime.tasks.task import Floats

__all__ = ["read", "relevance_of_labels", "retrieval"]

SCORE_NAMES = ("score", "similarity", "similarity_score", "relatedness", "relatedness_score")
NEGATIVES = ("negative", "hard_negative", "hard_neg", "negative_1", "neg")


def read(source: Source, columns: Mapping[str, str], split: str) -> Examples:
    """Examples by the columns that are there (`columns` overrides "text", "text_pair" and "label").

    Two texts and a score: inputs are pairs, gold floats. Two texts: pairs of what belongs together; with a column "negative"
    triplets; no gold. One text and a label: gold is the label. One text: no gold; rows without a text are left out.
    Raises DataError naming file and line for an empty text, a missing label, and a score that is no number.
    """
    table = read_table(source, split=split)
    pair = pick_pair(table, columns)
    if pair is None:
        return _single(table, columns)
    lowered = {name.lower(): name for name in table.columns}
    negative = next((lowered[name] for name in NEGATIVES if name in lowered and "label" not in columns), None)
    names = [*pair] if negative is None else [*pair, negative]
    table = with_texts(table, names)
    inputs = inputs_in(table, names)
    column = None if negative is not None else _score_column(table, columns, names)
    gold = None if column is None else _scores(table, column)
    read = told(table, names, [] if column is None else [column])
    return Examples(source=table.source, inputs=inputs, gold=gold, sha256=table.sha256, told=read)


def _single(table: Table, columns: Mapping[str, str]) -> Examples:
    lowered = {name.lower() for name in table.columns}
    column = pick_column(table, "text", TEXT_NAMES, columns.get("text"))
    if "label" not in columns and lowered.isdisjoint(LABEL_NAMES):
        table = table.kept([not is_missing(value) for value in table.columns[column]], "have no text")
        texts = column_texts(table, column)
        return Examples(source=table.source, inputs=texts, sha256=table.sha256, told=told(table, [column], []))
    label = pick_column(table, "label", LABEL_NAMES, columns.get("label"))
    table = with_texts(table, [column])
    gold = []
    for row, value in enumerate(table.columns[label]):
        if is_missing(value) or isinstance(value, (list, tuple, dict)):
            raise DataError(f"{table.where(row)}: column {label!r} holds {value!r}: wanted one label a text")
        gold.append(str(value).strip())
    return Examples(
        source=table.source,
        inputs=inputs_in(table, [column]),
        gold=gold,
        sha256=table.sha256,
        told=told(table, [column], [label]),
    )


def _score_column(table: Table, columns: Mapping[str, str], texts: Sequence[str]) -> str | None:
    others = {name.lower() for name in table.columns if name not in texts}
    usual = [name for name in (*SCORE_NAMES, *LABEL_NAMES) if name in others]
    if "label" not in columns and not usual:
        return None
    return pick_column(table, "label", usual, columns.get("label"))


def _scores(table: Table, column: str) -> list[float]:
    scores = []
    for row, value in enumerate(table.columns[column]):
        try:
            score = float(value)
        except (TypeError, ValueError):
            score = math.nan
        if not math.isfinite(score) or isinstance(value, bool):
            raise DataError(
                f"{table.where(row)}: column {column!r} holds {value!r}, wanted a number that says how alike the two texts "
                "are: mend it, name the column with --label, or keep only pairs that belong together, without this column"
            )
        scores.append(score)
    if column.lower() in LABEL_NAMES and {0.0, 1.0, 2.0} <= set(scores) <= {-1.0, 0.0, 1.0, 2.0}:
        raise DataError(
            f"{table.source}: column {column!r} holds the classes {sorted({int(score) for score in scores})}, wanted numbers "
            "that say how alike the two texts are: keep only pairs that belong together, without this column, or write 0 "
            "and 1 for unlike and alike"
        )
    return scores


def relevance_of_labels(labels: Sequence[Any]) -> Relevance:
    """For texts that rank each other: right are those of the same label; a text itself is out."""
    _, index = np.unique(np.array(labels, dtype=np.str_), return_inverse=True)

    def relevance(rows: slice) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        own = np.arange(len(index))[rows, None]
        return index[rows, None] == index[None], own == np.arange(len(index))

    return relevance


def retrieval(inputs: Sequence[tuple[str, ...]], vectors: Floats) -> tuple[Floats, Floats, Relevance]:
    """(queries, documents, their relevance) of pairs or triplets; `vectors` is `(n, texts, d)`.

    Queries are the distinct first texts, documents all other distinct texts; right are those that stand second beside the
    query in any row. A document that is the query itself is out, unless it is right.
    """
    queries: dict[str, int] = {}
    documents: dict[str, int] = {}
    first: list[int] = []
    where: list[tuple[int, int]] = []
    right: list[tuple[int, int]] = []
    for row, (anchor, *others) in enumerate(inputs):
        if anchor not in queries:
            queries[anchor] = len(queries)
            first.append(row)
        for place, text in enumerate(others, start=1):
            if text not in documents:
                documents[text] = len(documents)
                where.append((row, place))
        right.append((queries[anchor], documents[others[0]]))
    same = [(query, documents[text]) for text, query in queries.items() if text in documents]
    pairs, own = (np.array(found, dtype=np.int64).reshape(-1, 2) for found in (right, same))

    def relevance(rows: slice) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        found = []
        for cells in (pairs, own):
            here = cells[(cells[:, 0] >= rows.start) & (cells[:, 0] < rows.stop)]
            matrix = np.zeros((min(rows.stop, len(queries)) - rows.start, len(documents)), dtype=np.bool_)
            matrix[here[:, 0] - rows.start, here[:, 1]] = True
            found.append(matrix)
        return found[0], found[1] & ~found[0]

    places = np.array(where, dtype=np.int64)
    return vectors[np.array(first), 0], vectors[places[:, 0], places[:, 1]], relevance
