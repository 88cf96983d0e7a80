"""Pairs that are too long are cut as tokenizers cuts them, at a cost that grows with the texts alone."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from tlx.runtime.tasks import task_named
from tlx.runtime.tokens import open_tokens

PAIRS: Any = task_named("text-classification")(labels=("a", "b"), pair=True)  # type: ignore[call-arg]


def tokenizer(direction: str, template: str = "[CLS] $A [SEP] $B:1 [SEP]:1") -> Tokenizer:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"a{i}" for i in range(40)), *(f"b{i}" for i in range(40))]
    made = Tokenizer(WordLevel({name: index for index, name in enumerate(names)}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_truncation(16, direction=direction)
    return made


@pytest.mark.parametrize("direction", ["left", "right"])
@pytest.mark.parametrize("limit", [16, 17])
def test_a_pair_is_cut_as_tokenizers_cuts_it_whatever_the_lengths(direction: str, limit: int) -> None:
    made = tokenizer(direction)
    tokens = open_tokens(made.to_str().encode(), limit, "here", PAIRS)
    made.enable_truncation(limit, direction=direction)
    words = [" ".join(f"{letter}{i}" for i in range(40)).split() for letter in "ab"]
    for first, second in product(range(0, 40, 3), range(0, 40, 2)):
        pair = " ".join(words[0][:first]), " ".join(words[1][:second])
        expected = made.encode(*pair)
        found = tokens.encode_pairs([pair])
        assert found.rows[0].tolist() == expected.ids, (first, second)
        assert found.types is not None
        assert found.types[0].tolist() == expected.type_ids
        assert found.truncated == (first + second + 3 > limit)


def test_a_pair_of_long_texts_has_no_windows() -> None:
    tokens = open_tokens(tokenizer("right").to_str().encode(), 16, "here", PAIRS)
    (encoding,) = tokens.encodings([("a1 " * 500, "b1 " * 500)])
    assert encoding.overflowing == []
    assert len(tokens.encode_pairs([("a1 " * 500, "b1 " * 500)]).rows[0]) == 16
