"""Token ids of everyday text from a table of words: what a BERT tokenizer gives for it, several times as fast.

A BERT tokenizer (BertNormalizer, BertPreTokenizer and WordPiece; Devlin et al. 2019) cuts a text at white space, around
each mark and each Chinese character, and spells every piece on its own. So a piece met before need not be spelt again.
Texts with characters other than letters, digits, marks and Chinese are left to the tokenizer, and so is every new piece.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from itertools import chain
from typing import Any

__all__ = ["Words", "words_of"]

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
# Marks that the pre-tokenizer sets apart and the normalizer leaves as they are, as it does the Chinese characters.
MARKS = PUNCTUATION + "，。！？、：；（）《》〈〉「」『』【】“”‘’…—"
CHINESE = "\u4e00-\u9fff"
PIECES = re.compile(r"[a-zA-Z0-9]+|[^\sa-zA-Z0-9]")  # of an everyday text
LIMIT = 8192  # pieces kept, somewhat over a megabyte
LONGEST = 2000  # characters of a text


class Words:
    """The table. Safe to use from many threads: what two of them write at once is the same.

    When it is full, texts with a piece that it lacks are left to the tokenizer; after as many of them as the table has
    pieces it starts anew, so that it follows what it is given.
    """

    def __init__(
        self,
        spell: Callable[[str], list[int]],
        before: list[int],
        after: list[int],
        marks: str,
        *,
        lower: bool,
        chinese: bool,
    ) -> None:
        self._spell, self._before, self._after, self._lower = spell, before, after, lower
        self._marks, self._chinese = marks, chinese
        self._everyday = self._class_of("".join(mark for mark in marks if mark.isascii()))
        self._known: dict[str, list[int]] = {}
        self._missed = 0

    def encode(self, text: str) -> list[int] | None:
        """The ids of the whole text, special tokens included, however many; None where the tokenizer has to say."""
        everyday = self._everyday if text.isascii() else self._everyday_beyond_ascii
        if len(text) > LONGEST or everyday.fullmatch(text) is None:
            return None
        pieces = PIECES.findall(text.lower() if self._lower else text)
        known = self._known
        try:
            spelt = [known[piece] for piece in pieces]
        except KeyError:
            if len(known) >= LIMIT:
                self._missed += 1
                if self._missed > LIMIT:
                    self._known, self._missed = {}, 0
                return None
            for piece in pieces:
                if piece not in known:
                    known[piece] = self._spell(piece)
            spelt = [known[piece] for piece in pieces]
        return [*self._before, *chain.from_iterable(spelt), *self._after]

    @cached_property
    def _everyday_beyond_ascii(self) -> re.Pattern[str]:
        # Later, as it takes a millisecond of the way to a first answer.
        return self._class_of(self._marks, CHINESE if self._chinese else "")

    @staticmethod
    def _class_of(marks: str, others: str = "") -> re.Pattern[str]:
        return re.compile(f"[a-zA-Z0-9 \t\r\n{re.escape(marks)}{others}]*")


def words_of(tokenizer: Any) -> Words | None:
    """The table for a tokenizers.Tokenizer that does not pad; None where it is not BERT's.

    An added token is found anywhere in a text, so texts with a mark that occurs in one are left to the tokenizer.
    """
    normalizer = tokenizer.normalizer
    kinds = tuple(type(part).__name__ for part in (normalizer, tokenizer.pre_tokenizer, tokenizer.model))
    if kinds != ("BertNormalizer", "BertPreTokenizer", "WordPiece"):
        return None
    marks = set(MARKS)
    for token in tokenizer.get_added_tokens_decoder().values():
        inside = set(token.content) & set(PUNCTUATION)
        if not inside:
            return None
        marks -= inside

    def spell(piece: str) -> list[int]:
        ids: list[int] = tokenizer.encode(piece, add_special_tokens=False).ids
        return ids

    whole, inner = tokenizer.encode("a").ids, spell("a")
    start = next((s for s in range(len(whole)) if whole[s : s + len(inner)] == inner), None)
    if start is None or not inner:
        return None
    before, after = whole[:start], whole[start + len(inner) :]
    chinese = normalizer.handle_chinese_chars
    return Words(spell, before, after, "".join(sorted(marks)), lower=normalizer.lowercase, chinese=chinese)
