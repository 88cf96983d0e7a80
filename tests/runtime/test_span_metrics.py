"""Spans and their F1, with seqeval as the oracle."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from tlx.runtime.span_metrics import span_scores, spans_of

TAG = st.sampled_from(["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "I-a-b", "X"])
ROWS = st.lists(st.lists(st.tuples(TAG, TAG), min_size=1, max_size=8), min_size=1, max_size=5)


@given(st.lists(TAG, max_size=12))
@settings(max_examples=500)
def test_spans_are_those_of_seqeval(tags: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "X seems not to be NE tag"
        assert sorted(spans_of(tags)) == sorted(get_entities(tags))


@given(ROWS)
@settings(max_examples=200)
def test_scores_are_those_of_seqeval(rows: list[list[tuple[str, str]]]) -> None:
    gold, predicted = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    found = span_scores(gold, predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # divisions by zero are 0, said in a warning
        assert found["f1"] == pytest.approx(f1_score(gold, predicted))
        assert found["precision"] == pytest.approx(precision_score(gold, predicted))
        assert found["recall"] == pytest.approx(recall_score(gold, predicted))


def test_a_span_never_reaches_into_the_next_sentence() -> None:
    assert span_scores([["B-A"], ["I-A"]], [["B-A"], ["O"]]) == {
        "f1": pytest.approx(2 / 3),
        "precision": 1.0,
        "recall": 0.5,
    }


def test_without_any_span_the_scores_are_zero() -> None:
    assert span_scores([["O"]], [["O"]]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
