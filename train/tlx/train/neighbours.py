"""Words like a word, read from a teacher's input embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.errors import UsageError
from tlx.train.units import Units

__all__ = ["Vocabulary", "embedding_neighbours", "whole_words"]

_CHUNK = 512


class Vocabulary(Protocol):
    """A tokenizer of transformers or of tokenizers: all that is asked of it here."""

    def get_vocab(self) -> Any:
        """Tokens and their ids."""
        ...


def embedding_neighbours(
    tokenizer: Vocabulary, embeddings: NDArray[np.float32], texts: Sequence[str], k: int = 10
) -> dict[str, tuple[str, ...]]:
    """For each word of `texts` that is one token (as it stands or in lower case), the `k` whole words nearest to it.

    `embeddings` is `(vocabulary, width)`, the teacher's input embeddings; nearness is the cosine of centred rows,
    best first, over the **whole** vocabulary, so that words come in which the training data do not hold. Words of
    several tokens are left out. Raises UsageError when a token has no row.
    """
    vocabulary = whole_words(tokenizer.get_vocab())
    if not vocabulary or k < 1:
        return {}
    names = list(vocabulary)
    ids = np.fromiter(vocabulary.values(), dtype=np.int64, count=len(names))
    if ids.max() >= len(embeddings):
        raise UsageError(f"the tokenizer has token {ids.max()}, the embeddings have {len(embeddings)} rows: wrong pair")
    asked = _places(Units(texts).words(texts), names)
    rows = embeddings[ids].astype(np.float32)
    rows -= rows.mean(axis=0)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    words = list(asked)
    neighbours: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(words), _CHUNK):
        chunk = words[start : start + _CHUNK]
        nearest = _nearest(rows, np.array([asked[word] for word in chunk]), min(k, len(names) - 1))
        for word, places in zip(chunk, nearest.tolist(), strict=True):
            neighbours[word] = tuple(names[place] for place in places)
    return neighbours


def whole_words(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """The tokens that are words of letters, without the mark of their tokenizer (`Ġ`, `▁`), and their ids, in their order.

    Single letters are words only where letters have no case (Chinese, Japanese, Thai). Where the vocabulary marks the
    beginnings of words, tokens without the mark are words only in such scripts.
    """
    mark = next((m for m in "Ġ▁" if sum(token.startswith(m) for token in vocabulary) * 10 > len(vocabulary)), "")
    words: dict[str, int] = {}
    for token, index in sorted(vocabulary.items(), key=lambda item: item[1]):  # tokenizers gives them in any order
        word = token.removeprefix(mark)
        caseless = word.upper() == word.lower()
        begins = token.startswith(mark) or (caseless and not word.isascii())
        if begins and word.isalpha() and (len(word) > 1 or caseless):
            words.setdefault(word, index)
    return words


def _places(words: Iterable[str], names: Sequence[str]) -> dict[str, int]:
    """Where each word stands in `names`, itself or in lower case; words that do not are left out."""
    place = {name: i for i, name in enumerate(names)}
    found = {word: place[word] if word in place else place.get(word.lower(), -1) for word in words}
    return {word: i for word, i in found.items() if i >= 0}


def _nearest(rows: NDArray[np.float32], here: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`(len(here), count)`: the rows of the greatest dot product with each row of `here`, best first, itself left out."""
    cosines = rows[here] @ rows.T
    cosines[np.arange(len(here)), here] = -2.0
    best = np.argpartition(-cosines, max(count - 1, 0), axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1, kind="stable")
    nearest: NDArray[np.int64] = np.take_along_axis(best, order, axis=1)
    return nearest
