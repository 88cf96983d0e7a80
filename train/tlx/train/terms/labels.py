"""What tasks of labels share: the gold that takes no part, and the loss to a teacher's answers."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["IGNORED", "soft_cross_entropy"]

IGNORED = -100
"""Gold of rows and tokens without a label, as torch's cross_entropy has it."""


def soft_cross_entropy(outputs: torch.Tensor, teacher_outputs: torch.Tensor, temperature: float) -> torch.Tensor:
    """T²·KL(teacher ‖ student) of softmax(z / T), mean over lines; both `(lines, classes)` (Hinton et al. 2015, arXiv:1503.02531)."""
    student, teacher = outputs / temperature, teacher_outputs / temperature
    divergence = F.kl_div(
        F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1), log_target=True, reduction="batchmean"
    )
    return divergence * temperature**2
