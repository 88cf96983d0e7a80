"""Held-out rows: a validation split that keeps each label's share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlx.runtime.examples import Examples

__all__ = ["stratified_split"]


def stratified_split(
    examples: Examples, share: float, seed: int, strata: Callable[[Any], Sequence[str]]
) -> tuple[Examples, Examples]:
    """(train, validation), disjoint. Each label gives its share, rounded at random; a label's only row stays in train.

    `strata` gives the labels of one item of gold. Rows with several are grouped by their rarest; rows with none form
    one group.
    """
    gold = examples.gold
    counts: dict[str, int] = defaultdict(int)
    for item in gold or ():
        for label in strata(item):
            counts[label] += 1
    groups: dict[str, list[int]] = defaultdict(list)
    for row in range(len(examples)):
        labels = strata(gold[row]) if gold is not None else ()
        groups[min(labels, key=lambda label: (counts[label], label), default="")].append(row)
    rng = np.random.default_rng([seed, 1])
    held: list[int] = []
    for label in sorted(groups):
        rows = rng.permutation(groups[label])
        wanted = int(len(rows) * share + rng.random())
        held += rows[: min(wanted, len(rows) - 1)].tolist()
    if not held and len(examples) > 1:
        held = [int(rng.integers(len(examples)))]
    chosen = set(held)
    kept = [row for row in range(len(examples)) if row not in chosen]
    return examples.select(kept), examples.select(sorted(chosen), source=f"{examples.source} (held out)")
