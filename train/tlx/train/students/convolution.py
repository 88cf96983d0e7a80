"""The convolution student: the words of a text and its strongest short phrases, side by side.

    e_i = E[x_i];   features = LN(Σ_i w(x_i)·e_i)  ⊕  LN(ReLU(max_i W·[e_i; e_{i+1}; e_{i+2}]))

(Kim 2014, arXiv:1408.5882, with a weighted bag of words beside it.) Written for a short ONNX graph: the convolution is
a MatMul over neighbouring embeddings, so that ONNX Runtime's dynamic int8 applies. Windows look ahead only, so that a
window that starts on padding is all zeros; it gives exactly 0, which the ReLU always includes, and no mask is needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .student import (
    StudentConfig,
    StudentEncoder,
    StudentForSequenceClassification,
    StudentForTokenClassification,
)

__all__ = [
    "ConvolutionConfig",
    "ConvolutionEncoder",
    "ConvolutionForSequenceClassification",
    "ConvolutionForTokenClassification",
]


class ConvolutionConfig(StudentConfig):
    """`channels` phrases are looked for in windows of `kernel_size` tokens."""

    model_type = "tlx-convolution"

    def __init__(self, channels: int = 768, kernel_size: int = 3, **kwargs: Any) -> None:
        self.channels = channels
        self.kernel_size = kernel_size
        super().__init__(**kwargs)


class ConvolutionEncoder(StudentEncoder):
    """States are the window sums `(batch, tokens, channels)`; features `(batch, embedding_size + channels)`."""

    def __init__(self, config: ConvolutionConfig) -> None:
        super().__init__(config)
        self.kernel_size = config.kernel_size
        self.feature_size = config.embedding_size + config.channels
        self.token_size = 2 * config.channels
        self.token_weights = nn.Embedding(config.vocab_size, 1)
        self.windows = nn.Linear(config.kernel_size * config.embedding_size, config.channels, bias=False)
        self.sum_norm = nn.LayerNorm(config.embedding_size)
        self.max_norm = nn.LayerNorm(config.channels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        ids = self.masked_ids(input_ids, attention_mask)
        embedded = self.dropout(self.embeddings(ids))
        words = (self.token_weights(ids).transpose(1, 2) @ embedded).squeeze(1)
        states = self.windows(self._windows(embedded))
        phrases = torch.relu(states.amax(1))
        return states, torch.cat([self.sum_norm(words), self.max_norm(phrases)], dim=1)

    def around(self, states: Tensor) -> Tensor:
        """The window that begins at the token, and the one that ends there."""
        begun = ended = torch.relu(states)
        for _ in range(self.kernel_size - 1):
            ended = functional.pad(ended, (0, 0, 1, -1))
        return torch.cat([begun, ended], dim=2)

    def _windows(self, embedded: Tensor) -> Tensor:
        """Each token's embedding beside those that follow it, `(batch, tokens, kernel_size · embedding_size)`."""
        shifts = [embedded]
        while len(shifts) < self.kernel_size:
            shifts.append(functional.pad(shifts[-1], (0, 0, -1, 1)))
        return torch.cat(shifts, dim=2)


class ConvolutionForSequenceClassification(StudentForSequenceClassification):
    """The convolution student with a text-classification head."""

    config_class = ConvolutionConfig
    encoder_class = ConvolutionEncoder


class ConvolutionForTokenClassification(StudentForTokenClassification):
    """The convolution student with a head over each token, which sees as many tokens before it as behind it."""

    config_class = ConvolutionConfig
    encoder_class = ConvolutionEncoder
