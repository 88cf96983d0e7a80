"""Texts → token ids, exactly as transformers' fast tokenizers give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.errors import FolderError, UsageError
from tlx.runtime.tasks.task import Encoded, Input, Task

if TYPE_CHECKING:
    from tlx.runtime.spelling import Spelling

__all__ = ["TokenIds", "Tokens", "open_tokens", "tokens_over"]

TokenIds = NDArray[np.int64]
PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|endoftext|>")
NOT_UNICODE = "the text {!r} holds a lone surrogate, which is not Unicode: decode it with errors='replace'"
SERIAL = 8  # fewer texts than this are encoded one by one: waking a thread pool costs more


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A tokenizer that truncates at `max_tokens` (special tokens included) and never pads.

    With a `stride`, what does not fit comes as further windows that share so many tokens with the one before.
    `pad_id` is None when the tokenizer names none: then only texts of equal length share a batch.
    A text that gives no token at all (possible where there are no special tokens) is one padding token.
    """

    tokenizer: Any
    max_tokens: int
    pad_id: int | None
    stride: int = 0

    @cached_property
    def spelling(self) -> Spelling:
        """How the tokenizer writes words."""
        from tlx.runtime.spelling import spelling_of

        return spelling_of(self.tokenizer)

    def encode(self, text: str) -> tuple[list[int], bool]:
        """The ids of one text, and whether it was truncated. Raises UsageError when it is not Unicode."""
        try:
            encoding = self.tokenizer.encode(text)
        except TypeError as error:
            raise UsageError(NOT_UNICODE.format(text[:40])) from error
        ids: list[int] = encoding.ids
        return ids or [self.pad_id or 0], len(ids) >= self.max_tokens and bool(encoding.overflowing)

    def encode_many(self, texts: Sequence[str], *, parallel: bool = True) -> tuple[list[TokenIds], int]:
        """The ids of each text, `(tokens,)` int64, and how many texts were truncated.

        `parallel` lets the tokenizer use its own threads.
        """
        if not parallel or len(texts) < SERIAL:
            pairs = [self.encode(text) for text in texts]
            return [np.array(ids, dtype=np.int64) for ids, _ in pairs], sum(cut for _, cut in pairs)
        try:
            encodings = self.tokenizer.encode_batch_fast(texts)
        except TypeError as error:
            raise _not_unicode(texts) from error
        rows: list[TokenIds] = []
        truncated = 0
        for encoding in encodings:
            ids = encoding.ids
            if len(ids) >= self.max_tokens and encoding.overflowing:
                truncated += 1
            rows.append(np.array(ids or [self.pad_id or 0], dtype=np.int64))
        return rows, truncated

    def encode_pairs(self, pairs: Sequence[Input], *, parallel: bool = True) -> Encoded:
        """One row a pair, with its token types."""
        rows, types, truncated = [], [], 0
        for encoding in self.encodings(pairs, parallel=parallel, offsets=False):
            ids = encoding.ids
            truncated += len(ids) >= self.max_tokens and bool(encoding.overflowing)
            rows.append(np.array(ids or [self.pad_id or 0], dtype=np.int64))
            types.append(np.array(encoding.type_ids if ids else [0], dtype=np.int64))
        return Encoded(rows, types, truncated=truncated)

    def encodings(self, inputs: Sequence[Input], *, parallel: bool = True, offsets: bool = True) -> list[Any]:
        """tokenizers' own Encoding of each input (a str or a pair); `.overflowing` holds its further windows.

        Its `.offsets` are of characters; without `offsets` they are not asked for, which is faster.
        """
        try:
            if not parallel or len(inputs) < SERIAL:
                encode = self.tokenizer.encode
                return [encode(item) if isinstance(item, str) else encode(*item) for item in inputs]
            batch = self.tokenizer.encode_batch if offsets else self.tokenizer.encode_batch_fast
            found: list[Any] = batch(list(inputs))
            return found
        except TypeError as error:
            raise _not_unicode([text for i in inputs for text in ((i,) if isinstance(i, str) else i)]) from error


def open_tokens(content: bytes, max_tokens: int, source: str, task: Task) -> Tokens:
    """The tokenizer in the bytes of a tokenizer.json, which cuts or windows long inputs as the task does.

    Raises FolderError naming `source` when it is damaged.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # tokenizers raises plain Exception
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FolderError(f"{source} is not a tokenizer ({reason}): export or copy the folder again") from error
    return tokens_over(tokenizer, max_tokens, source, task)


def tokens_over(tokenizer: Any, max_tokens: int, source: str, task: Task) -> Tokens:
    """The same over a tokenizers.Tokenizer, which from now on belongs to the Tokens."""
    stride = task.stride(max_tokens)
    padding, before = tokenizer.padding, tokenizer.truncation
    pad_id = padding["pad_id"] if padding else None
    if pad_id is None:
        pad_id = next((i for name in PAD_TOKENS if (i := tokenizer.token_to_id(name)) is not None), None)
    tokenizer.no_padding()
    if max_tokens <= tokenizer.num_special_tokens_to_add(False) + stride:
        raise FolderError(
            f"the manifest's max_tokens is {max_tokens}: wanted more than the special tokens of {source}"
            + (f" and a stride of {stride}" if stride else "")
        )
    direction = before["direction"] if before and not stride else "right"  # windows go from left to right
    tokenizer.enable_truncation(max_tokens, stride=stride, strategy=task.truncation, direction=direction)
    if any(tokenizer.encode("a").type_ids):
        raise FolderError(f"{source} gives token_type_ids other than 0 for one text: this tlx cannot run such a model")
    return Tokens(tokenizer=tokenizer, max_tokens=max_tokens, pad_id=pad_id, stride=stride)


def _not_unicode(texts: Sequence[str]) -> UsageError:
    bad = next((text for text in texts if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)), "")
    return UsageError(NOT_UNICODE.format(bad[:40]))
