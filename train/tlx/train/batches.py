"""Encoded texts and the batches made of them: grouped by length, each holding a budget of tokens."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

__all__ = ["Batch", "Encoded", "Rows", "encode", "plan_batches", "sorted_batches"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token ids of n texts, one after another: text i is `ids[starts[i]:starts[i + 1]]`.

    `words` (same layout) numbers the word that a token belongs to; special tokens count as words of their own.
    """

    ids: NDArray[np.int32]
    starts: Ints
    pad_id: int
    words: NDArray[np.int32] | None = None

    @property
    def lengths(self) -> Ints:
        return np.diff(self.starts)

    def padded(self, rows: Ints) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask`, `(rows, longest)` int64, padded on the right."""
        lengths = self.lengths[rows]
        mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
        ids = np.full(mask.shape, self.pad_id, dtype=np.int64)
        ids[mask] = self._gather(self.ids, rows)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}

    def padded_words(self, rows: Ints) -> torch.Tensor:
        """Each token's word, `(rows, longest)` int64, -1 where padded; tokens are their own words when there are none."""
        lengths = self.lengths[rows]
        mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
        if self.words is None:
            return torch.from_numpy(np.where(mask, np.arange(mask.shape[1]), -1))
        words = np.full(mask.shape, -1, dtype=np.int64)
        words[mask] = self._gather(self.words, rows)
        return torch.from_numpy(words)

    def _gather(self, values: NDArray[np.int32], rows: Ints) -> NDArray[np.int32]:
        return np.concatenate([values[self.starts[row] : self.starts[row + 1]] for row in rows])


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one step sees. `gold` belongs to the task; `teacher_outputs` is `(rows, outputs)` float32.

    `teacher` holds the teacher's own inputs and `words`/`teacher_words` align the two, when a term asks for them.
    """

    inputs: dict[str, torch.Tensor]
    gold: torch.Tensor | None = None
    teacher_outputs: torch.Tensor | None = None
    teacher: dict[str, torch.Tensor] | None = None
    words: torch.Tensor | None = None
    teacher_words: torch.Tensor | None = None

    @property
    def rows(self) -> int:
        return int(self.inputs["input_ids"].shape[0])

    def to(self, device: torch.device) -> Batch:
        """The batch on `device` (itself on the CPU)."""
        if device.type == "cpu":
            return self

        def moved(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: tensor.to(device) for name, tensor in value.items()}
            return None if value is None else value.to(device)

        return Batch(**{name: moved(value) for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All that training knows of its n texts; batches are cut from it."""

    student: Encoded
    gold: torch.Tensor | None = None
    teacher_outputs: NDArray[np.float32] | None = None
    teacher: Encoded | None = None

    def __len__(self) -> int:
        return len(self.student.starts) - 1

    def batch(self, rows: Ints) -> Batch:
        """The batch of those rows, in that order."""
        index = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        aligned = self.teacher is not None
        return Batch(
            inputs=self.student.padded(rows),
            gold=None if self.gold is None else self.gold[index],
            teacher_outputs=None if self.teacher_outputs is None else torch.from_numpy(self.teacher_outputs[rows]),
            teacher=self.teacher.padded(rows) if self.teacher is not None else None,
            words=self.student.padded_words(rows) if aligned else None,
            teacher_words=self.teacher.padded_words(rows) if self.teacher is not None else None,
        )


def encode(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], max_tokens: int, *, words: bool = False, chunk: int = 4096
) -> Encoded:
    """The texts' ids with special tokens, cut to `max_tokens` as transformers does."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.enable_truncation(max_tokens)
    ids: list[NDArray[np.int32]] = []
    numbers: list[NDArray[np.int32]] = []
    try:
        for start in range(0, len(texts), chunk):
            block = list(texts[start : start + chunk])
            for text, encoding in zip(block, backend.encode_batch(block), strict=True):
                ids.append(np.array(encoding.ids, dtype=np.int32))
                if words:
                    numbers.append(_word_numbers(text, encoding.offsets, encoding.special_tokens_mask))
    finally:
        backend.no_truncation()
    starts = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum([len(item) for item in ids], out=starts[1:])
    pad = tokenizer.pad_token_id
    return Encoded(
        ids=np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32),
        starts=starts,
        pad_id=int(pad) if pad is not None else 0,
        words=np.concatenate(numbers) if words and numbers else None,
    )


def plan_batches(lengths: Ints, budget: int, rng: np.random.Generator, *, group: int = 64) -> list[Ints]:
    """Every row once, in batches of at most `budget` padded tokens (or one row), in random order.

    Rows are shuffled, sorted by length within groups of about `group` batches, cut, and the batches shuffled: little
    padding, and still other neighbours in every epoch.
    """
    order = rng.permutation(len(lengths))
    mean = max(float(lengths.mean()), 1.0) if len(lengths) else 1.0
    size = max(int(group * budget / mean), 1)
    batches: list[Ints] = []
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        batches += _cut(rows[np.argsort(lengths[rows], kind="stable")], lengths, budget)
    return [batches[i] for i in rng.permutation(len(batches))]


def sorted_batches(lengths: Ints, budget: int) -> Iterator[Ints]:
    """Every row once, longest first, in batches of at most `budget` padded tokens: for work without gradients."""
    yield from reversed(_cut(np.argsort(lengths, kind="stable"), lengths, budget))


def _cut(rows: Ints, lengths: Ints, budget: int) -> list[Ints]:
    """Ascending rows → batches whose longest row times their number stays within the budget."""
    batches, start = [], 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or (end + 1 - start) * lengths[rows[end]] > budget:
            batches.append(rows[start:end])
            start = end
    return batches


def _word_numbers(text: str, offsets: Sequence[tuple[int, int]], special: Sequence[int]) -> NDArray[np.int32]:
    """Each token's word: 1 and on for the words between white space, 0 for special tokens before, last for those behind.

    Tokenizers split words differently, but all keep offsets into the text: its white space is what they share.
    """
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    numbers, seen = [], False
    for (start, end), is_special in zip(offsets, special, strict=True):
        if is_special:
            numbers.append(len(starts) + 1 if seen else 0)
            continue
        seen = True
        while start < end - 1 and text[start].isspace():
            start += 1
        numbers.append(max(bisect_right(starts, start), 1))
    return np.array(numbers, dtype=np.int32)
