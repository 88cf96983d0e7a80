"""Columns without names, in files whose first row is data: told by what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlx.runtime.tables import Table

__all__ = ["is_unnamed", "texts_and_labels"]

ROWS = 2000
"""So many tell whether a column holds texts."""
MOST_LABELS = 200
LETTERS = 0.6
"""The least share of letters in a text, spaces aside: dates and numbers have fewer."""


def is_unnamed(table: Table) -> bool:
    """Whether no column has a name of its own (delimited.py calls them column 1, column 2, …)."""
    return list(table.columns) == [f"column {number}" for number in range(1, len(table.columns) + 1)]


def texts_and_labels(table: Table) -> tuple[list[str], list[str]]:
    """The columns that hold texts: of several words or long, of letters for the most part, and mostly different. And those
    that hold labels: two or more short values that come again and again."""
    columns = table.columns
    texts = [name for name, values in columns.items() if _are_texts([str(v).strip() for v in values[:ROWS]])]
    return texts, [name for name, values in columns.items() if name not in texts and _are_labels(values)]


def _are_texts(values: Sequence[str]) -> bool:
    bare = ["".join(value.split()) for value in values]
    letters, signs = sum(sum(map(str.isalpha, value)) for value in bare), sum(map(len, bare))
    words = sum(len(value.split()) for value in values)
    several = words >= 2 * len(values) or signs >= 8 * len(values)
    return several and letters >= LETTERS * signs and len(set(values)) * 2 > len(values)


def _are_labels(values: Sequence[Any]) -> bool:
    found = {str(value).strip() for value in values}  # all: rows may be sorted by label
    few = min(MOST_LABELS, max(len(values) // 2, 2))
    return 2 <= len(found) <= few and max(map(len, found)) <= 40
