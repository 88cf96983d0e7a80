"""What is chosen on validation rows beside the weights: thresholds of labels, a temperature, where to reject."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_temperature", "keeping_threshold", "label_thresholds", "line", "rejecting_threshold"]

Reals = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
PRIOR = 10.0
"""Positives at which a label's own threshold and the common one count alike."""
TEMPERATURES = (0.02, 50.0)


def label_thresholds(scores: Reals, gold: Bools, *, prior: float = PRIOR) -> list[float]:
    """One threshold a label, for probabilities and gold `(rows, labels)`.

    A label's own threshold is the one of best F1 on these rows (Lipton et al. 2014, arXiv:1402.1892). With few positives
    that is chance, so it is drawn towards the common threshold, the one of best micro F1 over all labels:
    logit t = w·logit(own) + (1 − w)·logit(common), w = p / (p + prior) for p positives; a label without any has the
    common one. Where nothing at all is positive, each is .5.
    """
    if not gold.any():
        return [0.5] * scores.shape[1]
    common = _logit(_best_f1_cut(scores.ravel(), gold.ravel()))
    found = []
    for column in range(scores.shape[1]):
        positives = int(gold[:, column].sum())
        weight = positives / (positives + prior)
        own = _logit(_best_f1_cut(scores[:, column], gold[:, column])) if positives else 0.0
        found.append(1.0 / (1.0 + math.exp(-(weight * own + (1.0 - weight) * common))))
    return found


def _best_f1_cut(scores: Reals, gold: Bools) -> float:
    """The cut of best F1, half-way between two neighbouring scores; some gold must be true."""
    order = np.argsort(-scores, kind="stable")
    ranked = np.asarray(scores, dtype=np.float64)[order]
    true = np.cumsum(gold[order])
    f1 = 2.0 * true / (np.arange(1, len(ranked) + 1) + int(gold.sum()))
    below = np.append(ranked[1:], ranked[-1] / 2.0)
    f1[ranked == below] = -1.0  # no cut lies between equal scores
    best = int(f1.argmax())
    return float((ranked[best] + below[best]) / 2.0)


def _logit(probability: float) -> float:
    clipped = min(max(probability, 1e-6), 1.0 - 1e-6)
    return math.log(clipped / (1.0 - clipped))


def best_temperature(logits: Reals, gold: NDArray[np.int64]) -> float:
    """The T that minimises the mean cross-entropy of softmax(logits / T) (Guo et al. 2017, arXiv:1706.04599, section 4.2).

    `logits` `(rows, labels)`, `gold` `(rows,)`. The targets are 1 − ε on the gold label and ε spread over all, with
    ε = 1 / (rows + 2) as Platt (1999) smooths his: else a model that is right on every row would be made certain of all.
    The loss is convex in 1 / T, so that golden sections find its minimum; T stays within .02 and 50.
    """
    values = np.asarray(logits, dtype=np.float64)
    values = values - values.max(axis=1, keepdims=True)
    doubt = 1.0 / (len(gold) + 2)
    target = (1.0 - doubt) * values[np.arange(len(gold)), gold] + doubt * values.mean(axis=1)

    def loss(log_inverse: float) -> float:
        inverse = math.exp(log_inverse)
        return float(np.mean(np.log(np.exp(values * inverse).sum(axis=1)) - target * inverse))

    low, high = (-math.log(t) for t in reversed(TEMPERATURES))
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    a, b = high - golden * (high - low), low + golden * (high - low)
    loss_a, loss_b = loss(a), loss(b)
    while high - low > 1e-4:
        if loss_a < loss_b:
            high, b, loss_b = b, a, loss_a
            a = high - golden * (high - low)
            loss_a = loss(a)
        else:
            low, a, loss_a = a, b, loss_b
            b = low + golden * (high - low)
            loss_b = loss(b)
    return math.exp(-(low + high) / 2.0)


def rejecting_threshold(confidence: Reals, recall: float) -> float:
    """The threshold under which the least share of these out-of-scope confidences `(n,)` that is `recall` or more lies, n from 1:
    midway to the next one, so that answers which differ a little (int8, other batches) fall on the same side."""
    ranked = np.sort(np.asarray(confidence, dtype=np.float32))
    below = max(math.ceil(recall * len(ranked) - 1e-9), 1)
    return _midway(ranked[below - 1], ranked[below:])


def keeping_threshold(confidence: Reals, keep: float) -> float:
    """The threshold that the least share of these in-scope confidences `(n,)` which is `keep` or more reaches, n from 1: midway to
    the next one below."""
    ranked = np.sort(np.asarray(confidence, dtype=np.float32))
    kept = max(math.ceil(keep * len(ranked) - 1e-9), 1)
    least = ranked[-kept]
    below = ranked[ranked < least]
    return float(least) if not len(below) else _midway(below[-1], ranked[-kept:])


def _midway(low: np.float32, above: Reals) -> float:
    """A value over `low`, midway to the first of the ascending values `above` that is greater, at most 1."""
    greater = above[above > low]
    least = np.nextafter(low, np.float32(2.0))
    middle = np.float32((float(low) + float(greater[0])) / 2) if len(greater) else least
    return float(min(max(middle, least), np.float32(1.0)))


def line(values: Reals, gold: Reals) -> tuple[float, float] | None:
    """(slope, intercept) of the least squares of gold on values, both `(n,)`; None unless they rise together."""
    x, y = np.asarray(values, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    spread = float(np.mean((x - x.mean()) ** 2))
    slope = float(np.mean((x - x.mean()) * (y - y.mean()))) / spread if spread > 0 else 0.0
    return (slope, float(y.mean() - slope * x.mean())) if slope > 0 else None
