"""text-classification, single- and multi-label: columns, answers and metrics, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.errors import DataError, FolderError, UsageError
from tlx.runtime.folder import Manifest
from tlx.runtime.metrics import accuracy, multi_label_f1, single_label_f1
from tlx.runtime.tasks.task import Floats, Outputs, Task

if TYPE_CHECKING:
    from pathlib import Path

    from tlx.runtime.examples import Examples, Table

__all__ = ["TASK", "LabelScore", "TextClassification", "TopK"]

SINGLE, PAIR = ("text",), ("text", "text_pair")
TopK = int | Literal["best", "threshold"] | None


class LabelScore(TypedDict):
    """One label with its probability."""

    label: str
    score: float


@dataclass(frozen=True, kw_only=True)
class TextClassification(Task):
    """Answers are those of transformers.pipeline: scores are softmaxes, or for multi-label sigmoids.

    `top_k` is what an answer holds: "best" (the default) the best label as one LabelScore; a number the k best, None
    all of them, as a list of LabelScore, best first; and, which the pipeline lacks, "threshold" the labels at or over
    their thresholds (.5 where the manifest names none), which may be none: what a multi-label user wants to see.
    With `pair` an input is two texts, `("text", "text_pair")`.
    """

    labels: tuple[str, ...]
    multi_label: bool = False
    pair: bool = False
    thresholds: tuple[float, ...] | None = None

    name = "text-classification"
    architecture = "SequenceClassification"
    many_answers = "labels"

    @property
    def main_metric(self) -> str:
        return "micro_f1" if self.multi_label else "accuracy"

    @property
    def input_names(self) -> tuple[str, ...]:
        return PAIR if self.pair else SINGLE

    @property
    def command_options(self) -> Mapping[str, Any]:
        return {"top_k": "threshold"} if self.multi_label else {}

    @classmethod
    def settings_of(cls, config: Mapping[str, Any], path: Path) -> dict[str, Any]:
        return {"multi_label": config.get("problem_type") == "multi_label_classification"}

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> TextClassification:
        thresholds = manifest.settings.get("thresholds")
        if len(manifest.labels) < 2 or (thresholds is not None and len(thresholds) != len(manifest.labels)):
            raise FolderError(
                f"the manifest has {len(manifest.labels)} labels and {len(thresholds or [])} thresholds: "
                "wanted two labels or more, and as many thresholds or none"
            )
        return cls(
            labels=manifest.labels,
            multi_label=bool(manifest.settings.get("multi_label", False)),
            pair=bool(manifest.settings.get("pair", False)),
            thresholds=None if thresholds is None else tuple(float(t) for t in thresholds),
        )

    @classmethod
    def read(cls, source: str | Path, columns: Mapping[str, str], *, split: str = "train") -> Examples:
        """Texts, or pairs of them, and labels. A list in the label column (a JSON array in CSV) makes the task multi-label.

        `columns` may hold "text", "text_pair" and "label". Raises DataError for a missing column, text or label.
        """
        from tlx.runtime.examples import LABEL_NAMES, Examples, pick_column, pick_pair, read_inputs, read_table

        table = read_table(source, split=split)
        pair = pick_pair(table, columns)
        names = {"text": pair[0], "text_pair": pair[1]} if pair else columns
        inputs = read_inputs(table, names, PAIR if pair else SINGLE, blank=False)
        label_column = pick_column(table, "label", LABEL_NAMES, columns.get("label"))
        values = list(table.columns[label_column])
        multi_label = any(_is_list(value) for value in values)
        read = _label_list if multi_label else _label
        gold = [read(table, row, label_column, value) for row, value in enumerate(values)]
        flat = [label for item in gold for label in item] if multi_label else gold
        return Examples(
            source=table.source,
            inputs=inputs,
            gold=gold,
            labels=_ordered({str(label) for label in flat}),
            settings={"multi_label": multi_label, "pair": pair is not None},
            sha256=table.sha256,
        )

    def answers(
        self, outputs: Outputs, *, top_k: TopK = "best", **options: Any
    ) -> list[LabelScore] | list[list[LabelScore]]:
        """One answer for each input. Raises UsageError for an option that is none."""
        if options:
            raise UsageError(f"text-classification has no option {sorted(options)[0]!r}: it has top_k")
        scores = self.scores(outputs.values)
        labels = self.labels
        if top_k == "best":
            best = scores.argmax(axis=1).tolist()
            top = scores.max(axis=1).tolist()
            flat: list[LabelScore] = [{"label": labels[i], "score": s} for i, s in zip(best, top, strict=True)]
            return flat
        if top_k != "threshold" and top_k is not None and (type(top_k) is not int or top_k < 1):
            raise UsageError(
                f"top_k is {top_k!r}: wanted a whole number from 1, None for all labels, 'best' or 'threshold'"
            )
        order = np.argsort(-scores, axis=1, kind="stable")
        if isinstance(top_k, int):
            order = order[:, :top_k]
        ranked = np.take_along_axis(scores, order, axis=1)
        kept = ranked >= (self._threshold[order] if top_k == "threshold" else 0.0)
        answers: list[list[LabelScore]] = [
            [{"label": labels[i], "score": s} for i, s, keep in zip(*row, strict=True) if keep]
            for row in zip(order.tolist(), ranked.tolist(), kept.tolist(), strict=True)
        ]
        return answers

    def answer(self, outputs: Outputs, *, top_k: TopK = "best", **options: Any) -> list[LabelScore]:
        """The answer for one input: a list in every case, as transformers.pipeline has it."""
        if top_k != "best" or options or self.multi_label:
            answers = self.answers(outputs, top_k=top_k, **options)
            return answers if top_k == "best" else answers[0]  # type: ignore[return-value]
        row = outputs.values[0]
        best = int(row.argmax())
        return [{"label": self.labels[best], "score": float(1.0 / np.exp(row - row[best]).sum())}]

    def scores(self, logits: Floats) -> Floats:
        """Probabilities, `(n, labels)`: softmax rows, or sigmoids when multi-label."""
        if self.multi_label:
            with np.errstate(over="ignore"):  # exp(-logit) = inf gives the right score, 0
                sigmoids: Floats = (1.0 / (1.0 + np.exp(-logits))).astype(np.float32, copy=False)
            return sigmoids
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        softmax: Floats = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32, copy=False)
        return softmax

    def metrics(self, outputs: Outputs, examples: Examples) -> dict[str, float]:
        """accuracy and macro_f1; for multi-label micro_f1, macro_f1 and accuracy (exact match of the set).

        A gold label that the model does not know counts as an error.
        """
        if examples.gold is None:
            raise DataError(f"{examples.source} has no labels: nothing to measure against")
        logits = outputs.values
        if self.multi_label:
            predicted, (gold, unknown) = self._chosen(logits), self._gold_matrix(examples)
            macro, micro = multi_label_f1(predicted, gold, missed=int(unknown.sum()))
            return {
                "micro_f1": micro,
                "macro_f1": macro,
                "accuracy": float(np.mean((predicted == gold).all(axis=1) & (unknown == 0))),
            }
        if any(not isinstance(label, str) for label in examples.gold):
            raise DataError(f"{examples.source} has lists of labels, the model gives one label a text: give one a row")
        indices = np.array([self._index.get(label, -1) for label in examples.gold], dtype=np.int64)
        best = logits.argmax(axis=1).astype(np.int64)
        return {
            "accuracy": accuracy(best, indices),
            "macro_f1": single_label_f1(best, indices, len(self.labels)),
        }

    def flips(self, outputs: Outputs, reference: Outputs) -> float:
        """The share of inputs whose best label (or set of labels) differs."""
        logits, other = outputs.values, reference.values
        if self.multi_label:
            return float(np.mean((self._chosen(logits) != self._chosen(other)).any(axis=1)))
        return float(np.mean(logits.argmax(axis=1) != other.argmax(axis=1)))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.labels)}

    @cached_property
    def _threshold(self) -> Floats:
        return np.asarray(self.thresholds or [0.5] * len(self.labels), dtype=np.float32)

    def _chosen(self, logits: Floats) -> NDArray[np.bool_]:
        chosen: NDArray[np.bool_] = self.scores(logits) >= self._threshold
        return chosen

    def _gold_matrix(self, examples: Examples) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Gold `(n, labels)`, and how many labels of each row, `(n,)`, the model does not know. A lone label is a set of one."""
        gold = np.zeros((len(examples), len(self.labels)), dtype=np.bool_)
        unknown = np.zeros(len(examples), dtype=np.int64)
        for row, item in enumerate(examples.gold or ()):
            for label in (item,) if isinstance(item, str) else item:
                if label in self._index:
                    gold[row, self._index[label]] = True
                else:
                    unknown[row] += 1
        return gold, unknown


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (
        isinstance(value, str) and value.startswith("[") and value.endswith("]")
    )


def _label(table: Table, row: int, column: str, value: Any) -> str:
    from tlx.runtime.examples import is_missing

    if is_missing(value) or (isinstance(value, str) and value.strip().lower() == "nan"):
        raise DataError(f"{table.where(row)}: column {column!r} has no label: give one or remove the row")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _label_list(table: Table, row: int, column: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{table.where(row)}: column {column!r} holds {value!r}: wanted a JSON list of labels"
            ) from error
    if not isinstance(value, (list, tuple)):
        raise DataError(
            f"{table.where(row)}: column {column!r} holds {value!r}, other rows hold lists: use lists throughout"
        )
    return tuple(dict.fromkeys(_label(table, row, column, item) for item in value))


def _ordered(labels: set[str]) -> tuple[str, ...]:
    """Numbers in numeric order, else alphabetic."""
    if all(label.lstrip("-").isdigit() for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


TASK: type[TextClassification] = TextClassification
