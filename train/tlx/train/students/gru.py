"""The recurrent student: a GRU in each direction, for tasks where the order of words decides.

    features = LN(max_i h_i)  ⊕  LN(Σ_i h_i),   h_i = [→GRU(e)_i ; ←GRU(e)_i]

The backward GRU reads each text's ids reversed within the text's own length, so that it never sees padding and both
directions export as plain ONNX GRU nodes. Both poolings ignore order, so its states are never turned round again for
them. (Cho et al. 2014, arXiv:1406.1078.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .student import (
    StudentConfig,
    StudentEncoder,
    StudentForSequenceClassification,
    StudentForTokenClassification,
)

__all__ = ["GruConfig", "GruEncoder", "GruForSequenceClassification", "GruForTokenClassification"]


class GruConfig(StudentConfig):
    """`hidden_size` is that of one direction."""

    model_type = "tlx-gru"

    def __init__(self, hidden_size: int = 96, **kwargs: Any) -> None:
        self.hidden_size = hidden_size
        super().__init__(**kwargs)


class GruEncoder(StudentEncoder):
    """States `(batch, tokens, 2 · hidden_size)`; features `(batch, 4 · hidden_size)`. Padding must be on the right."""

    def __init__(self, config: GruConfig) -> None:
        super().__init__(config)
        self.feature_size = 4 * config.hidden_size
        self.token_size = 2 * config.hidden_size
        self.forwards = nn.GRU(config.embedding_size, config.hidden_size)
        self.backwards = nn.GRU(config.embedding_size, config.hidden_size)
        self.max_norm = nn.LayerNorm(2 * config.hidden_size)
        self.sum_norm = nn.LayerNorm(2 * config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        inside = attention_mask.t() > 0
        ids = torch.where(inside, input_ids.t(), self.pad_token_id)
        order = _reversal(inside)
        ahead, _ = self.forwards(self.dropout(self.embeddings(ids)))
        back, _ = self.backwards(self.dropout(self.embeddings(ids.gather(0, order))))
        mask = inside.unsqueeze(2)
        both = torch.cat([ahead, back], dim=2)
        strongest = torch.where(mask, both, -1.0).amax(0)
        total = torch.where(mask, both, 0.0).sum(0)
        features = torch.cat([self.max_norm(strongest), self.sum_norm(total)], dim=1)
        turned = back.gather(0, order.unsqueeze(2).expand(-1, -1, back.shape[2]))
        return torch.cat([ahead, turned], dim=2).transpose(0, 1), features


def _reversal(inside: Tensor) -> Tensor:
    """Positions `(tokens, batch)` that turn each text round within its length and leave its padding in place (anywhere)."""
    tokens = inside.shape[0]
    lengths = inside.sum(0, keepdim=True)
    positions = torch.arange(tokens, device=inside.device).unsqueeze(1)
    return (lengths - 1 - positions) % tokens


class GruForSequenceClassification(StudentForSequenceClassification):
    """The recurrent student with a text-classification head."""

    config_class = GruConfig
    encoder_class = GruEncoder


class GruForTokenClassification(StudentForTokenClassification):
    """The recurrent student with a head over each token."""

    config_class = GruConfig
    encoder_class = GruEncoder
