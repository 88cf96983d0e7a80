"""Batches hold every text once, in the budget; windows keep the order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tlx.runtime.batches import WINDOW_CHARACTERS, WINDOW_TEXTS, cut_batches, growing_windows, pad_batch, windows

lengths_of_texts = st.lists(st.integers(1, 600), max_size=300)


@given(lengths_of_texts, st.integers(1, 1024), st.integers(1, 64), st.booleans())
def test_every_text_is_in_exactly_one_batch_within_the_budget(
    lengths: list[int], max_tokens: int, max_texts: int, may_pad: bool
) -> None:
    array = np.array(lengths, dtype=np.int64)
    batches = cut_batches(array, max_tokens=max_tokens, max_texts=max_texts, may_pad=may_pad)
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert 0 < len(batch) <= max_texts
        assert len(batch) == 1 or len(batch) * int(array[batch].max()) <= max_tokens
        assert may_pad or len(set(array[batch].tolist())) == 1


@given(lengths_of_texts)
def test_longer_batches_come_first(lengths: list[int]) -> None:
    array = np.array(lengths, dtype=np.int64)
    longest = [int(array[batch].max()) for batch in cut_batches(array, max_tokens=512, max_texts=64)]
    assert longest == sorted(longest, reverse=True)


@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=9))
def test_padding_is_on_the_right_and_masked(rows: list[list[int]]) -> None:
    input_ids, mask = pad_batch([np.array(row, dtype=np.int64) for row in rows], 0)
    assert input_ids.shape == mask.shape == (len(rows), max(map(len, rows)))
    for row, ids, kept in zip(rows, input_ids.tolist(), mask.tolist(), strict=True):
        assert ids == row + [0] * (len(ids) - len(row))
        assert kept == [1] * len(row) + [0] * (len(ids) - len(row))


@given(st.integers(0, 3 * WINDOW_TEXTS))
def test_windows_keep_the_order_and_are_bounded(count: int) -> None:
    texts = [str(number) for number in range(count)]
    for cut in (list(windows(texts)), list(growing_windows(texts))):
        assert [text for window in cut for text in window] == texts
        assert all(0 < len(window) <= WINDOW_TEXTS for window in cut)


def test_windows_of_huge_texts_are_small() -> None:
    huge = "x" * (WINDOW_CHARACTERS // 2)
    assert [len(window) for window in windows([huge] * 5)] == [2, 2, 1]


def test_growing_windows_start_with_one_text() -> None:
    assert [len(window) for window in growing_windows(str(n) for n in range(100))] == [1, 4, 16, 64, 15]
