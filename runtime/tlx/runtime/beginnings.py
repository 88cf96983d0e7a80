"""The beginning of a text that is far longer than a model reads: as much of it as can matter."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["beginning", "gap_of", "is_unicode"]

CHARACTERS = 32  # a token; English takes 4 to 5
GAP = re.compile("[ \n]")
IDEOGRAPH = "\u3400-\u4dbf\u4e00-\u9fff"
GAP_OR_IDEOGRAPH = re.compile(f"[ \n{IDEOGRAPH}]")


def beginning(text: str, max_tokens: int, gap: re.Pattern[str] = GAP) -> str:
    """The text up to a gap behind 32 characters a token; the whole text where it has none there, or is shorter.

    A text that is not Unicode is left as it is, for the tokenizer to refuse.
    """
    start = max_tokens * CHARACTERS
    if len(text) < 2 * start:
        return text
    found = gap.search(text, start, 2 * start)
    if found is None or not is_unicode(text):
        return text
    return text[: found.start()]


def gap_of(tokenizer: Any) -> re.Pattern[str] | None:
    """Where a tokenizers.Tokenizer gives a text's tokens up to there without regard to what follows; None: nowhere that is known.

    BERT's does at white space: its normalizer changes one character at a time (of accents, what belongs to the letter before them),
    its pre-tokenizer cuts at white space, WordPiece spells each piece alone; as long as no added token spans a gap. And before
    an ideograph, where it parts these.
    """
    parts = (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.model)
    if tuple(type(part).__name__ for part in parts) != ("BertNormalizer", "BertPreTokenizer", "WordPiece"):
        return None
    added = "".join(token.content for token in tokenizer.get_added_tokens_decoder().values())
    if any(map(str.isspace, added)):
        return None
    parted = parts[0].handle_chinese_chars and not GAP_OR_IDEOGRAPH.search(added)
    return GAP_OR_IDEOGRAPH if parted else GAP


def is_unicode(text: str) -> bool:
    """Whether the text holds no lone surrogate."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
