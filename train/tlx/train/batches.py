"""Encoded texts and the batches made of them: grouped by length, each holding a budget of tokens."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tlx.runtime.tasks.task import Encoded, Input, Outputs, Task, join_outputs, unit_index
from tlx.runtime.tokens import Tokens, tokens_over

__all__ = [
    "Batch",
    "Ragged",
    "Rows",
    "TokenRows",
    "encode",
    "joined",
    "plan_batches",
    "sorted_batches",
    "token_rows",
    "tokens_of",
    "with_words",
]

Ints = NDArray[np.int64]
CHUNK = 4096


@dataclass(frozen=True)
class Ragged:
    """Values that belong to rows: row i has `values[starts[i]:starts[i + 1]]`, or without `starts` `values[i]` alone."""

    values: torch.Tensor
    starts: Ints | None = None

    def of(self, rows: Ints) -> torch.Tensor:
        """The values of those rows, one row's behind the other's."""
        index = np.asarray(rows, dtype=np.int64) if self.starts is None else unit_index(self.starts, rows)
        return self.values[torch.from_numpy(index)]

    def followed_by(self, other: Ragged) -> Ragged:
        """These rows, then the other's."""
        starts = None
        if self.starts is not None and other.starts is not None:
            starts = np.concatenate([self.starts, other.starts[1:] + self.starts[-1]])
        return Ragged(torch.cat([self.values, other.values]), starts)


@dataclass(frozen=True, kw_only=True)
class TokenRows:
    """Token ids of n rows, one after another: row i is `ids[starts[i]:starts[i + 1]]`.

    `types` (same layout) are token_type_ids. `words` (same layout) numbers the word that a token belongs to; special tokens
    count as words of their own.
    """

    ids: NDArray[np.int32]
    starts: Ints
    pad_id: int
    types: NDArray[np.int32] | None = None
    words: NDArray[np.int32] | None = None

    @property
    def lengths(self) -> Ints:
        return np.diff(self.starts)

    def padded(self, rows: Ints) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask` and, where there are types, `token_type_ids`, `(rows, longest)` int64, padded on the
        right."""
        mask = self._mask(rows)
        found = {"input_ids": self._filled(self.ids, rows, mask, self.pad_id)}
        found["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
        if self.types is not None:
            found["token_type_ids"] = self._filled(self.types, rows, mask, 0)
        return found

    def padded_words(self, rows: Ints) -> torch.Tensor:
        """Each token's word, `(rows, longest)` int64, -1 where padded; tokens are their own words when there are none."""
        mask = self._mask(rows)
        if self.words is None:
            return torch.from_numpy(np.where(mask, np.arange(mask.shape[1]), -1))
        return self._filled(self.words, rows, mask, -1)

    def _mask(self, rows: Ints) -> NDArray[np.bool_]:
        lengths = self.lengths[rows]
        found: NDArray[np.bool_] = np.arange(lengths.max(initial=1)) < lengths[:, None]
        return found

    def _filled(self, values: NDArray[np.int32], rows: Ints, mask: NDArray[np.bool_], padding: int) -> torch.Tensor:
        filled = np.full(mask.shape, padding, dtype=np.int64)
        filled[mask] = np.concatenate([values[self.starts[row] : self.starts[row + 1]] for row in rows])
        return torch.from_numpy(filled)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one step sees. `gold` belongs to the task; `teacher_outputs` is `(units, outputs)` float32, `teacher_vectors`
    `(rows, width)` float16.

    `teacher` holds the teacher's own inputs and `words`/`teacher_words` align the two, when a term asks for them.
    """

    inputs: dict[str, torch.Tensor]
    gold: torch.Tensor | None = None
    teacher_outputs: torch.Tensor | None = None
    teacher_vectors: torch.Tensor | None = None
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
    """All that training knows of its n rows; batches are cut from it. `group` rows in a row share every batch.

    `order`, row numbers, says which rows these are, where it is not each row once; its length is a multiple of `group`.
    """

    student: TokenRows
    gold: Ragged | None = None
    teacher_outputs: Ragged | None = None
    teacher_vectors: Ragged | None = None
    teacher: TokenRows | None = None
    group: int = 1
    order: Ints | None = None

    def __len__(self) -> int:
        return len(self.student.starts) - 1

    @property
    def lengths(self) -> Ints:
        """Padded tokens that each group takes."""
        lengths = self.student.lengths if self.order is None else self.student.lengths[self.order]
        if self.group == 1:
            return lengths
        longest: Ints = lengths.reshape(-1, self.group).max(axis=1)
        return longest * self.group

    def members(self, groups: Ints) -> Ints:
        """The rows of those groups."""
        rows = np.asarray(groups)
        if self.group > 1:
            rows = (rows[:, None] * self.group + np.arange(self.group)).reshape(-1)
        return rows if self.order is None else self.order[rows]

    def batch(self, groups: Ints) -> Batch:
        """The batch of those groups, in that order."""
        rows = self.members(groups)
        words, teacher_words = self._words(rows)
        return Batch(
            inputs=self.student.padded(rows),
            gold=None if self.gold is None else self.gold.of(rows),
            teacher_outputs=None if self.teacher_outputs is None else self.teacher_outputs.of(rows),
            teacher_vectors=None if self.teacher_vectors is None else self.teacher_vectors.of(rows),
            teacher=self.teacher.padded(rows) if self.teacher is not None else None,
            words=words,
            teacher_words=teacher_words,
        )

    def _words(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor] | tuple[None, None]:
        """The words of both models' tokens, where there are a teacher's, numbered anew from 0 in each row: a text that is cut has
        no more numbers than tokens."""
        if self.teacher is None:
            return None, None
        own, other = self.student.padded_words(rows), self.teacher.padded_words(rows)
        if self.student.words is None and self.teacher.words is None:
            return own, other
        both = torch.cat([own, other], dim=1)
        ordered, places = both.sort(dim=1)
        steps = (ordered.diff(dim=1, prepend=ordered[:, :1]) != 0).long()
        steps[:, 0] = torch.where(ordered[:, 0] < 0, -1, 0)
        both = torch.empty_like(both).scatter_(1, places, steps.cumsum(dim=1))
        return both[:, : own.shape[1]], both[:, own.shape[1] :]


def tokens_of(tokenizer: PreTrainedTokenizerFast, max_tokens: int, task: Task) -> Tokens:
    """The runtime's tokenizer for a transformers one, cutting or windowing as the task does."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    tokens = tokens_over(backend, max_tokens, "the tokenizer", task)
    pad = tokenizer.pad_token_id
    return tokens if pad is None else replace(tokens, pad_id=int(pad))


def encode(task: Task, tokens: Tokens, inputs: Sequence[Input]) -> Encoded:
    """The inputs' rows as the runtime will see them, encoded some thousand at a time."""
    chunks = (list(inputs[start : start + CHUNK]) for start in range(0, len(inputs), CHUNK))
    return joined((chunk, task.encode(tokens, chunk)) for chunk in chunks)


def joined(parts: Iterable[tuple[Sequence[Input], Encoded]]) -> Encoded:
    """The rows of several (inputs, their rows), in order."""
    nothing = np.zeros((0, 1), dtype=np.float32)
    return join_outputs([Outputs(inputs, encoded, nothing) for inputs, encoded in parts], None).encoded


def token_rows(encoded: Encoded, pad_id: int, *, types: bool = True) -> TokenRows:
    """The rows in one piece. `types` keeps the token types, where there are any."""
    starts = np.zeros(len(encoded.rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in encoded.rows], out=starts[1:])

    def joined(rows: Sequence[Ints]) -> NDArray[np.int32]:
        return np.concatenate(rows).astype(np.int32) if rows else np.zeros(0, dtype=np.int32)

    kept = joined(encoded.types) if types and encoded.types is not None else None
    return TokenRows(ids=joined(encoded.rows), starts=starts, pad_id=pad_id, types=kept)


def with_words(rows: TokenRows, tokens: Tokens, inputs: Sequence[Input]) -> TokenRows:
    """The rows with each token's word, so that two models with different tokenizers can be compared word by word."""
    numbers: list[NDArray[np.int32]] = []
    for start in range(0, len(inputs), CHUNK):
        block = list(inputs[start : start + CHUNK])
        for item, encoding in zip(block, tokens.encodings(block), strict=True):
            found = _word_numbers(item, encoding) if encoding.ids else np.zeros(1, dtype=np.int32)
            kept = tokens.kept(encoding)
            numbers.append(found if kept is None else found[kept])
    return replace(rows, words=np.concatenate(numbers) if numbers else None)


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


def _word_numbers(item: Input, encoding: Any) -> NDArray[np.int32]:
    """Each token's word: 1 and on for the words between white space, 0 for special tokens before, and one more than the last
    word for those behind a text, after which a second text goes on.

    Tokenizers split words differently, but all keep offsets into the text: its white space is what they share.
    """
    parts = (item,) if isinstance(item, str) else item
    starts = [[match.start() for match in re.finditer(r"\S+", text)] for text in parts]
    first = np.cumsum([0, *(len(found) + 1 for found in starts)]).tolist()
    numbers, seen = [], 0
    for (start, end), part in zip(encoding.offsets, encoding.sequence_ids, strict=True):
        if part is None:
            numbers.append(first[seen])
            continue
        seen, text = part + 1, parts[part]
        while start < end - 1 and text[start].isspace():
            start += 1
        numbers.append(first[part] + max(bisect_right(starts[part], start), 1))
    return np.array(numbers, dtype=np.int32)
