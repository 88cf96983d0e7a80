"""Where transformers.pipeline is plainly wrong about accents that stand as characters of their own."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection


def with_marks(text: str, end: int, starts: Collection[int]) -> int:
    """Where an answer of transformers ends when it is not cut before combining marks that no token has.

    Tokenizers that strip or compose accents end the token of "Jose\u0301" before its accent, and transformers the answer too.
    `starts` is where tokens begin.
    """
    for place in range(end, len(text) + 1):
        if place == len(text) or place in starts or not unicodedata.category(text[place]).startswith("M"):
            return place
    return end
