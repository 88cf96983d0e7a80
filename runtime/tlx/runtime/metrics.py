"""The tasks' metrics, in numpy. Definitions are those of scikit-learn; the tests compare with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["accuracy", "multi_label_f1", "single_label_f1"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def accuracy(predicted: Ints, gold: Ints) -> float:
    """The share of rows where predicted equals gold; both `(n,)`."""
    return float(np.mean(predicted == gold))


def single_label_f1(predicted: Ints, gold: Ints, classes: int) -> float:
    """Macro F1 over the classes that occur in gold or predicted; inputs `(n,)` class indices.

    An index of -1 (a label that the model does not know) counts as an error and is no class.
    """
    indices = np.arange(classes)[:, None]
    return _macro((predicted[None] == indices).T, (gold[None] == indices).T)


def multi_label_f1(predicted: Bools, gold: Bools, *, missed: int = 0) -> tuple[float, float]:
    """(macro, micro) F1; inputs `(n, classes)`. Macro is over the classes that occur.

    `missed` gold labels that are no class (the model does not know them) count against micro.
    """
    true = float(np.sum(predicted & gold))
    total = float(np.sum(predicted) + np.sum(gold)) + missed
    return _macro(predicted, gold), 2 * true / total if total else 0.0


def _macro(predicted: Bools, gold: Bools) -> float:
    true = np.sum(predicted & gold, axis=0)
    total = np.sum(predicted, axis=0) + np.sum(gold, axis=0)
    occurs = total > 0
    return float(np.mean(2 * true[occurs] / total[occurs])) if occurs.any() else 0.0
