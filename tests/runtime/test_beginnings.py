"""Of a text that is far too long only the beginning is tokenized, and the ids are those of the whole text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, BertWordPieceTokenizer, Tokenizer
from tokenizers.pre_tokenizers import Whitespace

from tlx.runtime import UsageError
from tlx.runtime.beginnings import GAP, GAP_OR_IDEOGRAPH, beginning, gap_of
from tlx.runtime.tasks import task_named
from tlx.runtime.tokens import Tokens, open_tokens

TASK: Any = task_named("text-classification")(labels=("a", "b"))  # type: ignore[call-arg]
LIMIT = 8
LONG = LIMIT * 32
WORDS = [
    "ab",
    "abba",
    "[MASK]",
    "b" * 120,
    "e\u0301",
    "\u0301",
    "ß",
    "ΑΣ",
    "中文",
    "\u200b",
    "\x00",
    "a,b",
    "\u00a0",
    "?",
]
GAPS = [" ", "\n", "  ", "\t", "\u3000", ""]


def bert(added: tuple[str, ...] = (), direction: str = "right") -> Tokenizer:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abe,?中文", "##a", "##b", "σ", "##σ", "##ς", "α"]
    made = BertWordPieceTokenizer({piece: index for index, piece in enumerate(pieces)})._tokenizer
    made.add_special_tokens([AddedToken("[MASK]", lstrip=True)])
    made.add_tokens(list(added))
    made.enable_truncation(LIMIT, direction=direction)
    return Tokenizer.from_str(made.to_str())


def opened(tokenizer: Tokenizer) -> Tokens:
    return open_tokens(tokenizer.to_str().encode(), LIMIT, "here", TASK)


def same(tokenizer: Tokenizer, text: str) -> None:
    rows, truncated = opened(tokenizer).encode_many([text])
    expected = tokenizer.encode(text)
    assert rows[0].tolist() == expected.ids
    assert truncated == bool(expected.overflowing)


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), min_size=1, max_size=12))
def test_the_ids_and_the_count_are_those_of_the_whole_text(parts: list[tuple[str, str]]) -> None:
    once = "".join(word + gap for word, gap in parts)
    same(bert(), once * (2 * LONG // len(once) + 2))


def test_a_beginning_that_gives_too_few_tokens_does_not_settle_it() -> None:
    for text in ("\x00 " * LONG + "ab ab", "\x00 " * LONG + "a b " * LIMIT, "\x00 " * LONG):
        same(bert(), text)


def test_only_the_beginning_is_read_and_it_ends_at_a_gap() -> None:
    text = "abba ab b " * LONG
    assert beginning(text, LIMIT) == text[: text.index(" ", LONG)]
    assert beginning(text.replace(" ", "\n"), LIMIT) == text[: text.index(" ", LONG)].replace(" ", "\n")
    (encoding,) = opened(bert())._encoded([text], parallel=False)
    assert sum(len(rest) for rest in encoding.overflowing) < LONG


@pytest.mark.parametrize("text", ["ab " * LIMIT, "ab" * 2 * LONG, "ab " * LONG + "\ud800"])
def test_short_texts_texts_without_gaps_and_texts_that_are_not_unicode_stay_whole(text: str) -> None:
    assert beginning(text, LIMIT) is text


def test_a_text_without_white_space_ends_before_an_ideograph_where_these_are_parted() -> None:
    text = "中文ab" * LONG
    assert beginning(text, LIMIT, GAP_OR_IDEOGRAPH) == text[:LONG]
    assert gap_of(bert(added=("中文",))) == GAP
    (encoding,) = opened(bert())._encoded([text], parallel=False)
    assert sum(len(rest) for rest in encoding.overflowing) < 2 * LONG
    for made in (bert(), bert(added=("中文",))):
        same(made, text)


def test_a_text_that_is_not_unicode_at_its_end_is_refused_as_ever() -> None:
    with pytest.raises(UsageError, match="lone surrogate"):
        opened(bert()).encode_many(["ab " * LONG + "\ud800"])


def test_tokenizers_that_look_across_gaps_or_cut_from_the_left_read_the_whole_text() -> None:
    spaced, other, left = bert(added=("ab ab",)), bert(), bert(direction="left")
    other.pre_tokenizer = Whitespace()
    assert [gap_of(made) for made in (bert(), spaced, other)] == [GAP_OR_IDEOGRAPH, None, None]
    for made in (spaced, other, left):
        same(made, "b " * LONG + "ab ab a")
