"""The table of words: the same ids as the tokenizer gives, or none."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Whitespace
from tokenizers.processors import TemplateProcessing

from tlx.runtime import words as module
from tlx.runtime.words import MARKS, words_of

ALPHABET = [chr(code) for code in range(32, 127)] + [
    *"\t\n\r",
    *MARKS,
    *"中文字一龥鿿",
    "é",
    "\u0301",
    "🙂",
    "\u3000",
    "\x0b",
]


def bert(*, lower: bool = True, chinese: bool = True, added: tuple[str, ...] = ()) -> Tokenizer:
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *"abcdeABDE012,.?-中文",
        *(f"##{c}" for c in "abcdeABE01"),
        "bad",
        "##ed",
    ]
    tokenizer = Tokenizer(
        WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]", max_input_chars_per_word=9)
    )
    tokenizer.normalizer = BertNormalizer(lowercase=lower, handle_chinese_chars=chinese)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.add_tokens([AddedToken(token, normalized=True) for token in added])
    return tokenizer


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("chinese", [True, False])
@given(text=st.text(st.sampled_from(ALPHABET), max_size=40))
def test_every_text_gets_the_tokenizers_ids_or_none(text: str, lower: bool, chinese: bool) -> None:
    tokenizer = bert(lower=lower, chinese=chinese)
    words = words_of(tokenizer)
    assert words is not None
    assert words.encode(text) in (None, tokenizer.encode(text).ids)


def test_every_character_it_takes_is_one_that_the_tokenizer_treats_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 10**6)
    tokenizer = bert()
    words = words_of(tokenizer)
    assert words is not None
    taken = [chr(code) for code in range(0x11000) if words.encode(f"a{chr(code)}b") is not None]
    assert {*"abz09 ?，中"} <= set(taken)
    assert not {*"[]", "é", "\x00", "\x7f", "\u3000"} & set(taken)
    for character in taken:
        for text in (character, f"bad{character}", f"{character}bad", f"a{character}{character}b"):
            assert words.encode(text) == tokenizer.encode(text).ids, repr(text)


def test_everyday_text_is_not_left_to_the_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of(bert())
    assert words is not None
    first = words.encode("Bad, bad cab? 中文")
    monkeypatch.setattr(words, "_spell", None)
    assert words.encode("Bad, bad cab? 中文") == first == words.encode("bad ,BAD cab?中 文")


@pytest.mark.parametrize("text", ["a [CLS] b", "a" * (module.LONGEST + 1), "café", "a\x00b", "a\u3000b"])
def test_other_texts_are_left_to_the_tokenizer(text: str) -> None:
    words = words_of(bert())
    assert words is not None
    assert words.encode(text) is None


def test_an_added_token_of_letters_rules_the_table_out_and_one_with_a_mark_that_mark() -> None:
    assert words_of(bert(added=("bade",))) is None
    words = words_of(bert(added=("<x>",)))
    assert words is not None
    assert words.encode("a <x> b") is None
    assert words.encode("a, b") is not None


def other(change: str) -> Tokenizer:
    tokenizer: Any = bert()
    if change == "model":
        tokenizer.model = BPE({"a": 0}, [])
    elif change == "pre_tokenizer":
        tokenizer.pre_tokenizer = Whitespace()
    else:
        tokenizer.normalizer = None
    return tokenizer


@pytest.mark.parametrize("change", ["model", "pre_tokenizer", "normalizer"])
def test_tokenizers_of_another_kind_have_no_table(change: str) -> None:
    assert words_of(other(change)) is None


def test_a_full_table_leaves_new_words_to_the_tokenizer_and_then_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 3)
    tokenizer = bert()
    words = words_of(tokenizer)
    assert words is not None
    assert words.encode("a b c") == tokenizer.encode("a b c").ids
    found = [words.encode("d e") for _ in range(5)]
    assert found[:4] == [None] * 4
    assert found[4] == tokenizer.encode("d e").ids
    assert words.encode("a b c d e") is not None or words.encode("d") is not None


def test_many_threads_share_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 40)
    tokenizer = bert()
    words = words_of(tokenizer)
    assert words is not None
    chance = random.Random(0)
    texts = [" ".join("".join(chance.choices("abcde", k=2)) for _ in range(6)) for _ in range(400)]
    wanted = [tokenizer.encode(text).ids for text in texts]
    wrong: list[str] = []

    def work() -> None:
        for text, ids in zip(texts, wanted, strict=True):
            if words.encode(text) not in (None, ids):
                wrong.append(text)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
