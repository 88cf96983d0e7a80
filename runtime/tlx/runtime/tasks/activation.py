"""Logits → scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlx.runtime.errors import UsageError
from tlx.runtime.tasks.task import Floats

__all__ = ["ACTIVATIONS", "activated", "activation_of"]

ACTIVATIONS = ("softmax", "sigmoid", "none")


def activation_of(value: Any) -> str:
    """The activation that the pipeline's keyword `function_to_apply` names. Raises UsageError for another."""
    name = value.lower() if isinstance(value, str) else value
    if name not in ACTIVATIONS:
        raise UsageError(f"function_to_apply is {value!r}: choose one of {', '.join(ACTIVATIONS)}")
    return str(name)


def activated(logits: Floats, activation: str) -> Floats:
    """The scores of logits `(n, labels)`: softmaxes of the rows, sigmoids of the values, or with "none" the logits."""
    if activation == "none":
        return logits
    if activation == "sigmoid":
        with np.errstate(over="ignore"):  # exp(-logit) = inf gives the right score, 0
            sigmoids: Floats = (1.0 / (1.0 + np.exp(-logits))).astype(np.float32, copy=False)
        return sigmoids
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmaxes: Floats = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32, copy=False)
    return softmaxes
