"""New texts from old ones: distinct, as many as asked, the same under a seed, in any script."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tlx.runtime.errors import UsageError
from tlx.train.augment import Augmenter, augment, augment_pairs
from tlx.train.neighbours import embedding_neighbours, whole_words
from tlx.train.units import Units

ENGLISH = [
    "please cancel my card",
    "what is the weather in paris tomorrow",
    "turn off the lights in the kitchen",
    "play some music in the kitchen",
    "how much money is on my card",
    "what is the balance of my account",
]
CHINESE = ["今天北京天气怎么样", "请帮我取消信用卡", "明天上海天气怎么样", "播放一首周杰伦的歌", "我的iPhone 15在哪里"]
LABELS = ["card", "weather", "lights", "music", "card", "card"]


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE])
def test_as_many_new_distinct_texts_come_back_as_were_asked_for(texts):
    new = augment(texts, count=300, seed=1)
    assert len(new) == len(set(new)) == 300
    assert not set(new) & set(texts)
    assert all(text.strip() == text and text for text in new)


def test_the_seed_decides_the_texts():
    first = augment(ENGLISH, count=50, seed=3, gold=LABELS)
    assert augment(ENGLISH, count=50, seed=3, gold=LABELS) == first
    assert augment(ENGLISH, count=50, seed=4, gold=LABELS) != first


def test_a_stream_goes_on_without_repeating():
    stream = Augmenter(ENGLISH, seed=0)
    first, second = stream.take(50), stream.take(50)
    assert len({*first, *second}) == 100


def test_without_neighbours_only_words_of_the_data_are_used_and_no_text_is_longer_than_theirs():
    words = {word for text in ENGLISH for word in text.split()}
    for text in augment(ENGLISH, count=300, seed=0):
        assert set(text.split()) <= words
        assert len(text.split()) <= max(len(text.split()) for text in ENGLISH)


def test_chinese_texts_are_made_of_characters_without_spaces_between():
    characters = {*"".join(CHINESE)}
    new = augment(CHINESE, count=200, seed=0)
    assert {*"".join(new)} <= characters
    assert all(" " not in text.replace("iPhone 15", "").replace("15 iPhone", "") or "iPhone" in text for text in new)
    assert max(map(len, new)) <= max(map(len, CHINESE)) + 20


def test_neighbours_bring_in_words_that_the_data_do_not_hold_in_the_case_and_punctuation_of_the_old():
    texts = ["Is the Card lost?", "I want a new CARD!", "My card is gone."]
    new = " ".join(augment(texts, count=100, seed=0, neighbours={"card": ["ticket"], "lost": ["missing"]}))
    assert "Ticket" in new
    assert "TICKET!" in new
    assert " ticket" in new
    assert "missing?" in new


def test_texts_that_begin_with_a_capital_go_on_doing_so():
    texts = ["The card is lost", "Is the card lost", "Find the card today", "Today is the day", "Lost is the day"]
    assert all(text[0].isupper() for text in augment(texts, count=50, seed=0))
    assert not any(word == "The" for text in augment(texts, count=50, seed=0) for word in text.split()[1:])


def test_fewer_texts_come_back_when_the_data_yield_no_more():
    assert augment(["yes"], count=10, seed=0) == []
    assert augment([], count=10, seed=0) == []
    assert augment(["", "  "], count=10, seed=0) == []
    assert set(augment(["a b"], count=10, seed=0)) <= {"a", "b", "b a", "a a", "b b"}


def test_labels_that_do_not_match_the_texts_are_refused():
    with pytest.raises(UsageError, match="6 texts but 2 labels: wanted one for each"):
        augment(ENGLISH, count=1, seed=0, gold=["a", "b"])
    with pytest.raises(UsageError, match="-1 texts asked for"):
        augment(ENGLISH, count=-1, seed=0)


PAIRS = [*zip(ENGLISH, ENGLISH[1:], strict=False), *zip(CHINESE, CHINESE[2:], strict=False)]


def test_new_pairs_are_distinct_and_the_seeds():
    new = augment_pairs(PAIRS, count=200, seed=1)
    assert len(new) == len(set(new)) == 200
    assert not set(new) & set(PAIRS)
    assert augment_pairs(PAIRS, count=200, seed=1) == new != augment_pairs(PAIRS, count=200, seed=2)


def test_new_pairs_are_near_old_ones_put_together_anew_alike_or_turned_round():
    new = augment_pairs(PAIRS, count=200, seed=0)
    firsts, seconds = {first for first, _ in PAIRS}, {second for _, second in PAIRS}
    old = set(PAIRS)
    assert sum(first in firsts or second in seconds for first, second in new) > 100
    assert any(first in firsts and second in seconds for first, second in new)
    assert any((second, first) in old for first, second in new)
    assert any(set(first.split()) & set(second.split()) for first, second in new if " " in first)


def test_fewer_pairs_come_back_when_the_data_yield_no_more():
    assert augment_pairs([], count=5, seed=0) == []
    assert augment_pairs([("", "  ")], count=5, seed=0) == []
    assert set(augment_pairs([("a", "b")], count=50, seed=0)) <= {(x, y) for x in "ab" for y in "ab"} - {("a", "b")}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=6), st.integers(0, 2**32))
def test_any_pairs_give_distinct_new_ones_with_two_texts(pairs, seed):
    new = augment_pairs(pairs, count=10, seed=seed, neighbours={"a": ["b"]})
    assert len(set(new)) == len(new) <= 10
    assert not set(new) & set(pairs)
    assert all(first.strip() and second.strip() for first, second in new)


@settings(max_examples=60)
@given(st.lists(st.text(max_size=30), max_size=8), st.integers(0, 2**32), st.booleans())
def test_any_texts_give_distinct_new_ones_no_longer_than_they_are(texts, seed, with_neighbours):
    neighbours = {word: ["other", "words"] for text in texts for word in text.split()} if with_neighbours else None
    new = augment(texts, count=20, seed=seed, neighbours=neighbours, gold=[len(text) % 2 for text in texts])
    assert len(set(new)) == len(new) <= 20
    assert not set(new) & set(texts)
    assert all(text.strip() for text in new)
    assert new == augment(texts, count=20, seed=seed, neighbours=neighbours, gold=[len(text) % 2 for text in texts])


@settings(max_examples=100)
@given(st.lists(st.text(max_size=30), max_size=5))
def test_splitting_and_joining_keeps_all_but_white_space_and_the_first_letters_case(texts):
    units = Units(texts)
    for text in texts:
        kept = "".join(units.join(units.split(text)).split())
        assert kept.casefold() == "".join(text.split()).casefold()
        assert bool(units.split(text)) == bool(text.strip())


@pytest.mark.parametrize(
    ("texts", "units"),
    [
        (["天气怎么样 ok 吗"], ["天", "气", "怎", "么", "样", "ok", "吗"]),
        (["今天 天气 怎么样 啊"], ["今天", "天气", "怎么样", "啊"]),
        (["กี่โมงแล้ว"], ["กี่", "โ", "ม", "ง", "แ", "ล้", "ว"]),
        (["날씨 어때"], ["날씨", "어때"]),
        (["it's  ok, 好"], ["it's", "ok,", "好"]),
    ],
)
def test_units_are_words_where_there_are_spaces_and_characters_where_there_are_none(texts, units):
    assert Units(texts).split(texts[0]) == units


def tokenizer(*tokens: str) -> Tokenizer:
    return Tokenizer(WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=tokens[0]))


def test_neighbours_are_the_nearest_whole_words_of_the_whole_vocabulary_best_first():
    words = tokenizer("[UNK]", "card", "ticket", "rain", "##s", "pass", "x", "Paris")
    table = np.array([[0, 0], [1, 0], [1, 0.1], [-1, 0.2], [1, 0], [0.9, 0.3], [1, 0], [0, -1]], dtype=np.float32)
    found = embedding_neighbours(words, table, ["my Card, please: card", "Paris"], k=2)
    assert found["card"] == found["Card"] == ("ticket", "pass")
    assert set(found) == {"card", "Card", "Paris"}


def test_whole_words_are_told_by_the_marks_of_their_tokenizer():
    assert set(whole_words({"##ing": 0, "run": 1, "a": 2, "[CLS]": 3, "天": 4, "12": 5})) == {"run", "天"}
    assert set(whole_words({"Ġrun": 0, "ning": 1, "Ġa": 2, "Ġwalk": 3})) == {"run", "walk"}
    assert set(whole_words({"▁run": 0, "ning": 1, "天气": 2, "天": 3, "<s>": 4})) == {"run", "天气", "天"}


class Shuffled:
    """A vocabulary that tells its tokens in another order each time, as tokenizers does in each process."""

    def __init__(self, seed: int) -> None:
        names = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(400)]
        order = np.random.default_rng(seed).permutation(len(names))
        self.vocabulary = {names[i]: int(i) for i in order} | {"same": 400}

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary


def test_neighbours_are_the_same_in_whatever_order_a_process_is_told_the_vocabulary():
    # Many rows are equal, and others nearly: their order must not be that of the vocabulary's hash map.
    table = np.random.default_rng(0).normal(size=(401, 16)).round().astype(np.float32)
    table[200:400] = table[:200] * np.float32(1.1)
    texts = [" ".join(Shuffled(0).vocabulary)]
    first, *others = (embedding_neighbours(Shuffled(seed), table, sorted(texts[0].split())) for seed in range(5))
    assert len(first) == 401
    assert all(other == first for other in others)
    assert len({tuple(whole_words(Shuffled(seed).get_vocab())) for seed in range(5)}) == 1


def test_embeddings_of_another_tokenizer_are_refused():
    with pytest.raises(UsageError, match="the tokenizer has token 1, the embeddings have 1 rows"):
        embedding_neighbours(tokenizer("[UNK]", "card"), np.zeros((1, 2), dtype=np.float32), ["card"])
