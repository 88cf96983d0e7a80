"""Tokens' logits → entities, as transformers.pipeline("token-classification") aggregates them, in numpy.

Five differences, where transformers is plainly wrong. What goes on with a word is told by the vocabulary's "##", not by
the token's length, which differs from its text's wherever lower-casing or normalising changes that (é written as two
characters). Where no token tells (byte-level, SentencePiece), tabs and line ends part words as spaces do, each Chinese
character is a word, and the bytes of one character belong together. A token of white space alone is no word: it parts no
entity, begins and ends none, and has no say in the word before it. An entity does not end before combining marks that no token has (the accent of
"Jose\\u0301", where the tokenizer strips accents). And the string of an entity is decoded once, from all its tokens:
decoded word by word and then again, as transformers does for first, average and max, byte-level tokenizers lose accents
and SentencePiece every space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.spelling import Spelling, past_marks
from tlx.runtime.tasks.task import Floats, Input, Ints
from tlx.runtime.tasks.token_windows import TextTokens

__all__ = ["STRATEGIES", "Entity", "Strategy", "TagSet", "TokenEntity", "entities"]

Strategy = Literal["none", "simple", "first", "average", "max"]
STRATEGIES: tuple[str, ...] = get_args(Strategy)


class Entity(TypedDict):
    """Neighbouring tokens or words of one type; `start` and `end` are characters of the caller's string."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int


class TokenEntity(TypedDict):
    """One token, with strategy "none"; `index` is its place among the text's tokens, special ones counted."""

    entity: str
    score: float
    index: int
    word: str
    start: int
    end: int


@dataclass(frozen=True)
class TagSet:
    """Tags as tables over their indices."""

    tags: tuple[str, ...]

    @cached_property
    def prefixed(self) -> bool:
        """Whether they tell where a span begins (B-PER, I-PER)."""
        return any(tag.startswith(("B-", "I-")) for tag in self.tags)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Each tag's type: the tag without its prefix."""
        return tuple(tag[2:] if tag.startswith(("B-", "I-")) else tag for tag in self.tags)

    @cached_property
    def types(self) -> Ints:
        """Each tag's type as a number."""
        numbers = {name: number for number, name in enumerate(self.names)}
        return np.array([numbers[name] for name in self.names], dtype=np.int64)

    @cached_property
    def begins(self) -> NDArray[np.bool_]:
        return np.array([tag.startswith("B-") for tag in self.tags], dtype=np.bool_)

    @cached_property
    def goes_on(self) -> Ints:
        """For each tag the one that goes on with its span: I-PER for B-PER where there is one, else itself."""
        index = {tag: i for i, tag in enumerate(self.tags)}
        onward = [index.get(f"I-{tag[2:]}", i) if tag.startswith("B-") else i for i, tag in enumerate(self.tags)]
        return np.array(onward, dtype=np.int64)

    def shown(self, ignore_labels: Sequence[str], *, types: bool) -> NDArray[np.bool_]:
        """Which tags are told, by their types or by themselves."""
        key = types, *ignore_labels
        if key not in self._shown:
            names = self.names if types else self.tags
            self._shown[key] = np.array([name not in ignore_labels for name in names], dtype=np.bool_)
        return self._shown[key]

    @cached_property
    def _shown(self) -> dict[tuple[Any, ...], NDArray[np.bool_]]:
        return {}


class Items(NamedTuple):
    """What is grouped, tokens or words: each one's tag, its score, and its tokens from `begins[i]` to `begins[i + 1]`."""

    best: Ints
    scores: NDArray[np.floating[Any]]
    begins: Ints


def entities(
    values: Floats,
    tokens: TextTokens,
    texts: Sequence[Input],
    spelling: Spelling | None,
    tag_set: TagSet,
    strategy: Strategy,
    ignore_labels: Sequence[str],
) -> list[list[Any]]:
    """Each text's entities (TokenEntity for strategy "none"). `values` is `(tokens, tags)`."""
    found: list[list[Any]] = [[] for _ in texts]
    if not len(values) or spelling is None:
        return found
    blank: NDArray[np.bool_] | None = None
    if strategy in ("none", "simple"):
        best = values.argmax(axis=1)
        items = Items(best, np.zeros(0), np.arange(len(best) + 1))
    else:
        blank = _blanks(tokens, texts) if spelling.prefix is None else None
        items = _words(values, tokens, texts, spelling, strategy, blank)
    if strategy == "none":
        begins = np.flatnonzero(tag_set.shown(ignore_labels, types=False)[items.best])
        ends = begins + 1
    else:
        begins, ends = _groups(items, tokens.bounds, tag_set, ignore_labels)
    if not len(begins):
        return found
    if strategy in ("none", "simple"):
        items = items._replace(scores=_best_scores(values))
    first, last = items.begins[begins], items.begins[ends]
    if blank is not None and blank.any():
        first, last, full = _without_blanks(first, last, blank)
        first, last, begins, ends = first[full], last[full], begins[full], ends[full]
    total = np.concatenate([[0.0], np.cumsum(items.scores, dtype=np.float64)])
    scores = ((total[ends] - total[begins]) / (ends - begins)).tolist()
    owners = (np.searchsorted(tokens.bounds, first, side="right") - 1).tolist()
    names = tag_set.tags if strategy == "none" else tag_set.names
    tags = [names[i] for i in items.best[begins].tolist()]
    numbers = tokens.numbers[first].tolist()
    ids, left, right = tokens.ids.tolist(), tokens.starts.tolist(), tokens.ends.tolist()
    if strategy == "none":  # as many answers as tokens: no call for each
        name, unknown = spelling.tokenizer.id_to_token, spelling.unknown
        for a, owner, tag, score, number in zip(first.tolist(), owners, tags, scores, numbers, strict=True):
            text, start, stop = str(texts[owner]), left[a], right[a]
            word = text[start:stop] if ids[a] == unknown else name(ids[a])
            if not text.isascii():
                stop = past_marks(text, stop, tokens.starts[a + 1 : tokens.bounds[owner + 1]])
            found[owner].append(
                {"entity": tag, "score": score, "index": number, "word": word, "start": start, "end": stop}
            )
        return found
    for i, (a, b) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        text, stop = str(texts[owners[i]]), right[b - 1]
        pieces = spelling.tokens(ids[a:b], text, left[a:b], right[a:b])
        if not text.isascii():
            stop = past_marks(text, stop, tokens.starts[b : tokens.bounds[owners[i] + 1]])
        word = spelling.join(pieces)
        found[owners[i]].append(
            {"entity_group": tags[i], "score": scores[i], "word": word, "start": left[a], "end": stop}
        )
    return found


def _groups(items: Items, bounds: Ints, tag_set: TagSet, ignore_labels: Sequence[str]) -> tuple[Ints, Ints]:
    """The items from `begins[i]` to `ends[i]` of each group to show: a group ends with its type, its text, or at a B-."""
    best = items.best
    types = tag_set.types[best]
    fresh = np.empty(len(types), dtype=np.bool_)
    fresh[0] = True
    fresh[1:] = (types[1:] != types[:-1]) | tag_set.begins[best[1:]]
    borders = np.searchsorted(items.begins[:-1], bounds[1:-1])
    fresh[borders[borders < len(fresh)]] = True
    begins = np.flatnonzero(fresh)
    ends = np.append(begins[1:], len(types))
    shown = tag_set.shown(ignore_labels, types=True)[best[begins]]
    return begins[shown], ends[shown]


def _blanks(tokens: TextTokens, texts: Sequence[Input]) -> NDArray[np.bool_]:
    """Which tokens are white space alone, `(tokens,)`."""
    bounds = tokens.bounds.tolist()
    blank = [
        not str(text)[start:end].strip()
        for text, a, b in zip(texts, bounds, bounds[1:], strict=False)
        for start, end in zip(tokens.starts[a:b].tolist(), tokens.ends[a:b].tolist(), strict=True)
    ]
    return np.array(blank, dtype=np.bool_)


def _without_blanks(first: Ints, last: Ints, blank: NDArray[np.bool_]) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """The groups' tokens from `first` to `last` without white space at either end, and which groups have others."""
    count = len(blank)
    places = np.arange(count)
    behind = np.maximum.accumulate(np.where(blank, -1, places))
    ahead = np.minimum.accumulate(np.where(blank, count, places)[::-1])[::-1]
    first, last = ahead[np.minimum(first, count - 1)], behind[last - 1] + 1
    return first, last, first < last


def _words(
    values: Floats,
    tokens: TextTokens,
    texts: Sequence[Input],
    spelling: Spelling,
    strategy: Strategy,
    blank: NDArray[np.bool_] | None,
) -> Items:
    """Words with the tag that the strategy chooses: of the first token, of the surest one, or of the mean scores, in which
    `blank` tokens have no say where the word has others."""
    inside = np.zeros(len(values), dtype=np.bool_)
    bounds = tokens.bounds.tolist()
    if spelling.prefix is not None:
        inside = spelling.inside(tokens.ids, "", tokens.starts, tokens.ends)
    else:
        for text, a, b in zip(texts, bounds, bounds[1:], strict=False):
            inside[a:b] = spelling.inside(tokens.ids[a:b], str(text), tokens.starts[a:b], tokens.ends[a:b])
    inside[tokens.bounds[:-1][tokens.bounds[:-1] < len(values)]] = False
    begins = np.append(np.flatnonzero(~inside), len(values))
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    scores = exponentials / exponentials.sum(axis=1, keepdims=True)
    word = np.cumsum(~inside) - 1
    says: Any = None
    if blank is not None and blank.any():
        says = ~blank | (np.add.reduceat(~blank, begins[:-1], dtype=np.int64) == 0)[word]
    if strategy == "first":
        chosen = scores[begins[:-1]]
    elif strategy == "average":
        counts = np.diff(begins) if says is None else np.add.reduceat(says, begins[:-1], dtype=np.int64)
        lines = scores if says is None else scores * says[:, None]
        chosen = np.add.reduceat(lines, begins[:-1], axis=0) / counts[:, None]
    else:
        top = scores.max(axis=1)
        top = top if says is None else top * says
        order = np.lexsort((np.arange(len(top)), -top, word))
        chosen = scores[order[begins[:-1]]]
    return Items(chosen.argmax(axis=1), chosen.max(axis=1), begins)


def _best_scores(values: Floats) -> Floats:
    """The softmax of each line's greatest value."""
    best: Floats = 1.0 / np.exp(values - values.max(axis=1, keepdims=True)).sum(axis=1)
    return best
