"""text-classification in training: a head over the pooled text, cross-entropy or one sigmoid a label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tlx.runtime.errors import DataError
from tlx.runtime.examples import Examples, Table
from tlx.runtime.tasks.classification import TextClassification

__all__ = ["TRAIN_TASK", "TrainClassification"]

IGNORED = -100


class TrainClassification:
    """`labels` in the order of the logits; gold is `(n,)` int64, or `(n, labels)` float32 when multi-label."""

    name = "text-classification"
    auto_class = AutoModelForSequenceClassification

    def __init__(self, examples: Examples) -> None:
        self.labels = examples.labels
        self.multi_label = bool(examples.settings.get("multi_label", False))
        self.settings: dict[str, Any] = {"multi_label": self.multi_label}
        self._answers = TextClassification(labels=self.labels or ("", ""), multi_label=self.multi_label)
        self.main_metric = self._answers.main_metric
        if len(self.labels) < 2:
            found = f"only the label {self.labels[0]!r}" if self.labels else "no labels"
            raise DataError(f"{examples.source} has {found}: wanted two classes or more")

    @staticmethod
    def parse(table: Table, columns: Mapping[str, str]) -> Examples:
        return TextClassification.parse(table, columns)

    def adopt_labels(self, labels: tuple[str, ...], source: str) -> None:
        unknown = sorted(set(self.labels) - set(labels))
        if unknown:
            raise DataError(
                f"teacher {source} does not know the label {unknown[0]!r} of the training data ({len(unknown)} such): "
                "give a teacher that was trained on these labels"
            )
        self.labels = labels
        self._answers = TextClassification(labels=labels, multi_label=self.multi_label)

    def write_extras(self, folder: Path, model: PreTrainedModel) -> None:
        """None."""

    def config_changes(self) -> dict[str, Any]:
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: index for index, label in enumerate(self.labels)},
            "problem_type": "multi_label_classification" if self.multi_label else "single_label_classification",
        }

    def gold(self, examples: Examples) -> torch.Tensor | None:
        if examples.gold is None:
            return self.unlabelled_gold(len(examples))
        index = {label: i for i, label in enumerate(self.labels)}
        unknown = sorted(set(examples.labels) - index.keys())
        if unknown:
            raise DataError(
                f"{examples.source} has the label {unknown[0]!r}, which the training data does not have "
                f"({len(unknown)} such): add training rows for it or remove it"
            )
        if bool(examples.settings.get("multi_label", False)) != self.multi_label:
            wanted = "lists of labels" if self.multi_label else "one label a row"
            raise DataError(f"{examples.source} does not hold {wanted} as the training data does: use the same form")
        if not self.multi_label:
            return torch.tensor([index[label] for label in examples.gold], dtype=torch.int64)
        gold = torch.zeros(len(examples), len(self.labels))
        for row, item in enumerate(examples.gold):
            gold[row, [index[label] for label in item]] = 1.0
        return gold

    def unlabelled_gold(self, rows: int) -> torch.Tensor:
        if self.multi_label:
            return torch.full((rows, len(self.labels)), float("nan"))
        return torch.full((rows,), IGNORED, dtype=torch.int64)

    def outputs(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], **asked: bool
    ) -> tuple[torch.Tensor, Any]:
        result = model(**inputs, **asked)
        return result.logits.float(), result

    def loss(self, outputs: torch.Tensor, gold: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy with smoothing (Szegedy et al. 2016), or the mean binary cross-entropy over labels."""
        has_gold = ~gold[:, 0].isnan() if self.multi_label else gold != IGNORED
        if not bool(has_gold.any()):
            return outputs.sum() * 0.0
        outputs, gold = outputs[has_gold], gold[has_gold]
        if self.multi_label:
            smooth = gold * (1 - label_smoothing) + 0.5 * label_smoothing
            return F.binary_cross_entropy_with_logits(outputs, smooth)
        return F.cross_entropy(outputs, gold, label_smoothing=label_smoothing)

    def soft_loss(self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, temperature: float) -> torch.Tensor:
        """T²·KL(teacher ‖ student) of softmax(z / T), mean over rows (Hinton et al. 2015); for multi-label, of each sigmoid."""
        student, teacher = outputs / temperature, teacher_outputs / temperature
        if self.multi_label:
            target = torch.sigmoid(teacher)
            cross = F.binary_cross_entropy_with_logits(student, target)
            return (cross - F.binary_cross_entropy_with_logits(teacher, target)) * temperature**2
        divergence = F.kl_div(
            F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1), log_target=True, reduction="batchmean"
        )
        return divergence * temperature**2

    def metrics(
        self, outputs: NDArray[np.float32], examples: Examples, teacher_outputs: NDArray[np.float32] | None
    ) -> dict[str, float]:
        return self._answers.metrics(outputs, examples)


TRAIN_TASK = TrainClassification
