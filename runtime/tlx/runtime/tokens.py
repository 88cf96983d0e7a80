"""Texts → token ids, exactly as transformers' fast tokenizers give them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.beginnings import beginning, gap_of, is_unicode
from tlx.runtime.errors import FolderError, UsageError
from tlx.runtime.tasks.limits import Limits
from tlx.runtime.tasks.task import Encoded, Input, Task
from tlx.runtime.words import Words, words_of

if TYPE_CHECKING:
    from tlx.runtime.spelling import Spelling

__all__ = ["TokenIds", "Tokens", "open_tokens", "tokens_over"]

TokenIds = NDArray[np.int64]
PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|endoftext|>")
NOT_UNICODE = "the text {!r} holds a lone surrogate, which is not Unicode: decode it with errors='replace'"
SERIAL = 8  # fewer texts than this are encoded one by one: waking a thread pool costs more
FEW_CORES = 4  # up to so many, the table of words in one thread is faster than the tokenizer's threads


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A tokenizer that truncates at `max_tokens` (special tokens included) and never pads.

    With a `stride`, what does not fit comes as further windows that share so many tokens with the one before.
    What does not fit is cut `from_left` where the tokenizer says so.
    `pad_id` is None when the tokenizer names none: then only texts of equal length share a batch.
    A text that gives no token at all (possible where there are no special tokens) is one padding token.
    """

    tokenizer: Any
    max_tokens: int
    pad_id: int | None
    stride: int = 0
    from_left: bool = False

    def limited(self, limits: Limits, texts: int) -> Tokens:
        """A tokenizer of its own that cuts inputs of so many texts otherwise. Raises UsageError when nothing would fit."""
        specials = self.tokenizer.num_special_tokens_to_add(texts > 1)
        if limits.max_tokens <= specials + limits.stride:
            overlap = f" and the {limits.stride} that windows share" if limits.stride else ""
            raise UsageError(
                f"rows of {limits.max_tokens} tokens leave no room beside the {specials} special ones{overlap}: allow more tokens"
            )
        own = type(self.tokenizer).from_str(self.tokenizer.to_str())
        _cut_at(own, limits, texts, from_left=self.from_left)
        return replace(self, tokenizer=own, max_tokens=limits.max_tokens, stride=limits.stride)

    @cached_property
    def spelling(self) -> Spelling:
        """How the tokenizer writes words."""
        from tlx.runtime.spelling import spelling_of

        return spelling_of(self.tokenizer)

    def encode_many(self, texts: Sequence[str], *, parallel: bool = True) -> tuple[list[TokenIds], int]:
        """The ids of each text, `(tokens,)` int64, and how many texts were truncated.

        `parallel` lets the tokenizer use its own threads.
        """
        known = [None] * len(texts) if parallel and self._many_cores else [self._from_words(text) for text in texts]
        others = [text for text, ids in zip(texts, known, strict=True) if ids is None]
        left = iter(self._encoded(others, parallel=parallel))
        rows: list[TokenIds] = []
        truncated = 0
        for ids in known:
            if ids is None:
                ids, cut = self._ids(next(left))
                truncated += cut
            rows.append(np.array(ids, dtype=np.int64))
        return rows, truncated

    def _encoded(self, texts: Sequence[str], *, parallel: bool) -> list[Any]:
        """Encodings with the ids of the whole texts. Of a text far too long, where its beginning settles them, the rest
        is not tokenized: a megabyte would take seconds.
        """
        gap = self._gap
        if gap is None:
            return self.encodings(texts, parallel=parallel, offsets=False)
        heads = [beginning(text, self.max_tokens, gap) for text in texts]
        found = self.encodings(heads, parallel=parallel, offsets=False)
        for row, (text, head) in enumerate(zip(texts, heads, strict=True)):
            if len(head) < len(text) and not found[row].overflowing:
                found[row] = self.encodings([text], offsets=False)[0]
        return found

    @cached_property
    def _gap(self) -> re.Pattern[str] | None:
        return None if self.stride or self.from_left else gap_of(self.tokenizer)

    @cached_property
    def _words(self) -> Words | None:
        return words_of(self.tokenizer)

    @cached_property
    def _many_cores(self) -> bool:
        from tlx.runtime.machine import usable_cores

        return usable_cores() > FEW_CORES

    def _from_words(self, text: str) -> list[int] | None:
        """The ids from the table of words, where it knows the text and nothing is cut."""
        ids = None if self._words is None else self._words.encode(text)
        return ids if ids and len(ids) <= self.max_tokens else None

    def _ids(self, encoding: Any) -> tuple[list[int], bool]:
        """The ids of an Encoding, at least one, and whether it was truncated."""
        ids: list[int] = encoding.ids
        return ids or [self.pad_id or 0], len(ids) >= self.max_tokens and bool(encoding.overflowing)

    def encode_pairs(self, pairs: Sequence[Input], *, parallel: bool = True) -> Encoded:
        """One row a pair, with its token types."""
        rows, types, truncated = [], [], 0
        for encoding in self.encodings(pairs, parallel=parallel, offsets=False):
            ids = np.array(encoding.ids or [self.pad_id or 0], dtype=np.int64)
            kinds = np.array(encoding.type_ids or [0], dtype=np.int64)
            truncated += len(ids) > self.max_tokens or (len(ids) == self.max_tokens and bool(encoding.overflowing))
            kept = self.kept(encoding)
            if kept is not None:
                ids, kinds = ids[kept], kinds[kept]
            rows.append(ids)
            types.append(kinds)
        return Encoded(rows, types, truncated=truncated)

    def kept(self, encoding: Any) -> NDArray[np.int64] | None:
        """Which tokens of an Encoding a row has, where the tokenizer leaves the cutting of pairs to `encode_pairs`; None: all."""
        if len(encoding.ids) <= self.max_tokens:
            return None
        return _longest_first(encoding.sequence_ids, self.max_tokens, from_left=self.from_left)

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
        except Exception as error:  # its own, a plain one: the text that alone may be cut is too short for that
            raise UsageError(
                f"an input does not fit {self.max_tokens} tokens ({error}): leave truncation out, so that the longer text is cut"
            ) from error


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
    left = bool(before) and before["direction"] == "left" and not stride  # windows go from left to right
    _cut_at(tokenizer, Limits(max_tokens, stride, task.truncation), len(task.input_names), from_left=left)
    if any(tokenizer.encode("a").type_ids):
        raise FolderError(f"{source} gives token_type_ids other than 0 for one text: this tlx cannot run such a model")
    return Tokens(tokenizer=tokenizer, max_tokens=max_tokens, pad_id=pad_id, stride=stride, from_left=left)


def _cut_at(tokenizer: Any, limits: Limits, texts: int, *, from_left: bool) -> None:
    """The tokenizer cuts inputs of so many texts as the limits say; not pairs of which the longer text is cut: encode_pairs
    does that. tokenizers would make what it cuts off of two long texts into windows, each of one with each of the other, and
    two of a megabyte would take all memory."""
    if texts > 1 and limits.truncation == "longest_first":
        tokenizer.no_truncation()
        return
    direction = "left" if from_left else "right"
    tokenizer.enable_truncation(
        limits.max_tokens, stride=limits.stride, strategy=limits.truncation, direction=direction
    )


def _longest_first(parts: Sequence[int | None], max_tokens: int, *, from_left: bool) -> NDArray[np.int64]:
    """Which tokens of a pair stay, as tokenizers' "longest_first" has it: the longer text is cut to what the shorter
    leaves, and where both have more than half of the room each gets half, the longer the odd token.

    `parts` tells the text of each token, 0 or 1, or None of special ones, which all stay.
    """
    owner = np.array([-1 if part is None else part for part in parts])
    places = [np.flatnonzero(owner == text) for text in (0, 1)]
    room = max(max_tokens - int((owner < 0).sum()), 0)
    short, long = sorted((0, 1), key=lambda text: len(places[text]))
    sizes = {short: min(len(places[short]), room // 2)}
    sizes[long] = room - sizes[short]
    kept = [
        places[text][len(places[text]) - sizes[text] :] if from_left else places[text][: sizes[text]] for text in sizes
    ]
    return np.sort(np.concatenate([np.flatnonzero(owner < 0), *kept]))


def _not_unicode(texts: Sequence[str]) -> UsageError:
    bad = next((text for text in texts if not is_unicode(text)), "")
    return UsageError(NOT_UNICODE.format(bad[:40]))
