"""A student's embeddings begin as its teacher's word embeddings, projected to the student's width."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from tlx.runtime.errors import UsageError

__all__ = ["init_embeddings"]


def init_embeddings(student: PreTrainedModel, teacher_embeddings: NDArray[np.float32] | Tensor) -> None:
    """The student's input embeddings are the principal components of the teacher's, as large as they were before.

    `teacher_embeddings` is `(vocabulary, width)`: row i belongs to the student's token i. The padding row stays zero,
    where there is one. Where the teacher is the narrower, the student's further columns keep their random values.
    Raises UsageError when the rows are not as many as the student's tokens.
    """
    embeddings = student.get_input_embeddings()
    weight = embeddings.weight
    if teacher_embeddings.ndim != 2 or len(teacher_embeddings) != len(weight):
        raise UsageError(
            f"teacher embeddings are {tuple(teacher_embeddings.shape)}, the student has {len(weight)} tokens: "
            "wanted one row for each"
        )
    with torch.no_grad():
        projected = _principal(torch.as_tensor(teacher_embeddings).detach().cpu().double(), weight.shape[1])
        projected *= weight.double().std().cpu() / projected.std().clamp_min(1e-12)
        weight[:, : projected.shape[1]] = projected.to(weight)
        if embeddings.padding_idx is not None:
            weight[embeddings.padding_idx] = 0.0


def _principal(matrix: Tensor, width: int) -> Tensor:
    """`(rows, columns)` → `(rows, at most width)`: centred rows on their directions of most variance (PCA)."""
    centred = matrix - matrix.mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)
    projected: Tensor = centred @ directions.flip(1)[:, :width]
    return projected
