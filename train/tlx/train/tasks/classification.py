"""text-classification in training: a head over the pooled text, cross-entropy or one sigmoid a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from tlx.runtime.errors import DataError
from tlx.runtime.examples import Examples
from tlx.runtime.tasks.classification import TextClassification
from tlx.runtime.tasks.task import Encoded
from tlx.train.batches import Batch, Ragged
from tlx.train.tasks.task import TrainTask

__all__ = ["IGNORED", "TRAIN_TASK", "TrainClassification", "label_config", "soft_cross_entropy"]

IGNORED = -100


class TrainClassification(TrainTask):
    """Gold is one class a row, int64; or `(rows, labels)` float32 when multi-label."""

    half = TextClassification
    small_students = True
    runtime: TextClassification

    def __init__(self, examples: Examples, options: Mapping[str, Any]) -> None:
        super().__init__(examples, options)
        self.multi_label = bool(examples.settings.get("multi_label", False))
        pair = bool(examples.settings.get("pair", False))
        self.transfers = not pair
        if len(examples.labels) < 2:
            found = f"only the label {examples.labels[0]!r}" if examples.labels else "no labels"
            raise DataError(f"{examples.source} has {found}: wanted two classes or more")
        self.runtime = TextClassification(labels=examples.labels, multi_label=self.multi_label, pair=pair)

    def _set_labels(self, labels: tuple[str, ...]) -> None:
        self.runtime = replace(self.runtime, labels=labels)

    def check_teacher(self, model: PreTrainedModel, source: str) -> None:
        several = model.config.problem_type == "multi_label_classification"
        if several != self.multi_label:
            raise DataError(
                f"teacher {source} gives {'several labels' if several else 'one label'} a text, the data "
                "otherwise: give a teacher that was trained on data of the same form"
            )

    def config_changes(self) -> dict[str, Any]:
        kind = "multi_label_classification" if self.multi_label else "single_label_classification"
        return {**label_config(self.labels), "problem_type": kind}

    def strata(self, gold: Any) -> Sequence[str]:
        return self.runtime.labels_of(gold)

    def check_examples(self, examples: Examples) -> None:
        unknown = sorted(set(examples.labels) - set(self.labels))
        if unknown:
            raise DataError(
                f"{examples.source} has the label {unknown[0]!r}, which the training data does not have "
                f"({len(unknown)} such): add training rows for it or remove it"
            )
        if bool(examples.settings.get("multi_label", False)) != self.multi_label:
            wanted = "lists of labels" if self.multi_label else "one label a row"
            raise DataError(f"{examples.source} does not hold {wanted} as the training data does: use the same form")

    def gold(self, examples: Examples, encoded: Encoded) -> Ragged | None:
        if examples.gold is None:
            return self.unlabelled_gold(encoded)
        index = {label: i for i, label in enumerate(self.labels)}
        if not self.multi_label:
            return Ragged(torch.tensor([index[label] for label in examples.gold], dtype=torch.int64))
        gold = torch.zeros(len(examples), len(self.labels))
        for row, item in enumerate(examples.gold):
            gold[row, [index[label] for label in item]] = 1.0
        return Ragged(gold)

    def unlabelled_gold(self, encoded: Encoded) -> Ragged | None:
        rows = len(encoded.rows)
        if self.multi_label:
            return Ragged(torch.full((rows, len(self.labels)), float("nan")))
        return Ragged(torch.full((rows,), IGNORED, dtype=torch.int64))

    def outputs(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], **asked: bool
    ) -> tuple[torch.Tensor, Any]:
        result = model(**inputs, **asked)
        return result.logits.float(), result

    def loss(self, outputs: torch.Tensor, batch: Batch, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy with smoothing (Szegedy et al. 2016), or the mean binary cross-entropy over labels."""
        gold = batch.gold
        if gold is None:
            return outputs.sum() * 0.0
        has_gold = ~gold[:, 0].isnan() if self.multi_label else gold != IGNORED
        if not bool(has_gold.any()):
            return outputs.sum() * 0.0
        outputs, gold = outputs[has_gold], gold[has_gold]
        if self.multi_label:
            smooth = gold * (1 - label_smoothing) + 0.5 * label_smoothing
            return F.binary_cross_entropy_with_logits(outputs, smooth)
        return F.cross_entropy(outputs, gold, label_smoothing=label_smoothing)

    def soft_loss(
        self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """T²·KL(teacher ‖ student) of softmax(z / T), mean over rows (Hinton et al. 2015); for multi-label, of each sigmoid."""
        if self.multi_label:
            student, teacher = outputs / temperature, teacher_outputs / temperature
            target = torch.sigmoid(teacher)
            cross = F.binary_cross_entropy_with_logits(student, target)
            return (cross - F.binary_cross_entropy_with_logits(teacher, target)) * temperature**2
        return soft_cross_entropy(outputs, teacher_outputs, temperature)


def soft_cross_entropy(outputs: torch.Tensor, teacher_outputs: torch.Tensor, temperature: float) -> torch.Tensor:
    """T²·KL(teacher ‖ student) of softmax(z / T), mean over lines; both `(lines, classes)`."""
    student, teacher = outputs / temperature, teacher_outputs / temperature
    divergence = F.kl_div(
        F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1), log_target=True, reduction="batchmean"
    )
    return divergence * temperature**2


def label_config(labels: tuple[str, ...]) -> dict[str, Any]:
    """transformers' config entries for labels in the order of the outputs."""
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


TRAIN_TASK = TrainClassification
