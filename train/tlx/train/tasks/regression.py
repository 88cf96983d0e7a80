"""regression in training: one output a text or a pair, learnt by its value or by its rank."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from tlx.runtime.errors import DataError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.tasks.regression import Regression, gold_scores
from tlx.runtime.tasks.task import Encoded, Outputs
from tlx.train.batches import Batch, Ragged
from tlx.train.recipe import options_from
from tlx.train.tasks.task import TrainTask
from tlx.train.terms.contrast import cosent
from tlx.train.tuning import line

__all__ = ["TRAIN_TASK", "RegressionOptions", "TrainRegression"]


@dataclass(frozen=True, kw_only=True)
class RegressionOptions:
    """The recipe's section [task]."""

    objective: Literal["mse", "huber", "cosent"] = "mse"
    """mse; huber: squared up to one standard deviation, linear beyond; cosent: only the order of the scores counts."""
    cosent_scale: float = field(default=5.0, metadata={"low": 0.01, "high": 1000})
    """CoSENT's λ."""


class TrainRegression(TrainTask):
    """Gold is one standardised score a row, float32, NaN where there is none.

    The model learns z = (y − mean) / deviation of the training scores, which suits one learning rate to every scale. The
    affine map back to y is folded into its head at the end (`finish`), and out of a trained head at the beginning
    (`begin`): a folder's torch and ONNX outputs are on the data's scale. With cosent the scale of the outputs is free:
    the map is the line of least squares from the outputs to the validation scores, which keeps every rank.
    """

    half = Regression
    small_students = True
    runtime: Regression

    def __init__(self, examples: Examples, options: Mapping[str, Any]) -> None:
        super().__init__(examples, options)
        self.options = options_from(RegressionOptions, options, self.name)
        self.probes = self.options.objective != "cosent"  # which compares all rows with all
        scores = np.asarray(gold_scores(examples), dtype=np.float64)
        self._mean, self._deviation = float(scores.mean()), float(scores.std())
        self._slope, self._intercept = self._deviation, self._mean
        self.runtime = Regression(pair=bool(examples.settings.get("pair", False)))

    def config_changes(self) -> dict[str, Any]:
        label = {"id2label": {0: "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        return {"num_labels": 1, **label, "problem_type": "regression"}

    def check_examples(self, examples: Examples) -> None:
        gold_scores(examples)

    def check_teacher(self, model: PreTrainedModel, source: str) -> None:
        if model.config.num_labels != 1:
            raise DataError(
                f"teacher {source} gives {model.config.num_labels} labels, the data has scores: "
                "give a teacher that was trained for regression"
            )
        if model.config.problem_type != "regression":
            raise DataError(
                f"teacher {source} puts its output through a sigmoid (its problem_type is {model.config.problem_type!r}), whose "
                f"scale is not the data's: train it on the data first, with --base {source}, and give that model as the teacher"
            )

    def gold(self, examples: Examples, encoded: Encoded) -> Ragged | None:
        if examples.gold is None:
            return self.unlabelled_gold(encoded)
        scores = torch.tensor(examples.gold, dtype=torch.float64)
        return Ragged(((scores - self._mean) / self._deviation).float())

    def unlabelled_gold(self, encoded: Encoded) -> Ragged | None:
        return Ragged(torch.full((len(encoded.rows),), float("nan")))

    def outputs(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], **asked: bool
    ) -> tuple[torch.Tensor, Any]:
        result = model(**inputs, **asked)
        return result.logits.float(), result

    def loss(self, outputs: torch.Tensor, batch: Batch, label_smoothing: float) -> torch.Tensor:
        if batch.gold is None:
            return outputs.sum() * 0.0
        there = ~batch.gold.isnan()
        found, gold = outputs[there, 0], batch.gold[there]
        if not len(gold):
            return outputs.sum() * 0.0
        if self.options.objective == "cosent":
            return cosent(found, gold, self.options.cosent_scale)
        return F.mse_loss(found, gold) if self.options.objective == "mse" else F.huber_loss(found, gold)

    def soft_loss(
        self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """The mean squared difference to the teacher's score, in the training scores' deviations."""
        return F.mse_loss(outputs, (teacher_outputs - self._mean) / self._deviation)

    def metrics(
        self, outputs: Outputs, examples: Examples, teacher_values: NDArray[np.float32] | None
    ) -> dict[str, float]:
        """Figures on the data's scale, with the map that `tune` would choose on these rows."""
        slope, intercept = self._map(outputs, examples)
        return self.runtime.metrics(outputs._replace(values=outputs.values * slope + intercept), examples)

    def tune(self, outputs: Outputs, examples: Examples) -> None:
        self._slope, self._intercept = self._map(outputs, examples)

    def _map(self, outputs: Outputs, examples: Examples) -> tuple[float, float]:
        standard = self._deviation, self._mean
        if self.options.objective != "cosent":
            return standard
        return line(outputs.values[:, 0], gold_scores(examples)) or standard

    def begin(self, model: PreTrainedModel, fresh: Collection[str]) -> None:
        name, head = _head(model)
        if f"{name}.weight" not in fresh:
            _set_head(head, 1.0 / self._deviation, -self._mean / self._deviation)

    def finish(self, model: PreTrainedModel) -> None:
        _set_head(_head(model)[1], self._slope, self._intercept)


def _head(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """The last linear layer with one output. Raises UsageError for a model without, or whose head adds no constant."""
    heads = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear) and m.out_features == 1]
    if not heads or heads[-1][1].bias is None:
        raise UsageError(
            f"a {type(model).__name__} has no linear head with a bias, which holds the scale of the scores: "
            "choose another --base, an encoder such as BERT"
        )
    return heads[-1]


@torch.no_grad()
def _set_head(head: nn.Linear, factor: float, constant: float) -> None:
    """The head's output is from now on factor · (what it was) + constant."""
    head.weight.mul_(factor)
    head.bias.mul_(factor).add_(constant)


TRAIN_TASK = TrainRegression
