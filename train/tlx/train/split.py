"""Held-out rows: a validation split that keeps each label's share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from tlx.runtime.examples import Examples
from tlx.runtime.tasks.task import Input

__all__ = ["same_as", "stratified_split"]

OVER = 1.5
"""Times the share that may be held out where inputs go by name."""


def same_as(item: Input) -> Hashable:
    """What is equal for inputs that are one to a reader: whatever their case and white space, and the order of a pair."""
    if isinstance(item, str):
        return " ".join(item.casefold().split())
    return tuple(sorted(" ".join(text.casefold().split()) for text in item))


def stratified_split(
    examples: Examples,
    share: float,
    seed: int,
    strata: Callable[[Any], Sequence[str]],
    group: Callable[[Input], str | None] = lambda item: None,
) -> tuple[Examples, Examples]:
    """(train, validation), disjoint. Each label gives its share, rounded at random; a label's last row stays in train, and
    inputs that are the same (`same_as`) go to the same side. Validation is empty where that leaves no row to hold out.

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
    """Rows of names drawn until they are the share, or near it; one name at least stays behind. A name that would be much more is
    left, unless there is none that is less."""
    rows: dict[str | int, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        rows[row if name is None else name].append(row)
    held: list[int] = []
    drawn = [rows[name] for name in rows]
    wanted = share * len(names)
    for index in rng.permutation(len(drawn))[:-1].tolist():
        if len(held) < wanted and len(held) + len(drawn[index]) <= max(OVER * wanted, 1):
            held += drawn[index]
    return held or (min(drawn, key=len) if len(drawn) > 1 else [])


def _held_by_label(
    examples: Examples, share: float, rng: np.random.Generator, strata: Callable[[Any], Sequence[str]]
) -> list[int]:
    """Rows drawn label by label, a text with all its copies; every label keeps one row at least."""
    labels = [tuple(strata(item)) for item in examples.gold] if examples.gold is not None else [()] * len(examples)
    staying = Counter(label for found in labels for label in set(found))
    copies: dict[Hashable, list[int]] = defaultdict(list)
    for row, item in enumerate(examples.inputs):
        copies[same_as(item)].append(row)
    bundles = {rows[0]: rows for rows in copies.values()}
    groups: dict[str, list[int]] = defaultdict(list)
    for first, rows in bundles.items():
        found = {label for row in rows for label in labels[row]}
        groups[min(found, key=lambda label: (staying[label], label), default="")].append(first)

    def held_out(first: int) -> list[int]:
        """The rows of the bundle, which leave training; none where a label would go with them."""
        leaving = Counter(label for row in bundles[first] for label in set(labels[row]))
        if any(staying[label] <= n for label, n in leaving.items()) or len(bundles[first]) == len(examples):
            return []
        staying.subtract(leaving)
        return bundles[first]

    held: list[int] = []
    for label in sorted(groups):
        firsts = rng.permutation(groups[label]).tolist()
        count = sum(len(bundles[first]) for first in firsts)
        wanted = min(int(count * share + rng.random()), count - 1)
        for first in firsts:
            if len(bundles[first]) <= wanted:
                taken = held_out(first)
                wanted -= len(taken)
                held += taken
    if not held and len(examples) > 1:
        start = int(rng.integers(len(examples)))
        order = [row for row in (*range(start, len(examples)), *range(start)) if row in bundles]
        held = next((taken for taken in map(held_out, order) if taken), [])
    return held
