"""text-classification in training: a head over the pooled text, cross-entropy or one sigmoid a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tlx.runtime.errors import DataError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.folder import MANIFEST, open_folder
from tlx.runtime.tasks.classification import TextClassification
from tlx.runtime.tasks.task import Encoded, Outputs
from tlx.train.batches import Batch, Ragged
from tlx.train.recipe import options_from
from tlx.train.split import same_as
from tlx.train.tasks.task import TrainTask
from tlx.train.terms.labels import IGNORED, soft_cross_entropy
from tlx.train.tuning import best_temperature, keeping_threshold, label_thresholds, rejecting_threshold
from tlx.train.unlabelled import read_unlabelled

__all__ = [
    "IGNORED",
    "TRAIN_TASK",
    "ClassificationOptions",
    "TrainClassification",
    "label_config",
]

OUTSIDE = -1
ROWS_A_LABEL = 10
"""With fewer on average labels are not smoothed."""


@dataclass(frozen=True, kw_only=True)
class ClassificationOptions:
    """The recipe's section [task]."""

    tune_thresholds: bool = True
    """Multi-label: each label's threshold is chosen on the validation rows; else all are .5."""
    calibrate: bool = False
    """Scores are made probabilities by a temperature (validation rows); rejection does so in any case."""
    oos: str | None = None
    """A file of texts out of scope, by which the threshold is chosen under which a text is rejected."""
    recall: float = field(default=0.9, metadata={"low": 0.01, "high": 1.0})
    """The share of the texts out of scope that shall be rejected."""
    oos_train: bool = False
    """Half of them is trained on, towards scores that are alike for all labels; the other half chooses the threshold."""
    keep: float | None = field(default=None, metadata={"low": 0.01, "high": 1.0})
    """Without `oos`: the share of the validation texts that shall not be rejected."""
    oos_label: str = "oos"
    """The label of inputs out of scope in files that the model is measured on."""

    @property
    def rejects(self) -> bool:
        return self.oos is not None or self.keep is not None


class TrainClassification(TrainTask):
    """Gold is one class a row, int64, OUTSIDE for rows out of scope; or `(rows, labels)` float32 when multi-label."""

    half = TextClassification
    small_students = True
    tells_by_loss = True
    probes = True
    runtime: TextClassification

    def __init__(self, examples: Examples, options: Mapping[str, Any]) -> None:
        super().__init__(examples, options)
        self.options = options_from(ClassificationOptions, options, self.name)
        self.multi_label = bool(examples.settings.get("multi_label", False))
        pair = bool(examples.settings.get("pair", False))
        if len(examples.labels) < 2:
            found = f"only the label {examples.labels[0]!r}" if examples.labels else "no labels"
            raise DataError(f"{examples.source} has {found}: wanted two classes or more")
        self._few = len(examples) < ROWS_A_LABEL * len(examples.labels)
        self.runtime = TextClassification(labels=examples.labels, multi_label=self.multi_label, pair=pair)
        if self.options.rejects or self.options.calibrate:
            self._check_rejection(examples.source, examples.labels)

    def _check_rejection(self, source: str, labels: Sequence[str]) -> None:
        options = self.options
        if self.multi_label:
            raise UsageError(
                f"{source} has lists of labels: oos, keep and calibrate are for one label a text; leave them out"
            )
        if options.oos is not None and options.keep is not None:
            raise UsageError("both task.oos and task.keep were given: either chooses the threshold; give one of them")
        if options.rejects and options.oos_label in labels:
            raise UsageError(
                f"{source} has {options.oos_label!r} as a label to learn, and the model shall reject besides: "
                "take those rows out (give them by --oos), or name another task.oos_label"
            )
        if options.rejects:
            self.settings["oos_label"] = options.oos_label
            self.runtime = replace(self.runtime, oos_label=options.oos_label)

    def _set_labels(self, labels: tuple[str, ...]) -> None:
        self.runtime = replace(self.runtime, labels=labels)

    def check_teacher(self, model: PreTrainedModel, source: str) -> None:
        several = model.config.problem_type == "multi_label_classification"
        if several != self.multi_label:
            raise DataError(
                f"teacher {source} gives {'several labels' if several else 'one label'} a text, the data "
                "otherwise: give a teacher that was trained on data of the same form"
            )

    def adopt_options(self, source: str) -> tuple[Mapping[str, Any], str]:
        """Of a teacher that rejects, the share of texts in scope that it keeps, unless the recipe has a choice of its own."""
        if self.options.rejects or not (Path(source) / MANIFEST).is_file():
            return {}, ""
        manifest = open_folder(source).manifest
        if manifest.task != self.name or manifest.settings.get("reject_below") is None:
            return {}, ""
        torch_variant = manifest.variants.get("torch")
        kept = None if torch_variant is None else torch_variant.metrics.get("kept")
        if kept is None:
            return {}, f"teacher {source} rejects texts out of scope, this student will not: give --oos (or task.keep)"
        taken: dict[str, Any] = {"keep": max(round(kept, 4), 0.01)}
        if self.options.oos_label == ClassificationOptions.oos_label:
            taken["oos_label"] = TextClassification.from_manifest(manifest).oos_label
        self.options = replace(self.options, **taken)
        self._check_rejection(f"teacher {source}", self.labels)
        line = (
            f"teacher {source} rejects texts out of scope and keeps {kept:.1%} of those in scope: this student will keep as "
            "many (task.keep); --oos sets its threshold by texts out of scope instead"
        )
        return taken, line

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
        if examples.settings.get("multi_label", False) and not self.multi_label:
            raise DataError(
                f"{examples.source} does not hold one label a row as the training data does: use the same form"
            )

    def gold(self, examples: Examples, encoded: Encoded) -> Ragged | None:
        if examples.gold is None:
            return self.unlabelled_gold(encoded)
        index: dict[Any, int] = {label: i for i, label in enumerate(self.labels)} | {None: OUTSIDE}
        if not self.multi_label:
            return Ragged(torch.tensor([index[label] for label in examples.gold], dtype=torch.int64))
        gold = torch.zeros(len(examples), len(self.labels))
        for row, item in enumerate(examples.gold):
            gold[row, [index[label] for label in self.runtime.labels_of(item)]] = 1.0  # a lone label is a set of one
        return Ragged(gold)

    @property
    def label_smoothing(self) -> float:
        """What the labels say with less certainty is better on other texts, unless there are few rows of each (benchmarks/LOG.md); a
        teacher's answers say it anyway."""
        return 0.0 if self.multi_label or self._few else 0.1

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
        """Cross-entropy with smoothing (Szegedy et al. 2016), or the mean binary cross-entropy over labels.

        A row out of scope counts with the cross-entropy to the uniform distribution (outlier exposure, Hendrycks et al.
        2019, arXiv:1812.04606, equation 1).
        """
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
        outside = gold == OUTSIDE
        if not bool(outside.any()):
            return F.cross_entropy(outputs, gold, label_smoothing=label_smoothing)
        inside = F.cross_entropy(outputs[~outside], gold[~outside], label_smoothing=label_smoothing, reduction="sum")
        uniform = -F.log_softmax(outputs[outside], dim=-1).mean(dim=-1).sum()
        return (inside + uniform) / len(gold)

    def completed(
        self, train: Examples, validation: Examples, columns: Mapping[str, str], seed: int
    ) -> tuple[Examples, Examples, tuple[Examples, ...]]:
        """With `oos`, its texts stand behind the validation rows with the gold None; with `oos_train` half of them behind
        the training rows instead."""
        if self.options.oos is None:
            return train, validation, ()
        outside = self._read_outside(self.options.oos, columns)
        order = np.random.default_rng([seed, 4]).permutation(len(outside))
        half = len(outside) // 2 if self.options.oos_train else 0
        if self.options.oos_train and not half:
            raise DataError(f"{outside.source} has one text: task.oos_train wants two at least")
        first, second = outside.select(sorted(order[:half].tolist())), outside.select(sorted(order[half:].tolist()))
        return _joined(train, first), _joined(validation, second), (outside,)

    def _read_outside(self, source: str, columns: Mapping[str, str]) -> Examples:
        """The texts of a file (its labels do not matter), each once, with the gold None."""
        found = read_unlabelled(source, self.runtime, columns)
        found = found.select(list({same_as(item): row for row, item in enumerate(found.inputs)}.values()))
        if not len(found):
            raise DataError(f"{source} holds no text: wanted texts out of scope")
        return replace(found, gold=[None] * len(found))

    def metrics(
        self, outputs: Outputs, examples: Examples, teacher_values: NDArray[np.float32] | None
    ) -> dict[str, float]:
        return self._tuned(outputs, examples).metrics(outputs, examples)

    def tune(self, outputs: Outputs, examples: Examples) -> None:
        self.runtime = tuned = self._tuned(outputs, examples)
        chosen = {"temperature": tuned.temperature, "reject_below": tuned.reject_below}
        self.settings |= {name: value for name, value in chosen.items() if value is not None}
        if tuned.thresholds is not None:
            self.settings["thresholds"] = list(tuned.thresholds)

    def _tuned(self, outputs: Outputs, examples: Examples) -> TextClassification:
        """The runtime half with what these rows choose."""
        options, half, logits = self.options, self.runtime, outputs.values
        if examples.gold is None or not np.isfinite(logits).all():
            return half
        if self.multi_label:
            if not options.tune_thresholds:
                return half
            found = label_thresholds(half.scores(logits), half.gold_matrix(examples)[0])
            return replace(half, thresholds=tuple(round(t, 6) for t in found))
        if not (options.calibrate or options.rejects):
            return half
        index = {label: i for i, label in enumerate(self.labels)}
        gold = np.array([OUTSIDE if label is None else index[label] for label in examples.gold], dtype=np.int64)
        inside = gold != OUTSIDE
        half = replace(half, temperature=best_temperature(logits[inside], gold[inside]))
        if not options.rejects:
            return half
        confidence = half.scores(logits).max(axis=1)
        if options.keep is not None:
            return replace(half, reject_below=keeping_threshold(confidence[inside], options.keep))
        return replace(half, reject_below=rejecting_threshold(confidence[~inside], options.recall))

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


def _joined(examples: Examples, more: Examples) -> Examples:
    if not len(more):
        return examples
    return replace(examples, inputs=[*examples.inputs, *more.inputs], gold=[*(examples.gold or ()), *(more.gold or ())])


def label_config(labels: tuple[str, ...]) -> dict[str, Any]:
    """transformers' config entries for labels in the order of the outputs."""
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


TRAIN_TASK = TrainClassification
