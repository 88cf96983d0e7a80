"""New texts from training texts, for a teacher to label and a student to learn from.

The texts need not be good sentences: a teacher's soft answer to a garbled text still teaches. What matters is that they
cover words and orders that the training set does not hold. A new text begins as a training text, a span of one, two
spliced together, or a walk through several; then words are replaced by what stands in the same context elsewhere or
by neighbours in the teacher's embedding space, and a few are dropped, doubled or swapped.

Texts are sequences of units (units.py): words, or characters where a script has no spaces.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from tlx.runtime.errors import UsageError
from tlx.train.neighbours import embedding_neighbours
from tlx.train.units import Units

__all__ = ["Augmenter", "Neighbours", "augment", "augment_pairs", "embedding_neighbours"]

Neighbours = Mapping[str, Sequence[str]]
"""A word (lower case where the teacher's vocabulary is) → words like it."""

Made = TypeVar("Made", bound=Hashable)
Pair = tuple[str, ...]
"""Two texts."""

_SOURCES = 100_000
"""Texts that are read at most: contexts and walks are kept in memory for each."""
_UNITS = 2_000_000
"""Words that are read at most, over all texts."""
_PATIENCE, _IN_A_ROW = 50, 10_000
"""So many texts a wanted one, and so many seen before in a row, are made before the data count as exhausted."""


def augment(
    texts: Sequence[str],
    *,
    count: int,
    seed: int,
    gold: Sequence[Hashable] | None = None,
    neighbours: Neighbours | None = None,
    unwanted: Collection[str] = (),
) -> list[str]:
    """`count` new texts, distinct, none of them among `texts` or `unwanted`; the same for the same arguments.

    `gold` (a label each) lets half of the splices stay within a label. No text is empty, or has more units than the
    longest of `texts`. Fewer come back when the data are too small to yield `count`. Raises UsageError.
    """
    return Augmenter(texts, seed=seed, gold=gold, neighbours=neighbours, unwanted=unwanted).take(count)


def augment_pairs(
    pairs: Sequence[Pair],
    *,
    count: int,
    seed: int,
    neighbours: Neighbours | None = None,
    unwanted: Collection[Pair] = (),
) -> list[Pair]:
    """`count` new pairs of texts, distinct, none of them among `pairs` or `unwanted`; the same for the same arguments.

    A pair with one of its texts altered; the first text of one with the second of another (put together anew, as Thakur et al.
    2021, arXiv:2010.08240, do for a cross-encoder to label); a text beside an altered copy of itself; or a pair in the other
    order. Fewer come back when the data are too small to yield `count`.
    """
    source = Augmenter([text for pair in pairs for text in pair], seed=seed, neighbours=neighbours)
    chance = random.Random(seed)

    def whole() -> Pair:
        pair = _new_pair(pairs, source, chance)
        return pair if all(text.strip() for text in pair) else ()

    return _distinct(whole, {*pairs, *unwanted}, count) if pairs else []


def _distinct(make: Callable[[], Made], seen: set[Made], count: int) -> list[Made]:
    """Up to `count` of what `make` gives that is not empty and not among `seen`, where they stand from then on."""
    found: list[Made] = []
    left, misses = _PATIENCE * max(count, 20), 0
    while len(found) < count and left and misses < _IN_A_ROW:
        made = make()
        left, misses = left - 1, misses + 1
        if made and made not in seen:
            seen.add(made)
            found.append(made)
            misses = 0
    return found


def _new_pair(pairs: Sequence[Pair], source: Augmenter, chance: random.Random) -> Pair:
    """The shares were chosen once, on no data set's test: half are near a pair of the data."""
    first, second = chance.choice(pairs)
    draw = chance.random()
    if draw < 0.25:
        return first, source.altered(second)
    if draw < 0.50:
        return source.altered(first), second
    if draw < 0.70:
        return first, chance.choice(pairs)[1]
    if draw < 0.85:
        text = chance.choice((first, second))
        return text, source.altered(text)
    return second, first


class Augmenter:
    """A stream of new texts: each `take` goes on where the last one stopped and never repeats."""

    def __init__(
        self,
        texts: Sequence[str],
        *,
        seed: int,
        gold: Sequence[Hashable] | None = None,
        neighbours: Neighbours | None = None,
        unwanted: Collection[str] = (),
    ) -> None:
        if gold is not None and len(gold) != len(texts):
            raise UsageError(f"{len(texts)} texts but {len(gold)} labels: wanted one for each")
        self._random = random.Random(seed)
        self._units = Units(texts)
        self._seen = {*texts, *unwanted}
        self._seen |= {self._units.join(self._units.split(text)) for text in self._seen}
        rows = [row for row, text in enumerate(texts) if text.strip()]
        if len(rows) > _SOURCES:
            rows = sorted(self._random.sample(rows, _SOURCES))
        split = [self._units.split(texts[row]) for row in rows]
        fits = bisect(list(accumulate(map(len, split))), _UNITS)
        rows, self._texts = rows[: max(fits, 1)], split[: max(fits, 1)]
        self._longest = max(map(len, self._texts), default=0)
        self._neighbours = neighbours or {}
        self._index()
        self._same_label = self._by_label([gold[row] for row in rows]) if gold is not None else None

    def take(self, count: int) -> list[str]:
        """Up to `count` further texts; fewer when the data yield no more."""
        if count < 0:
            raise UsageError(f"{count} texts asked for: wanted 0 or more")
        return _distinct(lambda: self._joined(self._new()), self._seen, count) if self._texts else []

    def altered(self, text: str) -> str:
        """The text with words replaced, or with a small fault or a few; a text of white space alone as it is."""
        units = self._units.split(text)
        if not units:
            return text
        if not self._replaced(units):
            self._edit(units)
        return self._joined(units)

    def _joined(self, units: list[str]) -> str:
        return self._units.join(units[: self._longest])

    def _index(self) -> None:
        """Units by frequency, what stands between two units, and where each pair of units stands."""
        counts = Counter(unit for text in self._texts for unit in text)
        self._vocabulary = list(counts)
        self._cumulative = list(accumulate(n**0.5 for n in counts.values()))
        self._common = _most_common_third(counts)
        between: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        pairs: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for row, text in enumerate(self._texts):
            for i, pair in enumerate(zip(text, text[1:], strict=False)):
                pairs[pair].append((row, i + 2))
            edged = ["", *text, ""]
            for left, unit, right in zip(edged, text, edged[2:], strict=False):
                between[left, right][unit] = None
        self._pairs = dict(pairs)
        self._between = {context: tuple(units) for context, units in between.items() if len(units) > 1}
        self._alike: dict[str, tuple[str, ...]] = {}

    def _by_label(self, gold: Sequence[Hashable]) -> list[list[int]]:
        rows: dict[Hashable, list[int]] = defaultdict(list)
        for row, label in enumerate(gold):
            rows[label].append(row)
        return [rows[label] for label in gold]

    def _new(self) -> list[str]:
        """Where a text comes from, then what is done to it. The shares were chosen once, on no data set's test."""
        chance = self._random.random
        start = self._below(len(self._texts))
        draw = chance()
        if draw < 0.40:
            units = list(self._texts[start])
        elif draw < 0.52:
            units = self._span(start)
        elif draw < 0.76:
            units = self._cross(start)
        else:
            units = self._walk(start)
        replaced = self._replaced(units)
        if (draw < 0.40 and not replaced) or chance() < 0.3:
            self._edit(units)
        return units

    def _replaced(self, units: list[str]) -> bool:
        """Words like them, or of the same context, take the place of some units, or of none. Tells whether of any."""
        chance, replaced = self._random.random, False
        if self._neighbours and chance() < 0.5 and self._replace_neighbours(units):
            replaced = True
        if chance() < 0.3 and self._replace_in_context(units):
            replaced = True
        return replaced

    def _below(self, n: int) -> int:
        return int(self._random.random() * n)

    def _span(self, row: int) -> list[str]:
        """A part of a text: at least a third of it, and one unit."""
        text = self._texts[row]
        size = 1 + max(len(text) // 3, self._below(len(text)))
        start = self._below(len(text) - size + 1) if size < len(text) else 0
        return text[start : start + size]

    def _cross(self, row: int) -> list[str]:
        """The beginning of one text and the end of another: of the same label half the time, if labels are known."""
        first = self._texts[row]
        if self._same_label is not None and self._random.random() < 0.5:
            partners = self._same_label[row]
            second = self._texts[partners[self._below(len(partners))]]
        else:
            second = self._texts[self._below(len(self._texts))]
        cut, resume = 1 + self._below(len(first)), self._below(len(second))
        return first[:cut] + second[resume:]

    def _walk(self, row: int) -> list[str]:
        """From a text's beginning, changing at pairs of units to any text that holds the same pair."""
        text, position = self._texts[row], 2
        walked = text[:2]
        while position < len(text) and len(walked) < self._longest:
            if self._random.random() < 0.4:
                places = self._pairs[walked[-2], walked[-1]]
                there, position = places[self._below(len(places))]
                text = self._texts[there]
                if position >= len(text):
                    break
            walked.append(text[position])
            position += 1
        return walked

    def _replace_neighbours(self, units: list[str]) -> bool:
        """Between one and four of the rarer units become words like them. Tells whether any did."""
        places = [i for i, unit in enumerate(units) if unit not in self._common and self._like(unit)]
        if not places:
            return False
        for _ in range(min(1 + self._below(4), len(places))):
            i = places.pop(self._below(len(places)))
            alike = self._like(units[i])
            units[i] = alike[self._below(len(alike))]
        return True

    def _like(self, unit: str) -> tuple[str, ...]:
        """The unit's neighbours, dressed as it is: its case, the punctuation around it."""
        alike = self._alike.get(unit)
        if alike is None:
            alike = self._alike[unit] = self._units.dress(unit, self._neighbours)
        return alike

    def _replace_in_context(self, units: list[str]) -> bool:
        """One or two units become others that stand between the same two units elsewhere. Tells whether any did."""
        replaced = False
        edged = ["", *units, ""]
        places = [i for i in range(len(units)) if (edged[i], edged[i + 2]) in self._between]
        for _ in range(min(1 + self._below(2), len(places))):
            i = places.pop(self._below(len(places)))
            choices = self._between[edged[i], edged[i + 2]]
            units[i] = choices[self._below(len(choices))]
            replaced = True
        return replaced

    def _edit(self, units: list[str]) -> None:
        """One, two or three small faults: a unit gone, two neighbours swapped, a unit too many."""
        operations: tuple[Callable[[list[str]], None], ...] = (self._delete, self._swap, self._insert)
        for _ in range(1 + self._below(min(3, len(units)))):
            operations[self._below(3)](units)

    def _delete(self, units: list[str]) -> None:
        if len(units) > 1:
            del units[self._below(len(units))]

    def _swap(self, units: list[str]) -> None:
        if len(units) > 1:
            i = self._below(len(units) - 1)
            units[i], units[i + 1] = units[i + 1], units[i]

    def _insert(self, units: list[str]) -> None:
        """Any unit of the data, the frequent ones more often (by the square root of their counts)."""
        drawn = self._random.random() * self._cumulative[-1]
        unit = self._vocabulary[min(bisect(self._cumulative, drawn), len(self._vocabulary) - 1)]
        units.insert(self._below(len(units) + 1), unit)


def _most_common_third(counts: Counter[str]) -> frozenset[str]:
    """The few units that make up the first third of the data: function words, in any language. None of a tiny vocabulary."""
    if len(counts) < 100:
        return frozenset()
    third = sum(counts.values()) / 3
    common, mass = set(), 0
    for unit, count in counts.most_common():
        mass += count
        if mass > third:
            break
        common.add(unit)
    return frozenset(common)
