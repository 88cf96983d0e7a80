"""What every small student shares: ids → encoder → features → two-layer head → logits, of a text or of each token.

An encoder (convolution.py, gru.py, bag.py) turns ids into one state a token and one feature vector a text; only the
heads know the labels. The padding token's embedding is a row of zeros and masked positions read that row, so that a
text's answer is the same alone and in any padded batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

__all__ = ["StudentConfig", "StudentEncoder", "StudentForSequenceClassification", "StudentForTokenClassification"]

EMBEDDING_STD = 0.1


class StudentConfig(PretrainedConfig):  # type: ignore[misc]
    """Sizes that all students have. `head_size` is the head's hidden layer; `dropout` acts on embeddings, features and head."""

    def __init__(
        self,
        vocab_size: int = 12_000,
        embedding_size: int = 128,
        head_size: int = 256,
        dropout: float = 0.2,
        pad_token_id: int = 0,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.head_size = head_size
        self.dropout = dropout
        super().__init__(pad_token_id=pad_token_id, **kwargs)


class StudentEncoder(nn.Module):
    """Embeddings with a zero row for padding, and what the subclass makes of them.

    `forward(input_ids (batch, tokens) int64, attention_mask (batch, tokens))` gives the states `(batch, tokens, width)`,
    of no meaning where masked, and the features `(batch, feature_size)`, which do not depend on masked positions.
    """

    feature_size: int
    token_size: int
    """Of what `around` gives."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.pad_token_id = int(config.pad_token_id)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=self.pad_token_id)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def around(self, states: Tensor) -> Tensor:
        """What a token's tag is told by, `(batch, tokens, token_size)`: its state, with those of its neighbours."""
        return states

    def masked_ids(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The ids, with the padding token wherever the mask (0 or 1) is 0. One Mul in ONNX where padding is 0."""
        pad = self.pad_token_id
        return (input_ids - pad) * attention_mask + pad if pad else input_ids * attention_mask


class StudentModel(PreTrainedModel):  # type: ignore[misc]
    """An encoder under a head of Linear → ReLU → Linear. Subclasses name their config and their encoder."""

    config_class: type[StudentConfig] = StudentConfig
    base_model_prefix = "encoder"
    encoder_class: type[StudentEncoder]

    def __init__(self, config: StudentConfig) -> None:
        super().__init__(config)
        self.encoder = self.encoder_class(config)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(self.encoder.feature_size, config.head_size)
        self.classifier = nn.Linear(config.head_size, config.num_labels)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.encoder.embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.encoder.embeddings = value

    def _init_weights(self, module: nn.Module) -> None:
        """Token weights start at one, embeddings small and normal, padding at zero."""
        if isinstance(module, nn.Embedding):
            if module.embedding_dim == 1:
                nn.init.ones_(module.weight)
            else:
                nn.init.normal_(module.weight, std=EMBEDDING_STD)
            if module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


class StudentForSequenceClassification(StudentModel):
    """The head reads the text's features."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Logits `(batch, labels)`; with `labels` the usual loss; with `output_hidden_states` the token states."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        states, features = self.encoder(input_ids, attention_mask)
        hidden = torch.relu(self.dense(self.dropout(features)))
        logits = self.classifier(self.dropout(hidden))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        output = SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=(states,) if output_hidden_states else None
        )
        return output.to_tuple() if return_dict is False else output


class StudentForTokenClassification(StudentModel):
    """The head reads each token's surroundings beside the whole text's features: ReLU(W·around_i + V·features)."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__(config)
        self.near = nn.Linear(self.encoder.token_size, config.head_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> TokenClassifierOutput:
        """Logits `(batch, tokens, labels)`, of no meaning where masked; with `labels` the usual loss."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        states, features = self.encoder(input_ids, attention_mask)
        around = self.near(self.dropout(self.encoder.around(states)))
        whole = self.dense(self.dropout(features)).unsqueeze(1)
        logits = self.classifier(self.dropout(torch.relu(around + whole)))
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        output = TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=(states,) if output_hidden_states else None
        )
        return output.to_tuple() if return_dict is False else output
