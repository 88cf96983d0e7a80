"""The bag student: a weighted sum of word embeddings and a two-layer network. No word order at all, and very fast.

    features = LN(Σ_i w(x_i)·E[x_i])

(Iyyer et al. 2015, deep averaging networks; the weight a token replaces the average.)
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .student import StudentConfig, StudentEncoder, StudentForSequenceClassification

__all__ = ["BagConfig", "BagEncoder", "BagForSequenceClassification"]


class BagConfig(StudentConfig):
    """A bag is wider than the other students: its embeddings are all it has."""

    model_type = "tlx-bag"

    def __init__(self, embedding_size: int = 256, **kwargs: Any) -> None:
        super().__init__(embedding_size=embedding_size, **kwargs)


class BagEncoder(StudentEncoder):
    """States are the embeddings `(batch, tokens, embedding_size)`; features `(batch, embedding_size)`."""

    def __init__(self, config: BagConfig) -> None:
        super().__init__(config)
        self.feature_size = config.embedding_size
        self.token_weights = nn.Embedding(config.vocab_size, 1)
        self.sum_norm = nn.LayerNorm(config.embedding_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        ids = self.masked_ids(input_ids, attention_mask)
        states = self.dropout(self.embeddings(ids))
        weights = self.token_weights(ids).transpose(1, 2)
        return states, self.sum_norm((weights @ states).squeeze(1))


class BagForSequenceClassification(StudentForSequenceClassification):
    """The bag student with a text-classification head."""

    config_class = BagConfig
    encoder_class = BagEncoder
