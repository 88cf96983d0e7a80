"""The tasks' metrics, in numpy. Definitions are those of scikit-learn and scipy; the tests compare with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LOWER_IS_BETTER",
    "accuracy",
    "average_ranks",
    "ece",
    "mean_squared_error",
    "multi_label_f1",
    "pearson",
    "single_label_f1",
    "spearman",
]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Reals = NDArray[np.floating[Any]]
LOWER_IS_BETTER = frozenset({"ece", "mse", "pseudo_perplexity"})
"""The tasks' figures of which less is better, by name; of all others more is."""


def accuracy(predicted: Ints, gold: Ints) -> float:
    """The share of rows where predicted equals gold; both `(n,)`."""
    return float(np.mean(predicted == gold))


def single_label_f1(predicted: Ints, gold: Ints, classes: int) -> float:
    """Macro F1 over the classes that occur in gold or predicted; inputs `(n,)` class indices.

    An index of -1 (a label that the model does not know) counts as an error and is no class.
    """
    true, said, there = (_counts(values, classes) for values in (gold[predicted == gold], predicted, gold))
    scores, occurs = _f1(true, said + there)
    return float(np.mean(scores[occurs])) if occurs.any() else 0.0


def multi_label_f1(predicted: Bools, gold: Bools, *, missed: int = 0) -> tuple[float, float]:
    """(macro, micro) F1; inputs `(n, classes)`. Macro is over all classes: one that never occurs counts 0.

    `missed` gold labels that are no class (the model does not know them) count against micro.
    """
    true, total = np.sum(predicted & gold, axis=0), np.sum(predicted, axis=0) + np.sum(gold, axis=0)
    scores, _ = _f1(true, total)
    both = float(total.sum()) + missed
    return float(np.mean(scores)) if len(scores) else 0.0, 2 * float(true.sum()) / both if both else 0.0


def _counts(values: Ints, classes: int) -> Ints:
    """How often each class occurs, `(classes,)`."""
    return np.bincount(values[values >= 0], minlength=classes)


def _f1(true: Ints, total: Ints) -> tuple[Reals, Bools]:
    """Each class's F1 (0 where it occurs nowhere) and whether it occurs, of how often it is said rightly, and said or there; all
    `(classes,)`."""
    return 2 * true / np.maximum(total, 1), total > 0


def pearson(predicted: Reals, gold: Reals) -> float:
    """Pearson's correlation of `(n,)` with `(n,)`; 0 where either never changes (there it has no value)."""
    a, b = (np.asarray(values, dtype=np.float64) for values in (predicted, gold))
    if not np.ptp(a) > 0 or not np.ptp(b) > 0:
        return 0.0
    # Divided by the greatest first, so that squares neither overflow nor vanish.
    a, b = a - a.mean(), b - b.mean()
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    return float(np.clip(np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b)), -1.0, 1.0))


def spearman(predicted: Reals, gold: Reals) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties sharing their mean rank; 0 where either never changes."""
    return pearson(average_ranks(predicted), average_ranks(gold))


def average_ranks(values: Reals) -> NDArray[np.float64]:
    """The rank of each value from 1, `(n,)`; equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2.0)[group]
    return ranks


def mean_squared_error(predicted: Reals, gold: Reals) -> float:
    """The mean of the squared differences of `(n,)` and `(n,)`."""
    difference = np.asarray(predicted, dtype=np.float64) - np.asarray(gold, dtype=np.float64)
    return float(np.mean(difference**2))


def ece(confidence: Reals, correct: Bools, *, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599, equation 3): Σ_b (n_b / n)·|accuracy_b − confidence_b|.

    `confidence` `(n,)` lies in 0 to 1; the bins are of equal width and hold their upper edge; 0 for no rows.
    """
    if not len(confidence):
        return 0.0
    index = np.clip(np.ceil(np.asarray(confidence, dtype=np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct.astype(np.float64) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
