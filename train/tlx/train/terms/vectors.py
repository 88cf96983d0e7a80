"""Distillation of text vectors: what the student's last layer reads comes to say what its teacher's reads.

    L = 1 − cos(M·s, t − t̄)

s is the input of the student's layer of outputs, t that of the teacher's, t̄ the mean of t over all training rows, M a learnt map
(hints through a regressor, Romero et al. 2015, arXiv:1412.6550). Logits of few labels tell a student little of a text; the
vector behind them tells it what the teacher has understood.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from tlx.runtime.errors import UsageError
from tlx.train.batches import Batch
from tlx.train.terms.learnt import LearntTerm

__all__ = ["HeadTap", "TextVectors", "check_pooler", "head_of", "pooler_difference"]


def check_pooler(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    """Raises UsageError where the student has no pooler that could say its teacher's vectors."""
    widths = student.config.hidden_size, teacher.config.hidden_size
    if getattr(student, "pooler", None) is None or widths[0] != widths[1]:
        raise UsageError(
            f"distil.pooler is for encoders with a pooler, of their teacher's width {widths[1]}: the student is a "
            f"{type(student).__name__} of width {widths[0]}; leave distil.pooler out"
        )


def pooler_difference(pooled: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """1 − cos(p, t), mean over rows: p is what the student's pooler makes of the first token, t the teacher's vector of the
    text, both `(rows, width)`."""
    return 1.0 - F.cosine_similarity(pooled.float(), vectors.float()).mean()


def head_of(model: PreTrainedModel) -> nn.Linear | None:
    """The layer that gives a text's outputs: the last linear one that is as wide as they are."""
    width = model.config.num_labels
    found = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == width]
    return found[-1] if found else None


class HeadTap:
    """Catches what a layer of outputs reads, `(rows, width)`, as it is computed, in copies of the model too, until `remove`."""

    def __init__(self, head: nn.Linear) -> None:
        self.width = head.in_features
        self.caught: torch.Tensor | None = None

        def catch(module: nn.Module, inputs: Any) -> None:  # no method: a copied model would have a copied tap
            self.caught = inputs[0] if inputs[0].ndim == 2 else None

        self.remove = head.register_forward_pre_hook(catch).remove


class TextVectors(LearntTerm):
    """The term above, times `weight`. `width` is that of the teacher's vectors, which the batches hold."""

    def __init__(self, head: nn.Linear, width: int, weight: float) -> None:
        super().__init__()
        self._tap = HeadTap(head)
        self._weight = weight
        self.map = nn.Linear(self._tap.width, width)

    def forward(self, batch: Batch, result: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        if batch.teacher_vectors is None or self._tap.caught is None:
            raise ValueError("text vectors are compared of batches that hold the teacher's, and of one line a row")
        guess = self.map(self._tap.caught).float()
        return self._weight * (1.0 - F.cosine_similarity(guess, batch.teacher_vectors.float())).mean(), None
