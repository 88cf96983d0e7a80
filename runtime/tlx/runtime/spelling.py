"""How a tokenizer writes words: which tokens go on with the word before, and tokens back to text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CJK", "Spelling", "past_marks", "spelling_of"]

CJK = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff65\U00020000-\U0003ffff"
"""Chinese characters, kana, and their punctuation, for a regular expression: what is written without spaces."""
UNKNOWN = ("<unk>", "[UNK]")
_BREAK = re.compile(rf"[\s{CJK}]")


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """Of one tokenizer. `prefix` marks tokens inside a word ("##"), None where no token tells.

    `unknown` is the id of the unknown token, which is shown as the text that it stands for; -1 where there is none.
    """

    tokenizer: Any
    prefix: str | None
    unknown: int

    def tokens(self, ids: Sequence[int], text: str, starts: Sequence[int], ends: Sequence[int]) -> list[str]:
        """The tokens as the vocabulary has them, unknown ones as the text has them."""
        name, unknown = self.tokenizer.id_to_token, self.unknown
        return [
            text[start:end] if index == unknown else name(index)
            for index, start, end in zip(ids, starts, ends, strict=True)
        ]

    def join(self, tokens: Sequence[str]) -> str:
        """The tokens as text."""
        if self._decoder is None:
            return " ".join(tokens)
        joined: str = self._decoder.decode(list(tokens))
        return joined

    def inside(
        self, ids: NDArray[np.int64], text: str, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which tokens of a text go on with the word of the token before them, `(tokens,)`.

        Where the vocabulary marks them it is asked. Else a word begins at white space, and each Chinese or Japanese
        character is one; the pieces of one character (byte-level tokenizers) belong together, and a token of white space
        alone belongs to the word before it.
        """
        if self.prefix is not None:
            found: NDArray[np.bool_] = self._marked[ids] & (ids != self.unknown)
            return found
        going_on, before = [], 0
        for index, start, end in zip(ids.tolist(), starts.tolist(), ends.tolist(), strict=True):
            apart = start == 0 or index == self.unknown or _BREAK.search(text, start - 1, start + 1) is not None
            going_on.append(start < before or not apart or (before > 0 and not text[start:end].strip()))
            before = end
        return np.array(going_on, dtype=np.bool_)

    @cached_property
    def _decoder(self) -> Any:
        return self.tokenizer.decoder

    @cached_property
    def _marked(self) -> NDArray[np.bool_]:
        marked = np.zeros(max(self.tokenizer.get_vocab(True).values()) + 1, dtype=np.bool_)  # ids may have holes
        for token, index in self.tokenizer.get_vocab(True).items():
            if token.startswith(self.prefix) and index < len(marked):
                marked[index] = True
        return marked


def spelling_of(tokenizer: Any) -> Spelling:
    """That of a tokenizers.Tokenizer."""
    model = tokenizer.model
    names = (getattr(model, "unk_token", None), *UNKNOWN)
    unknown = next((i for name in names if name and (i := tokenizer.token_to_id(name)) is not None), -1)
    prefix = getattr(model, "continuing_subword_prefix", None) or None
    return Spelling(tokenizer=tokenizer, prefix=prefix, unknown=unknown)


def past_marks(text: str, end: int, starts: NDArray[np.integer[Any]]) -> int:
    """`end`, moved behind the combining marks that follow it and that no token has; `starts` is where tokens begin.

    A tokenizer that strips or composes accents ends the token of "Jose\\u0301" before its accent.
    """
    if end == len(text) or not _is_mark(text[end]):
        return end
    later = starts[starts >= end]
    limit = int(later.min()) if len(later) else len(text)
    while end < limit and _is_mark(text[end]):
        end += 1
    return end


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")
