"""Spans in sequences of tags, and their F1: exactly seqeval's default mode (that of conlleval.pl), in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Span", "span_scores", "spans_of"]

Ints = NDArray[np.int64]
Span = tuple[str, int, int]
OUTSIDE = "O"


def spans_of(tags: Sequence[str]) -> list[Span]:
    """(type, first word, last word) of each span. An I- or E- that nothing began begins a span."""
    if not tags:
        return []
    types: dict[str, int] = {}
    known: dict[str, tuple[int, int]] = {}
    for tag in {OUTSIDE, *tags}:
        kind = tag[1:].split("-", maxsplit=1)[-1] or "_"
        known[tag] = ord(tag[:1] or "."), types.setdefault(kind, len(types))
    edged = [known[tag] for tag in (OUTSIDE, *tags, OUTSIDE)]
    codes, kinds = np.array(edged, dtype=np.int64).T
    before, after = codes[:-1], codes[1:]
    changes = kinds[1:] != kinds[:-1]
    ends = _among(before, "ES") | (_among(before, "BI") & _among(after, "BSO")) | (~_among(before, "O.") & changes)
    starts = _among(after, "BS") | (_among(before, "ESO") & _among(after, "EI")) | (~_among(after, "O.") & changes)
    latest = np.maximum.accumulate(np.where(starts, np.arange(len(starts)), 0))
    names = list(types)
    # Between words i - 1 and i lies border i: a span that ends there began at the last border where one began before it.
    borders = np.flatnonzero(ends[1:]) + 1
    firsts, lasts = latest[borders - 1].tolist(), (borders - 1).tolist()
    return [
        (names[kind], first, last) for kind, first, last in zip(kinds[borders].tolist(), firsts, lasts, strict=True)
    ]


def span_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """f1, precision and recall over all spans (micro); a predicted span counts when type and both ends are right.

    Rows are parallel, and of the same lengths.
    """
    there, found = (set(spans_of([tag for row in rows for tag in (*row, OUTSIDE)])) for rows in (gold, predicted))
    right, wanted, given = len(there & found), len(there), len(found)
    precision = right / given if given else 0.0
    recall = right / wanted if wanted else 0.0
    total = precision + recall
    return {"f1": 2 * precision * recall / total if total else 0.0, "precision": precision, "recall": recall}


def _among(codes: Ints, letters: str) -> NDArray[np.bool_]:
    return np.isin(codes, [ord(letter) for letter in letters])
