"""Many texts → windows of bounded memory → batches of near-equal length under a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.tasks.task import Input

__all__ = ["cut_batches", "growing_windows", "pad_batch", "windows"]

Ints = NDArray[np.int64]
WINDOW_TEXTS = 4096
WINDOW_CHARACTERS = 4_000_000


def cut_batches(lengths: Ints, *, max_tokens: int, max_texts: int, may_pad: bool = True) -> list[Ints]:
    """Batches of row numbers, longest texts first; every row of `lengths`, `(n,)`, is in exactly one.

    A batch holds at most `max_texts` rows and, padding counted, `max_tokens` tokens (one row may hold more alone). Once half
    full it closes where the length changes, so that little is padded; without `may_pad` it closes there always.
    """
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order].tolist()
    batches: list[Ints] = []
    start = 0
    for row in range(1, len(ordered) + 1):
        if row < len(ordered):
            longest, texts = ordered[start], row - start
            full = texts >= max_texts or (texts + 1) * longest > max_tokens
            half_full = 2 * texts >= max_texts or 2 * texts * longest >= max_tokens
            changes = ordered[row] != ordered[row - 1]
            if not full and not (changes and (half_full or not may_pad)):
                continue
        batches.append(order[start:row])
        start = row
    return batches


def pad_batch(rows: Sequence[Ints], pad_id: int) -> tuple[Ints, Ints]:
    """The rows and their mask (1 where real), `(rows, longest)` int64 each, padded with `pad_id` on the right."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    longest = int(lengths.max())
    if int(lengths.min()) == longest:
        input_ids = np.concatenate(rows).reshape(len(rows), longest)
        return input_ids, np.ones_like(input_ids)
    kept = np.arange(longest) < lengths[:, None]
    input_ids = np.full(kept.shape, pad_id, dtype=np.int64)
    input_ids[kept] = np.concatenate(rows)
    return input_ids, kept.astype(np.int64)


def windows(inputs: Iterable[Input], most: int | None = None) -> Iterator[list[Input]]:
    """The inputs in order, in lists of bounded size (at most `most`)."""
    return _windows(iter(inputs), WINDOW_TEXTS, most or WINDOW_TEXTS)


def growing_windows(inputs: Iterable[Input], most: int | None = None) -> Iterator[list[Input]]:
    """The same for a source that may be slow: 1 input, then 4, then 16 …, so that the first answers come at once.

    The sizes do not depend on time: the same inputs are always batched, and so answered, alike.
    """
    return _windows(iter(inputs), 1, most or WINDOW_TEXTS)


def _windows(inputs: Iterator[Input], size: int, most: int) -> Iterator[list[Input]]:
    size = min(size, most)
    window: list[Input] = []
    characters = 0
    for item in inputs:
        window.append(item)
        characters += len(item) if isinstance(item, str) else sum(map(len, item))
        if len(window) >= size or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters, size = [], 0, min(4 * size, most)
    if window:
        yield window
