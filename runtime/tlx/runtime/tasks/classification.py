"""text-classification, single- and multi-label, with or without rejection: columns, answers and metrics, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.errors import DataError, FolderError, UsageError
from tlx.runtime.folder import Manifest
from tlx.runtime.metrics import accuracy, ece, multi_label_f1, single_label_f1
from tlx.runtime.tasks.activation import activated, activation_of
from tlx.runtime.tasks.limits import is_count
from tlx.runtime.tasks.task import Floats, Outputs, Task

if TYPE_CHECKING:
    from pathlib import Path

    from tlx.runtime.examples import Examples
    from tlx.runtime.tables import Source

__all__ = ["TASK", "LabelScore", "TextClassification", "TopK"]

SINGLE, PAIR = ("text",), ("text", "text_pair")
TopK = int | Literal["best", "threshold"] | None


class LabelScore(TypedDict):
    """One label with its probability. The label is None where the model rejects the text."""

    label: str | None
    score: float


@dataclass(frozen=True, kw_only=True)
class TextClassification(Task):
    """Answers are those of transformers.pipeline: scores are softmaxes, or for multi-label sigmoids.

    `top_k` is what an answer holds: "best" (the default) the best label as one LabelScore; a number the k best, None
    all of them, as a list of LabelScore, best first; and, which the pipeline lacks, "threshold" the labels at or over
    their thresholds (.5 where the manifest names none), which may be none: what a multi-label user wants to see.
    With `pair` an input is two texts, `("text", "text_pair")`. `function_to_apply` ("softmax", "sigmoid" or "none") makes the
    scores of the logits as they are, whatever the model was trained for and calibrated to.

    A folder that was calibrated has a `temperature`: scores are softmax(logits / temperature). With `reject_below` an
    input whose best score is under it is out of scope: its answer is the label None with that score, whatever top_k,
    unless the call says `reject=False`. In labelled files such inputs have the label `oos_label`, or none.
    """

    labels: tuple[str, ...]
    multi_label: bool = False
    pair: bool = False
    thresholds: tuple[float, ...] | None = None
    temperature: float | None = None
    reject_below: float | None = None
    oos_label: str = "oos"

    name = "text-classification"
    architecture = "SequenceClassification"
    many_answers = "labels"
    instead: ClassVar[Mapping[str, str]] = {
        "topk": "say top_k",
        "return_all_scores": "say top_k=None",
        "text_pair": "give both texts, as a tuple or a dict, to a model that reads pairs",
    }

    @property
    def main_metric(self) -> str:
        return "micro_f1" if self.multi_label else "accuracy"

    def guarded(self, metrics: Mapping[str, float]) -> Sequence[str]:
        """Where the model rejects, accuracy alone would not tell that it rejects other inputs than before."""
        return super().guarded(metrics) if self.reject_below is None else (self.main_metric, "answered_right")

    @property
    def input_names(self) -> tuple[str, ...]:
        return PAIR if self.pair else SINGLE

    @property
    def command_options(self) -> Mapping[str, Any]:
        return {"top_k": "threshold"} if self.multi_label else {}

    @property
    def usage(self) -> Sequence[str]:
        if self.multi_label:
            return (*super().usage, 'model("a text", top_k="threshold")   # the labels over their thresholds')
        several = '[("one", "text pair"), ("another", "pair")]' if self.pair else '["one text", "another"]'
        shown = (*super().usage, f"model({several}, top_k=3)")
        return (
            shown if self.reject_below is None else (*shown, f"model({several}, reject=False)   # labels in any case")
        )

    @classmethod
    def made(cls, architectures: Sequence[str], config: Mapping[str, Any]) -> bool:
        """Models with one output, and those of problem_type "regression", give scores and no labels."""
        from tlx.runtime.tasks.regression import one_output

        regression = config.get("problem_type") == "regression" or one_output(config)
        return super().made(architectures, config) and not regression

    @classmethod
    def settings_of(cls, config: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """sentence-transformers leaves a key of its own in the config of a CrossEncoder, which reads pairs."""
        several = config.get("problem_type") == "multi_label_classification"
        return {"multi_label": several, **({"pair": True} if "sentence_transformers" in config else {})}

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> TextClassification:
        settings = manifest.settings
        thresholds, temperature = settings.get("thresholds"), settings.get("temperature")
        reject_below = settings.get("reject_below")
        if len(manifest.labels) < 2 or (thresholds is not None and len(thresholds) != len(manifest.labels)):
            raise FolderError(
                f"the manifest has {len(manifest.labels)} labels and {len(thresholds or [])} thresholds: "
                "wanted two labels or more, and as many thresholds or none"
            )
        multi_label = bool(settings.get("multi_label", False))
        for key, value, low, high in (("temperature", temperature, 1e-6, 1e6), ("reject_below", reject_below, 0, 1)):
            if value is not None and (multi_label or type(value) not in (int, float) or not low <= value <= high):
                raise FolderError(
                    f"the manifest's {key} is {value!r}: wanted a number from {low:g} to {high:g}, and that only where "
                    "a text has one label; train the folder again"
                )
        return cls(
            labels=manifest.labels,
            multi_label=multi_label,
            pair=bool(settings.get("pair", False)),
            thresholds=None if thresholds is None else tuple(float(t) for t in thresholds),
            temperature=None if temperature is None else float(temperature),
            reject_below=None if reject_below is None else float(reject_below),
            oos_label=str(settings.get("oos_label", "oos")),
        )

    @classmethod
    def read(cls, source: Source, columns: Mapping[str, str], *, split: str = "train") -> Examples:
        """Texts, or pairs of them, and labels. Lists in the label column (JSON arrays in CSV, or labels between separators in
        a column called labels) make the task multi-label, and so does a "label" that names several columns of 1 and 0.

        `columns` may hold "text", "text_pair" and "label". Raises DataError for a missing column, text or label.
        """
        return cls._read(source, columns, split)

    @classmethod
    def read_beside(cls, source: Source, columns: Mapping[str, str], examples: Examples, *, split: str) -> Examples:
        several, pair = examples.settings["multi_label"], examples.settings["pair"]
        return cls._read(source, columns, split, known=examples.labels if several else (), pair=pair)

    def examples_of(self, source: Source, columns: Mapping[str, str], *, split: str = "test") -> Examples:
        """As `read`; where the model rejects, rows labelled `oos_label` or not at all are out of scope: their gold is None."""
        oos = None
        if self.reject_below is not None:
            oos = "" if self.oos_label in self.labels else self.oos_label
        known = self.labels if self.multi_label else ()
        return self._read(source, columns, split, oos=oos, known=known, pair=self.pair or None)

    @classmethod
    def _read(
        cls,
        source: Source,
        columns: Mapping[str, str],
        split: str,
        *,
        oos: str | None = None,
        known: Sequence[str] = (),
        pair: bool | None = None,
    ) -> Examples:
        """`known` are the labels, where a row has several and they are known; `pair` says whether inputs are pairs."""
        from tlx.runtime.columns import (
            LABEL_NAMES,
            check_choices,
            input_columns,
            inputs_in,
            pick_column,
            told,
            with_texts,
        )
        from tlx.runtime.examples import Examples
        from tlx.runtime.tables import read_table
        from tlx.runtime.tasks.labels import check_no_tags, decided, ordered_labels, read_column, read_indicators

        table = read_table(source, split=split)
        if "text" not in columns:
            check_choices(table)
        names = input_columns(table, columns, pair=pair)
        table = with_texts(table, names)
        asked = columns.get("label")
        several = [] if asked is None or asked in table.columns else [name.strip() for name in asked.split(",")]
        gold: list[Any]
        if len(several) > 1:
            gold = list(read_indicators(table, [pick_column(table, "label", (), name) for name in several]))
            multi_label, learnt = True, several
        else:
            learnt = [pick_column(table, "label", LABEL_NAMES, asked)]
            table = decided(table, learnt[0])
            gold, multi_label = read_column(table, learnt[0], oos, known)
            if multi_label:
                check_no_tags(table, learnt[0], gold)
        inputs = inputs_in(table, names)
        flat = [label for item in gold for label in item or ()] if multi_label else [g for g in gold if g is not None]
        return Examples(
            source=table.source,
            inputs=inputs,
            gold=gold,
            labels=ordered_labels({str(label) for label in flat}),
            settings={"multi_label": multi_label, "pair": len(names) > 1},
            sha256=table.sha256,
            told=told(table, names, learnt),
        )

    def answers(
        self,
        outputs: Outputs,
        *,
        top_k: TopK = "best",
        reject: bool | None = None,
        function_to_apply: str | None = None,
    ) -> list[LabelScore] | list[list[LabelScore]]:
        """One answer for each input. Raises UsageError for a wrong option."""
        own = scores = self.scores(outputs.values)
        if function_to_apply is not None:
            scores = activated(outputs.values, activation_of(function_to_apply))
        rejected = self._rejected(own, reject)
        labels = self.labels
        if top_k == "best":
            best = scores.argmax(axis=1).tolist()
            top = scores.max(axis=1).tolist()
            flat: list[LabelScore] = [{"label": labels[i], "score": s} for i, s in zip(best, top, strict=True)]
            for row in rejected:
                flat[row]["label"] = None
            return flat
        if top_k != "threshold" and top_k is not None and not is_count(top_k):
            raise UsageError(
                f"top_k is {top_k!r}: wanted a whole number from 1, None for all labels, 'best' or 'threshold'"
            )
        order = np.argsort(-scores, axis=1, kind="stable")
        if top_k is not None and not isinstance(top_k, str):
            order = order[:, :top_k]
        ranked = np.take_along_axis(scores, order, axis=1)
        kept = np.ones(order.shape, dtype=np.bool_)
        if top_k == "threshold":
            kept = np.take_along_axis(own, order, axis=1) >= self._threshold[order]
        answers: list[list[LabelScore]] = [
            [{"label": labels[i], "score": s} for i, s, keep in zip(*row, strict=True) if keep]
            for row in zip(order.tolist(), ranked.tolist(), kept.tolist(), strict=True)
        ]
        for row in rejected:
            answers[row] = [{"label": None, "score": float(ranked[row, 0])}]
        return answers

    def answer(self, outputs: Outputs, *, top_k: TopK = "best", **options: Any) -> LabelScore | list[LabelScore]:
        """The answer for one input. For a text it is a list in every case, as transformers.pipeline has it."""
        if (
            top_k != "best"
            or options
            or self.pair
            or self.multi_label
            or self.temperature is not None
            or self.reject_below is not None
        ):
            answers = self.answers(outputs, top_k=top_k, **options)
            return answers if top_k == "best" and not self.pair else answers[0]  # type: ignore[return-value]
        row = outputs.values[0]
        best = int(row.argmax())
        return [{"label": self.labels[best], "score": float(1.0 / np.exp(row - row[best]).sum())}]

    def scores(self, logits: Floats) -> Floats:
        """Probabilities, `(n, labels)`: softmax rows (of calibrated logits), or sigmoids when multi-label."""
        if self.multi_label:
            return activated(logits, "sigmoid")
        return activated(logits if self.temperature is None else logits / np.float32(self.temperature), "softmax")

    def metrics(self, outputs: Outputs, examples: Examples) -> dict[str, float]:
        """accuracy and macro_f1; for multi-label micro_f1, macro_f1 and accuracy (exact match of the set).

        A gold label that the model does not know counts as an error. A calibrated model has ece, and one that rejects
        more (`_rejection_metrics`); all of these but the oos ones are over the rows in scope.
        """
        if examples.gold is None:
            raise DataError(f"{examples.source} has no labels: nothing to measure against")
        logits = outputs.values
        if self.multi_label:
            predicted, (gold, unknown) = self._chosen(logits), self.gold_matrix(examples)
            macro, micro = multi_label_f1(predicted, gold, missed=int(unknown.sum()))
            return {
                "micro_f1": micro,
                "macro_f1": macro,
                "accuracy": float(np.mean((predicted == gold).all(axis=1) & (unknown == 0))),
            }
        if any(label is not None and not isinstance(label, str) for label in examples.gold):
            raise DataError(f"{examples.source} has lists of labels, the model gives one label a text: give one a row")
        inside = np.array([label is not None for label in examples.gold], dtype=np.bool_)
        if not inside.any():
            return self._rejection_metrics(self.scores(logits), np.zeros(len(inside), np.bool_), inside)
        known = np.array([self._index.get(label, -1) for label in examples.gold], dtype=np.int64)
        best = logits.argmax(axis=1).astype(np.int64)
        figures = {
            "accuracy": accuracy(best[inside], known[inside]),
            "macro_f1": single_label_f1(best[inside], known[inside], len(self.labels)),
        }
        if self.temperature is not None or self.reject_below is not None:
            scores, right = self.scores(logits), best == known
            figures["ece"] = ece(scores.max(axis=1)[inside], right[inside])
            figures |= self._rejection_metrics(scores, right, inside)
        return figures

    def _rejection_metrics(
        self, scores: Floats, right: NDArray[np.bool_], inside: NDArray[np.bool_]
    ) -> dict[str, float]:
        """{} for a model that rejects nothing. Of the rows in scope: `kept`, the share not rejected, and `kept_accuracy`, the
        share not rejected and right. With rows out of scope: `oos_recall`, the share of them rejected, and `oos_precision`,
        the share of the rejected that are out of scope (0 where nothing is rejected). Of all rows: `answered_right`, the share
        with the right label in scope, and without one out of scope.
        """
        if self.reject_below is None:
            return {}
        rejected = scores.max(axis=1) < np.float32(self.reject_below)
        figures: dict[str, float] = {}
        if inside.any():
            figures["kept"] = float(np.mean(~rejected[inside]))
            figures["kept_accuracy"] = float(np.mean((~rejected & right)[inside]))
        if not inside.all():
            found = float(np.sum(rejected & ~inside))
            figures["oos_recall"] = found / float(np.sum(~inside))
            figures["oos_precision"] = found / float(np.sum(rejected)) if found else 0.0
        figures["answered_right"] = float(np.mean(np.where(inside, ~rejected & right, rejected)))
        return figures

    def flips(self, outputs: Outputs, reference: Outputs) -> float:
        """The share of inputs whose best label (or set of labels) differs, or that only one of them rejects."""
        logits, other = outputs.values, reference.values
        if self.multi_label:
            return float(np.mean((self._chosen(logits) != self._chosen(other)).any(axis=1)))
        return float(np.mean(self._best(logits) != self._best(other)))

    def labels_of(self, gold: Any) -> Sequence[str]:
        return () if gold is None else super().labels_of(gold)

    def _best(self, logits: Floats) -> NDArray[np.int64]:
        """The best label's number, -1 where the input is rejected."""
        best: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)
        if self.reject_below is not None:
            best[self.scores(logits).max(axis=1) < np.float32(self.reject_below)] = -1
        return best

    def _rejected(self, scores: Floats, asked: bool | None) -> list[int]:
        """The rows whose answer is no label. Raises UsageError for a wrong option `reject`."""
        if asked is not None and type(asked) is not bool:
            raise UsageError(f"reject is {asked!r}: wanted True or False")
        if self.reject_below is None and asked:
            raise UsageError(
                "reject=True, but the model has no threshold: train it with `--oos FILE` or `--set task.keep=0.95`"
            )
        if self.reject_below is None or asked is False:
            return []
        rows: list[int] = np.flatnonzero(scores.max(axis=1) < np.float32(self.reject_below)).tolist()
        return rows

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.labels)}

    @cached_property
    def _threshold(self) -> Floats:
        return np.asarray(self.thresholds or [0.5] * len(self.labels), dtype=np.float32)

    def _chosen(self, logits: Floats) -> NDArray[np.bool_]:
        chosen: NDArray[np.bool_] = self.scores(logits) >= self._threshold
        return chosen

    def gold_matrix(self, examples: Examples) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Gold `(n, labels)`, and how many labels of each row, `(n,)`, the model does not know. A lone label is a set of one."""
        gold = np.zeros((len(examples), len(self.labels)), dtype=np.bool_)
        unknown = np.zeros(len(examples), dtype=np.int64)
        for row, item in enumerate(examples.gold or ()):
            for label in self.labels_of(item):
                if label in self._index:
                    gold[row, self._index[label]] = True
                else:
                    unknown[row] += 1
        return gold, unknown


TASK: type[TextClassification] = TextClassification
