"""The beginning of a text that is far longer than a model reads: as much of it as can matter."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["beginning", "is_unicode", "spells_words_alone"]

CHARACTERS = 32  # a token; English takes 4 to 5
GAP = re.compile("[ \n]")


def beginning(text: str, max_tokens: int) -> str:
    """The text up to a gap behind 32 characters a token; the whole text where it has none there, or is shorter.

    A text that is not Unicode is left as it is, for the tokenizer to refuse.
    """
    start = max_tokens * CHARACTERS
    if len(text) < 2 * start:
        return text
    gap = GAP.search(text, start, 2 * start)
    if gap is None or not is_unicode(text):
        return text
    return text[: gap.start()]


def spells_words_alone(tokenizer: Any) -> bool:
    """Whether a tokenizers.Tokenizer gives a text's tokens up to a gap without regard to what follows.

    True of BERT's: its normalizer changes one character at a time (of accents, what belongs to the letter before them),
    its pre-tokenizer cuts at white space, WordPiece spells each piece alone; as long as no added token spans a gap.
    """
    parts = (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.model)
    if tuple(type(part).__name__ for part in parts) != ("BertNormalizer", "BertPreTokenizer", "WordPiece"):
        return False
    added = tokenizer.get_added_tokens_decoder().values()
    return not any(character.isspace() for token in added for character in token.content)


def is_unicode(text: str) -> bool:
    """Whether the text holds no lone surrogate."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
