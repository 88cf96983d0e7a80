"""feature-extraction in training: a student encoder learns a teacher's text embeddings from plain text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tlx.runtime.examples import Examples
from tlx.runtime.tasks.embedding import FeatureExtraction
from tlx.runtime.tasks.task import Encoded, Outputs
from tlx.train.batches import Batch, Ragged
from tlx.train.tasks.task import TrainTask

__all__ = ["TRAIN_TASK", "TrainEmbedding"]


class TrainEmbedding(TrainTask):
    """Outputs are mean-pooled, normalised embeddings, `(n, hidden)`. There is no gold: all is learnt from the teacher."""

    half = FeatureExtraction
    learns_alone = False
    transfers = False

    def __init__(self, examples: Examples, options: Mapping[str, Any]) -> None:
        super().__init__(examples, options)
        self.settings = {"pooling": "mean", "normalise": True}
        self.runtime = FeatureExtraction()

    @property
    def main_metric(self) -> str:
        return "teacher_cosine"

    def write_extras(self, folder: Path, model: PreTrainedModel) -> None:
        """The two files by which sentence-transformers knows how to pool."""
        kinds = ("models.Transformer", ""), ("models.Pooling", "1_Pooling"), ("models.Normalize", "2_Normalize")
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{kind}"}
            for i, (kind, path) in enumerate(kinds)
        ]
        (folder / "modules.json").write_text(json.dumps(modules, indent=1) + "\n")
        (folder / "1_Pooling").mkdir()
        pooling = {"word_embedding_dimension": model.config.hidden_size, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling, indent=1) + "\n")

    def gold(self, examples: Examples, encoded: Encoded) -> Ragged | None:
        return None

    def outputs(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], **asked: bool
    ) -> tuple[torch.Tensor, Any]:
        result = model(**inputs, **asked)
        mask = inputs["attention_mask"].unsqueeze(-1).float()
        pooled = (result.last_hidden_state.float() * mask).sum(1) / mask.sum(1).clamp(min=1.0)
        return F.normalize(pooled, dim=-1), result

    def loss(self, outputs: torch.Tensor, batch: Batch, label_smoothing: float) -> torch.Tensor:
        return outputs.sum() * 0.0

    def soft_loss(
        self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """1 − cosine to the teacher, plus the mean squared difference of the batch's similarity matrices, times 10."""
        near = 1.0 - (outputs * teacher_outputs).sum(-1).mean()
        similar = F.mse_loss(outputs @ outputs.T, teacher_outputs @ teacher_outputs.T)
        return 10.0 * (near + similar)

    def metrics(
        self, outputs: Outputs, examples: Examples, teacher_values: NDArray[np.float32] | None
    ) -> dict[str, float]:
        if teacher_values is None:
            return {"teacher_cosine": 0.0}
        return {"teacher_cosine": float((outputs.values * teacher_values).sum(-1).mean())}


TRAIN_TASK = TrainEmbedding
