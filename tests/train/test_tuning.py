"""Thresholds and temperatures, against scikit-learn, scipy and exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlx.train.tuning import best_temperature, keeping_threshold, label_thresholds, line, rejecting_threshold

confidences = st.lists(st.floats(0, 1, width=32, allow_subnormal=False), min_size=1, max_size=60).map(
    lambda values: np.array(values, dtype=np.float32)
)


def scores_and_gold(rows: int, labels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    chooser = np.random.default_rng(seed)
    gold = chooser.random((rows, labels)) < np.linspace(0.3, 0.05, labels)
    return 1 / (1 + np.exp(-(2.0 * gold - 2.5 + chooser.normal(size=gold.shape)))), gold


@pytest.mark.parametrize("seed", range(2))
def test_without_a_prior_each_label_has_the_threshold_of_its_best_f1(seed: int) -> None:
    from sklearn.metrics import f1_score

    scores, gold = scores_and_gold(60, 3, seed)
    chosen = label_thresholds(scores, gold, prior=0.0)
    for column, threshold in enumerate(chosen):
        own, right = scores[:, column], gold[:, column]
        best = max(f1_score(right, own >= cut) for cut in own)
        assert f1_score(right, own >= threshold) == pytest.approx(best)


def test_the_common_threshold_is_the_one_of_best_micro_f1() -> None:
    from sklearn.metrics import f1_score

    scores, gold = scores_and_gold(60, 3, 5)
    common = label_thresholds(scores, gold, prior=1e12)
    assert np.ptp(common) < 1e-6
    best = max(f1_score(gold, scores >= cut, average="micro") for cut in scores.ravel())
    assert f1_score(gold, scores >= common[0], average="micro") == pytest.approx(best)


def test_a_label_with_few_positives_stays_near_the_common_threshold() -> None:
    scores, gold = scores_and_gold(400, 3, 6)
    gold[:, 2] = False
    common = label_thresholds(scores, gold, prior=1e12)[0]
    assert label_thresholds(scores, gold)[2] == pytest.approx(common)
    row = int(scores[:, 2].argmin())
    gold[row, 2] = True  # its best F1 would take nearly every text
    chosen = label_thresholds(scores, gold)[2]
    alone = label_thresholds(scores, gold, prior=0.0)[2]
    assert abs(chosen - common) < abs(alone - common) / 2


def test_labels_that_never_occur_have_thresholds_of_one_half() -> None:
    assert label_thresholds(np.full((3, 2), 0.2), np.zeros((3, 2), dtype=bool)) == [0.5, 0.5]


def test_no_threshold_parts_scores_that_are_equal() -> None:
    gold = np.array([[True], [False], [True], [False]])
    assert label_thresholds(np.array([[0.5], [0.5], [0.5], [0.1]]), gold, prior=0.0)[0] == pytest.approx(0.3)


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_minimises_the_loss_as_scipy_finds_it(true: float) -> None:
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    chooser = np.random.default_rng(1)
    logits = chooser.normal(size=(2000, 6)) * 2
    gold = np.array([chooser.choice(6, p=np.exp(row)) for row in log_softmax(logits, axis=1)])
    logits = logits * true

    def loss(log_t: float) -> float:
        scores, doubt = log_softmax(logits / np.exp(log_t), axis=1), 1 / 2002
        return float(-((1 - doubt) * scores[np.arange(2000), gold] + doubt * scores.mean(axis=1)).mean())

    found = best_temperature(logits, gold)
    assert found == pytest.approx(float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)), rel=1e-3)
    assert found == pytest.approx(true, rel=0.1)


def test_a_model_that_is_right_everywhere_is_not_made_certain() -> None:
    for rows in (10, 1000):
        logits, gold = np.tile(np.eye(4) * 5, (rows // 2, 1)), np.tile(np.arange(4), rows // 2)
        scaled = np.exp(logits / best_temperature(logits, gold))
        doubt = 1 / (len(gold) + 2)
        confidence = (scaled.max(axis=1) / scaled.sum(axis=1)).mean()
        assert confidence == pytest.approx(1 - doubt * 3 / 4, abs=1e-4)


def test_the_temperature_stays_finite_where_all_is_wrong_or_equal() -> None:
    logits, gold = np.eye(3) * 5, np.arange(3)
    assert best_temperature(logits, (gold + 1) % 3) == pytest.approx(50.0, rel=1e-3)
    assert np.isfinite(best_temperature(np.zeros((3, 3)), gold))


@given(confidences, st.floats(0.01, 1.0))
def test_the_rejecting_threshold_rejects_as_few_as_its_recall_allows(confidence: np.ndarray, recall: float) -> None:
    threshold = np.float32(rejecting_threshold(confidence, recall))
    rejected = confidence[confidence < threshold]
    if threshold < 1.0:  # a confidence of exactly 1 cannot be told from a sure answer
        assert len(rejected) / len(confidence) >= recall - 1e-6
        assert np.mean(confidence < rejected.max()) < recall


@given(confidences, st.floats(0.01, 1.0))
def test_the_keeping_threshold_keeps_what_was_asked(confidence: np.ndarray, keep: float) -> None:
    threshold = np.float32(keeping_threshold(confidence, keep))
    kept = confidence[confidence >= threshold]
    assert len(kept) / len(confidence) >= keep - 1e-6
    assert np.mean(confidence > kept.min()) < keep


def test_thresholds_lie_midway_between_two_answers() -> None:
    confidence = np.array([0.2, 0.4, 0.6, 0.8], dtype=np.float32)
    assert rejecting_threshold(confidence, 0.5) == pytest.approx(0.5)
    assert keeping_threshold(confidence, 0.5) == pytest.approx(0.5)
    assert rejecting_threshold(confidence, 1.0) == pytest.approx(0.8, abs=1e-6)
    assert rejecting_threshold(confidence, 1.0) > np.float32(0.8)
    assert keeping_threshold(confidence, 1.0) == pytest.approx(0.2)


def test_a_line_is_that_of_least_squares_and_none_when_it_falls() -> None:
    chooser = np.random.default_rng(0)
    x = chooser.normal(size=50)
    y = 3 * x + 7 + chooser.normal(size=50)
    assert line(x, y) == pytest.approx(tuple(np.polyfit(x, y, 1)))
    assert line(x, -y) is None
    assert line(np.ones(5), y[:5]) is None
