"""How well vectors rank what belongs to a query: nDCG@10 and accuracy@1, by cosine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.vectors import BLOCK, unit

__all__ = ["ranking"]

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Relevance = Callable[[slice], tuple[Bools, Bools]]
DEPTH = 10
SCORES = 1 << 22
"""So many are in memory together, and a few times as much beside them."""


def ranking(queries: Floats, documents: Floats, relevance: Relevance) -> dict[str, float]:
    """Means over the queries `(n, d)` of their rankings of the documents `(m, d)`.

    `relevance` gives for a slice of queries which documents are right and which are out of the ranking, `(rows, m)` each.
    nDCG@10 = Σ_{i ≤ 10} r_i / log₂(i + 1), divided by the greatest that it could be (Järvelin and Kekäläinen 2002);
    accuracy@1 is the share whose first document is right. Queries without a right document are left out.
    """
    queries, documents = unit(queries), unit(documents)
    depth = min(DEPTH, len(documents))
    discount = 1.0 / np.log2(np.arange(2, depth + 2))
    best = np.concatenate([[0.0], np.cumsum(discount)])
    gains: list[float] = []
    first: list[bool] = []
    block = max(min(BLOCK, SCORES // max(len(documents), 1)), 1)
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        right, out = relevance(rows)
        scores = queries[rows] @ documents.T
        scores[out] = -np.inf
        right = right & ~out
        top = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        found = np.take_along_axis(right, np.take_along_axis(top, order, axis=1), axis=1)
        counts = right.sum(axis=1)
        has = counts > 0
        gains += (found[has] @ discount / best[np.minimum(counts[has], depth)]).tolist()
        first += found[has, 0].tolist()
    return {
        f"ndcg@{DEPTH}": float(np.mean(gains)) if gains else 0.0,
        "accuracy@1": float(np.mean(first)) if first else 0.0,
    }
