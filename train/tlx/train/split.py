"""Held-out rows: a validation split that keeps each label's share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlx.runtime.examples import Examples
from tlx.runtime.tasks.task import Input

__all__ = ["stratified_split"]


def stratified_split(
    examples: Examples,
    share: float,
    seed: int,
    strata: Callable[[Any], Sequence[str]],
    group: Callable[[Input], str | None] = lambda item: None,
) -> tuple[Examples, Examples]:
    """(train, validation), disjoint. Each label gives its share, rounded at random; a label's only row stays in train.

    `strata` gives the labels of one item of gold. Rows with several are grouped by their rarest; rows with none form
    one group.
    Where `group` names what an input belongs to, all of a name go to the same side, and labels do not count.
    """
    names = [group(item) for item in examples.inputs]
    rng = np.random.default_rng([seed, 1])
    if any(name is not None for name in names):
        held = _held_names(names, share, rng)
    else:
        held = _held_by_label(examples, share, rng, strata)
    chosen = set(held)
    kept = [row for row in range(len(examples)) if row not in chosen]
    return examples.select(kept), examples.select(sorted(chosen), source=f"{examples.source} (held out)")


def _held_names(names: Sequence[str | None], share: float, rng: np.random.Generator) -> list[int]:
    """Rows of names drawn until they are the share; one name at least stays behind."""
    rows: dict[str | int, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        rows[row if name is None else name].append(row)
    held: list[int] = []
    drawn = [rows[name] for name in rows]
    for index in rng.permutation(len(drawn))[:-1]:
        if held and len(held) >= share * len(names):
            break
        held += drawn[int(index)]
    return held


def _held_by_label(
    examples: Examples, share: float, rng: np.random.Generator, strata: Callable[[Any], Sequence[str]]
) -> list[int]:
    gold = examples.gold
    counts: dict[str, int] = defaultdict(int)
    for item in gold or ():
        for label in strata(item):
            counts[label] += 1
    groups: dict[str, list[int]] = defaultdict(list)
    for row in range(len(examples)):
        labels = strata(gold[row]) if gold is not None else ()
        groups[min(labels, key=lambda label: (counts[label], label), default="")].append(row)
    held: list[int] = []
    for label in sorted(groups):
        rows = rng.permutation(groups[label])
        wanted = int(len(rows) * share + rng.random())
        held += rows[: min(wanted, len(rows) - 1)].tolist()
    if not held and len(examples) > 1:
        held = [int(rng.integers(len(examples)))]
    return held
