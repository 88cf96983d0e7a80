"""Losses over a batch of vectors of length one: what belongs together is nearer than what does not."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tlx.train.terms.labels import IGNORED

__all__ = ["cosent", "cosine_error", "cosines", "label_contrast", "ranking_contrast"]


def ranking_contrast(parts: torch.Tensor, texts: torch.Tensor, scale: float) -> torch.Tensor:
    """Multiple negatives ranking (Henderson et al. 2017, arXiv:1705.00652), which is InfoNCE, mean over the groups.

    `parts` is `(groups, texts, hidden)`: an anchor, what belongs to it, and what does not. Each anchor a_i finds its own
    d_i among all second and third texts of the batch: −log(exp(s·a_i·d_i) / Σ_j exp(s·a_i·d_j)). `texts`, `(groups, texts)`
    int64, numbers the distinct texts: a d_j that is d_i again, the anchor itself, or belongs to the same anchor elsewhere is
    no negative.
    """
    groups = len(parts)
    documents = parts[:, 1:].transpose(0, 1).flatten(0, 1)
    numbers = texts[:, 1:].transpose(0, 1).flatten()
    logits = scale * parts[:, 0] @ documents.T
    same = (numbers == texts[:, 1:2]) | (numbers == texts[:, :1])
    owner = torch.arange(groups, device=texts.device)
    # what belongs to this anchor, in whichever group: the anchors are the same, and the document is the group's second text
    ours = (texts[:, 0][:, None] == texts[:, 0]).float() @ (texts[:, 1][:, None] == numbers).float() > 0
    own = torch.zeros_like(same)
    own[owner, owner] = True
    return F.cross_entropy(logits.masked_fill((same | ours) & ~own, float("-inf")), owner)


def label_contrast(vectors: torch.Tensor, labels: torch.Tensor, scale: float) -> torch.Tensor:
    """Supervised contrast (Khosla et al. 2020, arXiv:2004.11362, L_out), mean over the rows that have their like.

    −1/|P(i)| Σ_{p ∈ P(i)} log(exp(s·v_i·v_p) / Σ_{j ≠ i} exp(s·v_i·v_j)), P(i) the other rows of i's label. Rows `(n,)` whose
    label is IGNORED take no part.
    """
    vectors, labels = vectors[labels != IGNORED], labels[labels != IGNORED]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    right = (labels[:, None] == labels) & ~itself
    has = right.any(1)
    if not bool(has.any()):
        return vectors.sum() * 0.0
    logits = (scale * vectors @ vectors.T).masked_fill(itself, float("-inf"))
    shares = F.log_softmax(logits, dim=1).masked_fill(~right, 0.0)
    return -(shares.sum(1)[has] / right.sum(1)[has]).mean()


def cosent(values: torch.Tensor, scores: torch.Tensor, scale: float) -> torch.Tensor:
    """CoSENT (Su 2022, https://kexue.fm/archives/8847; Huang et al. 2024): log(1 + Σ exp(s·(v_i − v_j))) over all i, j of which i
    has the lower score. Both `(rows,)`; `values` are cosines of pairs there, and may be any number that a model gives.
    """
    differences = scale * (values[:, None] - values[None])[scores[:, None] < scores[None]]
    return torch.logsumexp(torch.cat([differences.new_zeros(1), differences]), dim=0)


def cosines(parts: torch.Tensor) -> torch.Tensor:
    """Of each pair in `parts`, `(pairs, 2, hidden)` of length one."""
    return (parts[:, 0] * parts[:, 1]).sum(-1)


def cosine_error(parts: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The mean squared difference of each pair's cosine and `wanted`, `(pairs,)`."""
    return F.mse_loss(cosines(parts), wanted)
