"""A question and its context as rows of token ids: windows over a long context, with where their tokens lie in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.tasks.task import Encoded, Input, Ints

if TYPE_CHECKING:
    from tlx.runtime.tokens import Tokens

__all__ = ["Window", "encode_windows"]


class Window(NamedTuple):
    """Where the context lies in a row: tokens `first` to `first + len(spans)`.

    `spans` is `(tokens, 2)` int32: each token's characters of the context, from and to; `words` the same of the word that
    the token belongs to (-1 where it is in none). `null` tells whether the row begins with a token that stands for no answer.
    """

    first: int
    spans: NDArray[np.int32]
    words: NDArray[np.int32]
    null: bool


def encode_windows(tokens: Tokens, inputs: Sequence[Input], *, parallel: bool = True) -> Encoded:
    """The windows of each (question, context), a row each, with a Window as its note.

    A question that would leave the windows little more than their overlap is cut, and counted in `truncated`.
    """
    fitted, truncated = _fitted(tokens, inputs)
    rows: list[Ints] = []
    types: list[Ints] = []
    owners: list[int] = []
    notes: list[Window] = []
    for owner, encoding in enumerate(tokens.encodings(fitted, parallel=parallel)):
        typed = any(encoding.type_ids)
        for part in (encoding, *encoding.overflowing):
            rows.append(np.array(part.ids or [tokens.pad_id or 0], dtype=np.int64))
            # Further windows have types 1 even where the tokenizer's template (RoBERTa's) gives none.
            types.append(np.array(part.type_ids or [0], dtype=np.int64) * typed)
            owners.append(owner)
            notes.append(_window(part))
    return Encoded(rows, types, np.array(owners, dtype=np.int64), notes, truncated)


def _window(encoding: Any) -> Window:
    """What decoding needs of one of tokenizers' encodings."""
    parts = encoding.sequence_ids
    size = parts.count(1)
    first = parts.index(1) if size else len(parts)
    spans = np.array(encoding.offsets[first : first + size], dtype=np.int32).reshape(-1, 2)
    numbers = [-1 if word is None else word for word in encoding.word_ids[first : first + size]]
    words = np.array(numbers, dtype=np.int32)
    if size:
        begins = np.flatnonzero(np.diff(words, prepend=-2))
        counts = np.diff(begins, append=size)
        whole = np.stack([spans[begins, 0], spans[begins + counts - 1, 1]], axis=1)
        words = np.where(words[:, None] < 0, np.int32(-1), np.repeat(whole, counts, axis=0))
    return Window(first, spans, words.reshape(-1, 2), bool(parts) and parts[0] is None)


def _fitted(tokens: Tokens, inputs: Sequence[Input]) -> tuple[list[Input], int]:
    """The inputs with questions that leave room for a window of their context, and how many were cut for that."""
    specials = tokens.tokenizer.num_special_tokens_to_add(True)
    # What a window adds to the one before it: were it a token or two, a long context would take hundreds of windows.
    least = max(tokens.max_tokens // 16, 1)
    room = max(tokens.max_tokens - specials - tokens.stride - least, 0)
    fitted: list[Input] = []
    truncated = 0
    for item in inputs:
        question, context = cast(tuple[str, str], item)
        # A character of ASCII gives one token at most; some tokenizers put one before the text.
        if not question.isascii() or len(question) + 1 > room:
            count = _count(tokens, question)
            if count > room and count + _count(tokens, context) + specials > tokens.max_tokens:
                question = _cut(tokens, question, room)
                truncated += 1
        fitted.append((question, context))
    return fitted, truncated


def _count(tokens: Tokens, text: str) -> int:
    """How many tokens the text has, special ones not counted; more than `max_tokens` where they do not fit."""
    try:
        encoding = tokens.tokenizer.encode(text, add_special_tokens=False)
    except TypeError:  # not Unicode: said when it is encoded
        return 0
    except Exception:  # tokenizers raises plain Exception: a lone text is not cut by "only_second"
        return tokens.max_tokens + 1
    return len(encoding.ids)


def _cut(tokens: Tokens, text: str, room: int) -> str:
    """The longest beginning of the text that has at most `room` tokens."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if _count(tokens, text[:middle]) <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low]
