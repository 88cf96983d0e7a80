"""Encoding as transformers does, and batches that hold every row once within their budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.runtime.tasks.classification import TextClassification
from tlx.train.batches import Rows, TokenRows, encode, plan_batches, sorted_batches, token_rows, tokens_of, with_words
from tlx.train.loop import _own_share
from tlx.train.pretrained import load_tokenizer
from tlx.train.terms.distillation import mean_per_word

TASK = TextClassification(labels=("a", "b"))
lengths = st.lists(st.integers(1, 90), min_size=1, max_size=300).map(lambda items: np.array(items, dtype=np.int64))


@settings(max_examples=50)
@given(lengths=lengths, budget=st.integers(1, 400), seed=st.integers(0, 5))
def test_every_row_is_in_one_batch_and_no_batch_is_over_its_budget(lengths: np.ndarray, budget: int, seed: int) -> None:
    for batches in (
        plan_batches(lengths, budget, np.random.default_rng(seed), group=3),
        list(sorted_batches(lengths, budget)),
    ):
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
        for rows in batches:
            assert len(rows) == 1 or len(rows) * lengths[rows].max() <= budget


def test_the_same_seed_plans_the_same_batches_and_another_does_not() -> None:
    lengths = np.arange(1, 200, dtype=np.int64)
    plans = [plan_batches(lengths, 300, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert [p.tolist() for p in plans[0]] == [p.tolist() for p in plans[1]]
    assert [p.tolist() for p in plans[0]] != [p.tolist() for p in plans[2]]


def test_ids_and_masks_are_those_of_transformers(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    texts = ["play some music", "", "turn off the lights now please " * 12, "漢字 🎉 card", "\tmy\ncard"]
    rows = np.array([2, 0, 1, 4, 3])
    tokens = tokens_of(tokenizer, 20, TASK)
    inputs = token_rows(encode(TASK, tokens, texts), tokens.pad_id or 0).padded(rows)
    wanted = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=20, return_tensors="pt")
    assert torch.equal(inputs["input_ids"], wanted["input_ids"])
    assert torch.equal(inputs["attention_mask"], wanted["attention_mask"])


def test_word_numbers_join_the_pieces_of_a_word(base: Path) -> None:
    tokens = tokens_of(load_tokenizer(str(base)), 20, TASK)
    rows = with_words(token_rows(encode(TASK, tokens, ["play zoo music"]), 0), tokens, ["play zoo music"])
    assert rows.words is not None
    # [CLS] play z ##o ##o music [SEP]
    assert rows.words.tolist() == [0, 1, 2, 2, 2, 3, 4]


def test_word_numbers_of_a_pair_go_on_in_the_second_text(base: Path) -> None:
    pair = TextClassification(labels=("a", "b"), pair=True)
    tokens = tokens_of(load_tokenizer(str(base)), 20, pair)
    given = [("play music", "zoo")]
    rows = with_words(token_rows(encode(pair, tokens, given), 0), tokens, given)
    assert rows.words is not None
    assert rows.types is not None
    # [CLS] play music [SEP] z ##o ##o [SEP]
    assert rows.words.tolist() == [0, 1, 2, 3, 4, 4, 4, 5]
    assert rows.types.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_word_numbers_of_pairs_that_are_cut_stay_with_their_tokens(base: Path) -> None:
    pair = TextClassification(labels=("a", "b"), pair=True)
    tokens = tokens_of(load_tokenizer(str(base)), 8, pair)
    given = [("play music play music", "zoo play music zoo"), ("play", "music")]
    rows = with_words(token_rows(encode(pair, tokens, given), 0), tokens, given)
    assert rows.words is not None
    assert rows.starts.tolist() == [0, 8, 13]
    # [CLS] play music [SEP] z ##o ##o [SEP], [CLS] play [SEP] music [SEP]
    assert rows.words.tolist() == [0, 1, 2, 5, 6, 6, 6, 10, 0, 1, 2, 3, 4]


def test_words_of_both_models_are_numbered_anew_without_gaps() -> None:
    own = TokenRows(
        ids=np.zeros(9, np.int32),
        starts=np.array([0, 4, 9]),
        pad_id=0,
        words=np.array([0, 1, 2, 901, 0, 1, 1, 2, 3], np.int32),
    )
    teacher = TokenRows(
        ids=np.zeros(8, np.int32),
        starts=np.array([0, 5, 8]),
        pad_id=0,
        words=np.array([0, 1, 2, 3, 901, 0, 1, 3], np.int32),
    )
    batch = Rows(student=own, teacher=teacher).batch(np.array([0, 1]))
    assert batch.words is not None
    assert batch.teacher_words is not None
    assert batch.words.tolist() == [[0, 1, 2, 4, -1], [0, 1, 1, 2, 3]]
    assert batch.teacher_words.tolist() == [[0, 1, 2, 3, 4], [0, 1, 3, -1, -1]]


def test_states_are_averaged_over_the_pieces_of_each_word() -> None:
    states = torch.arange(10, dtype=torch.float32).view(1, 5, 2)
    words = torch.tensor([[0, 1, 1, 2, -1]])
    means, there = mean_per_word(states, words, 3)
    assert means.tolist() == [[[0.0, 1.0], [3.0, 4.0], [6.0, 7.0]]]
    assert there.tolist() == [[True, True, True]]


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 3, 8, 9])
def test_every_process_has_as_many_batches_and_all_together_have_each(count: int, processes: int) -> None:
    batches = [np.array([i]) for i in range(count)]
    shares = [_own_share(batches, index, processes) for index in range(processes)]
    assert {len(share) for share in shares} == {-(-count // processes)}
    assert {int(batch[0]) for share in shares for batch in share} == set(range(count))
