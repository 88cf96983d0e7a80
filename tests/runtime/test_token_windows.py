"""Offsets within the text, and long texts read in windows: every token once, where it has most context."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.marks import with_marks
from tests.runtime.tagging_oracle import KINDS, STRATEGIES, Tagger, assert_same
from tests.taggers import varied_texts

from tlx.runtime.predictor import Predictor
from tlx.runtime.tasks.task import Outputs, join_outputs
from tlx.runtime.tokens import open_tokens

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(text=TEXT, strategy=st.sampled_from(STRATEGIES))
def test_offsets_never_point_outside_the_text(kind: str, taggers: dict[str, Tagger], text: str, strategy: str) -> None:
    before = 0
    for entity in taggers[kind].tlx(text, aggregation_strategy=strategy):
        assert 0 <= entity["start"] <= entity["end"] <= len(text)
        assert entity["start"] >= before or kind == "bytes"
        assert 0.0 <= entity["score"] <= 1.0 + 1e-6
        before = entity["start"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_of_a_long_text_is_answered_once_and_in_order(kind: str, taggers: dict[str, Tagger]) -> None:
    both = taggers[kind]
    text = " ".join(varied_texts(60, seed=4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = both.tokenizer(text, return_offsets_mapping=True, truncation=False, add_special_tokens=True)
    ours = both.tlx(text, aggregation_strategy="none", ignore_labels=[])
    assert len(ours) > 200
    assert [entity["index"] for entity in ours] == list(range(1, len(whole["input_ids"]) - 1))
    offsets = whole["offset_mapping"][1:-1]
    begins = {start for start, _ in offsets}
    assert [(entity["start"], entity["end"]) for entity in ours] == [
        (a, with_marks(text, b, begins)) for a, b in offsets
    ]
    assert both.tlx.truncated == 0


def test_long_texts_among_short_ones_are_answered_alike(taggers: dict[str, Tagger]) -> None:
    tlx = taggers["wordpiece"].tlx
    texts = ["Anna", " ".join(varied_texts(30, seed=5)), "", " ".join(varied_texts(50, seed=6)), "Paris"]
    assert_same(tlx(texts), [tlx(text) for text in texts], texts)


def test_outputs_of_long_and_short_texts_are_joined_in_order(taggers: dict[str, Tagger]) -> None:
    tlx = taggers["wordpiece"].tlx
    texts = ["Anna", " ".join(varied_texts(30, seed=5)), "", "Paris"]
    joined = join_outputs([tlx.run([text]) for text in texts], None)
    assert_same(tlx.task.answers(joined), tlx(texts), texts)


class TokenAlone:
    """Values that depend on a token and its neighbours, so that the windows that saw both sides agree with no window."""

    def __init__(self, tlx: Predictor) -> None:
        self.tlx = tlx

    def outputs(self, text: str, max_tokens: int) -> Any:
        tokens = self.tlx._engine.tokens
        task = self.tlx.task
        fresh = open_tokens(tokens.tokenizer.to_str().encode(), max_tokens, "here", task)
        encoded = task.encode(replace(fresh, pad_id=0), [text])
        values = []
        for row in encoded.rows:
            edged = np.concatenate([[0, 0], row, [0, 0]]).astype(np.float64)
            near = np.stack([edged[shift : shift + len(row)] for shift in range(5)], axis=1)
            values.append(np.sin(near @ np.arange(1.0, 26.0).reshape(5, 5)))
        return Outputs([text], encoded, np.concatenate(values).astype(np.float32))


@pytest.mark.parametrize("max_tokens", [16, 23, 40])
def test_a_token_is_read_in_the_window_where_it_has_most_context(max_tokens: int, taggers: dict[str, Tagger]) -> None:
    """A model that sees two tokens to each side gives the same in windows as in one piece."""
    alone = TokenAlone(taggers["wordpiece"].tlx)
    task = alone.tlx.task
    text = " ".join(varied_texts(40, seed=7))
    windowed, whole = alone.outputs(text, max_tokens), alone.outputs(text, 4096)
    assert len(whole.encoded.rows) == 1
    assert len(windowed.encoded.rows) > 5
    for strategy in STRATEGIES:
        assert task.answers(windowed, aggregation_strategy=strategy) == task.answers(
            whole, aggregation_strategy=strategy
        )
