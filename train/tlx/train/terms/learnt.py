"""What terms of the objective have in common that learn something of their own beside the student."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from tlx.train.batches import Batch

__all__ = ["LearntTerm"]


class LearntTerm(nn.Module, ABC):
    """Its parameters (maps between widths) are trained, kept in checkpoints, and left behind when the run ends."""

    asked: ClassVar[Mapping[str, bool]] = {}
    """What the student's forward pass is asked for."""

    @abstractmethod
    def forward(self, batch: Batch, result: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(the weighted loss, the teacher's outputs where the term has asked it anyway); `result` is all that the student gave."""

    def compute_in(self, dtype: torch.dtype) -> None:
        """What is not trained computes in this type from now on."""
