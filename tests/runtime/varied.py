"""Texts of many kinds, drawn with a seed: for comparing with another implementation."""

from __future__ import annotations

import random

from tests.conftest import WORDS

PIECES = (
    *WORDS,
    "🙂",
    "👩‍👩‍👧",
    "e\u0301te\u0301",
    "a\u0323\u0302",
    "取消信用卡",
    "カード",
    "مرحبا",
    "שלום",
    "\t",
    "\n",
    "\u00a0",
    "\u200d",
    "ﬁ½",
    "Ünïcödé",
    "12.50",
    "[SEP]",
    "...!?",
)
ODD = (" ", "\t\n", "a", "🙂" * 70, "word " * 300, "music " * 61, "\u0301", "[CLS] [SEP]")


def varied_texts(count: int, seed: int = 0) -> list[str]:
    """None of them is empty."""
    draw = random.Random(seed)
    made = [" ".join(draw.choices(PIECES, k=draw.choice((1, 3, 8, 40)))) for _ in range(count - len(ODD))]
    return [*ODD, *made]


def varied_pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    first, second = varied_texts(count, seed), varied_texts(count, seed + 1)
    random.Random(seed).shuffle(second)
    return list(zip(first, second, strict=True))
