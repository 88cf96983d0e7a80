"""Metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from tlx.runtime.errors import DataError
from tlx.runtime.examples import Examples
from tlx.runtime.metrics import multi_label_f1
from tlx.runtime.tasks.classification import TextClassification
from tlx.runtime.tasks.task import Encoded, Outputs


def given(logits):
    return Outputs([""] * len(logits), Encoded([]), logits)


LABELS = ("a", "b", "c", "d", "e")


def logits_and_gold(seed: int) -> tuple[np.ndarray, np.ndarray]:
    chooser = np.random.default_rng(seed)
    return chooser.normal(size=(60, 5)).astype(np.float32), chooser.integers(0, 4, size=60)


@pytest.mark.parametrize("seed", range(5))
def test_single_label_metrics_are_those_of_scikit_learn(seed: int) -> None:
    logits, gold = logits_and_gold(seed)
    examples = Examples(source="x", inputs=[""] * 60, gold=[LABELS[i] for i in gold], labels=LABELS)
    metrics = TextClassification(labels=LABELS).metrics(given(logits), examples)
    best = logits.argmax(axis=1)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(gold, best))
    assert metrics["macro_f1"] == pytest.approx(f1_score(gold, best, average="macro"))


@pytest.mark.parametrize("seed", range(5))
def test_multi_label_metrics_are_those_of_scikit_learn(seed: int) -> None:
    logits, _ = logits_and_gold(seed)
    gold = np.random.default_rng(seed + 100).random((60, 5)) < 0.3
    items = [tuple(label for label, on in zip(LABELS, row, strict=True) if on) for row in gold]
    examples = Examples(source="x", inputs=[""] * 60, gold=items, labels=LABELS)
    metrics = TextClassification(labels=LABELS, multi_label=True).metrics(given(logits), examples)
    predicted = logits >= 0
    assert metrics["micro_f1"] == pytest.approx(f1_score(gold, predicted, average="micro"))
    assert metrics["macro_f1"] == pytest.approx(f1_score(gold, predicted, average="macro"))
    assert metrics["accuracy"] == pytest.approx(accuracy_score(gold, predicted))


@pytest.mark.parametrize("silent", [(), (0,), (1, 4), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("unseen", [(), (1,), (1, 4), (0, 1, 2, 3, 4)])
def test_macro_f1_of_labels_that_never_occur_is_that_of_scikit_learn(
    silent: tuple[int, ...], unseen: tuple[int, ...]
) -> None:
    logits, _ = logits_and_gold(7)
    gold = np.random.default_rng(8).random((60, 5)) < 0.3
    logits[:, list(silent)], gold[:, list(unseen)] = -1, False
    macro, micro = multi_label_f1(logits >= 0, gold)
    assert macro == pytest.approx(f1_score(gold, logits >= 0, average="macro", zero_division=0))
    assert micro == pytest.approx(f1_score(gold, logits >= 0, average="micro", zero_division=0))


def test_a_label_that_the_model_does_not_know_counts_as_an_error() -> None:
    logits = np.eye(2, dtype=np.float32) * 9
    examples = Examples(source="x", inputs=["", ""], gold=["a", "z"], labels=("a", "z"))
    assert TextClassification(labels=("a", "b")).metrics(given(logits), examples)["accuracy"] == 0.5
    sets = Examples(source="x", inputs=["", ""], gold=[("a",), ("b", "z")], labels=("a", "b", "z"))
    metrics = TextClassification(labels=("a", "b"), multi_label=True, thresholds=(0.9, 0.9)).metrics(
        given(logits), sets
    )
    assert metrics["accuracy"] == 0.5
    assert metrics["micro_f1"] == pytest.approx(2 * 2 / (2 + 3))


def test_lists_of_labels_are_refused_by_a_single_label_model() -> None:
    examples = Examples(source="data.csv", inputs=[""], gold=[("a", "b")], labels=("a", "b"))
    with pytest.raises(DataError, match=r"data\.csv has lists of labels, the model gives one label a text"):
        TextClassification(labels=("a", "b")).metrics(given(np.zeros((1, 2), dtype=np.float32)), examples)


def test_scores_of_extreme_logits_are_probabilities() -> None:
    logits = np.array([[1000.0, -1000.0]], dtype=np.float32)
    for task in (TextClassification(labels=("a", "b")), TextClassification(labels=("a", "b"), multi_label=True)):
        np.testing.assert_allclose(task.scores(logits), [[1.0, 0.0]])
