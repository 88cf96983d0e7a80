"""regression: a score for a text or a pair of texts (similarity, rating), without torch.

Hugging Face calls such models text-classification with `problem_type` "regression" and one label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np

from tlx.runtime.errors import DataError
from tlx.runtime.metrics import mean_squared_error, pearson, spearman
from tlx.runtime.tasks.activation import activated, activation_of
from tlx.runtime.tasks.task import Floats, Outputs, Task

if TYPE_CHECKING:
    from pathlib import Path

    from tlx.runtime.examples import Examples
    from tlx.runtime.folder import Manifest
    from tlx.runtime.tables import Source, Table

__all__ = ["TASK", "Regression", "Score"]

MORE_NAMES = ("value", "target", "label", "labels")
"""Columns that may hold the scores too."""
FLIP = 0.05
"""The share of the reference's range by which a score has to move to count as another answer."""


class Score(TypedDict):
    """The number that the model gives."""

    score: float


@dataclass(frozen=True, kw_only=True)
class Regression(Task):
    """Answers are `{"score": float}`, with the number that transformers.pipeline gives as the score of its only label.

    With `pair` an input is two texts, `("text", "text_pair")`. `sigmoid` models answer between 0 and 1, as the pipeline
    has it for one label without `problem_type` "regression". `function_to_apply` ("sigmoid", "none") says otherwise.
    """

    pair: bool = False
    sigmoid: bool = False

    name = "regression"
    architecture = "SequenceClassification"
    optimum_task = "text-classification"
    instead: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("top_k", "topk", "return_all_scores"), "an answer is one score, there are no labels to choose from"
    )

    @property
    def main_metric(self) -> str:
        return "spearman"

    @property
    def input_names(self) -> tuple[str, ...]:
        return ("text", "text_pair") if self.pair else ("text",)

    @property
    def width(self) -> int:
        return 1

    @classmethod
    def recognises(cls, suffix: str, columns: Mapping[str, Any]) -> bool:
        """A column called score, similarity or rating that holds a number, and none that is called as labels are; or a label
        that is a number and not whole."""
        from tlx.runtime.columns import LABEL_NAMES, SCORE_NAMES
        from tlx.runtime.tables import number_in

        numbers = {name.lower(): number_in(value) for name, value in columns.items()}
        label = next((name for name in LABEL_NAMES if name in numbers), None)
        if label is not None:
            return bool((numbers[label] or 0.0) % 1)
        return any(numbers.get(name) is not None for name in SCORE_NAMES)

    @classmethod
    def made(cls, architectures: Sequence[str], config: Mapping[str, Any]) -> bool:
        return super().made(architectures, config) and one_output(config)

    @classmethod
    def settings_of(cls, config: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """sentence-transformers leaves a key of its own in the config of a CrossEncoder, which reads pairs."""
        return {"pair": "sentence_transformers" in config, "sigmoid": config.get("problem_type") != "regression"}

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Regression:
        settings = manifest.settings
        return cls(pair=bool(settings.get("pair", False)), sigmoid=bool(settings.get("sigmoid", False)))

    @classmethod
    def read(cls, source: Source, columns: Mapping[str, str], *, split: str = "train") -> Examples:
        """Texts, or pairs of them, and a number each. `columns` may hold "text", "text_pair" and "label" (the score).

        Raises DataError for a missing column or text, and for a score that is no finite number.
        """
        return cls._read(source, columns, split, None)

    @classmethod
    def read_beside(cls, source: Source, columns: Mapping[str, str], examples: Examples, *, split: str) -> Examples:
        return cls._read(source, columns, split, examples.settings["pair"])

    def examples_of(self, source: Source, columns: Mapping[str, str], *, split: str = "test") -> Examples:
        return self._read(source, columns, split, self.pair or None)

    @classmethod
    def _read(cls, source: Source, columns: Mapping[str, str], split: str, pair: bool | None) -> Examples:
        from tlx.runtime.columns import SCORE_NAMES, input_columns, inputs_in, pick_column, told, with_texts
        from tlx.runtime.examples import Examples
        from tlx.runtime.tables import read_table

        table = read_table(source, split=split)
        names = input_columns(table, columns, pair=pair)
        table = with_texts(table, names)
        column = pick_column(table, "label", (*SCORE_NAMES, *MORE_NAMES), columns.get("label"))
        gold = [_score(table, row, column, value) for row, value in enumerate(table.columns[column])]
        return Examples(
            source=table.source,
            inputs=inputs_in(table, names),
            gold=gold,
            settings={"pair": len(names) > 1},
            sha256=table.sha256,
            told=told(table, names, [column]),
        )

    def answers(self, outputs: Outputs, *, function_to_apply: str | None = None) -> list[Score]:
        """One answer for each input. Raises UsageError for a wrong option."""
        scores = self.scores(outputs.values)
        if function_to_apply is not None:
            scores = activated(outputs.values, activation_of(function_to_apply))[:, 0]
        return [{"score": score} for score in scores.tolist()]

    def scores(self, values: Floats) -> Floats:
        """The answers' numbers, `(n,)`."""
        return activated(values, "sigmoid" if self.sigmoid else "none")[:, 0]

    def metrics(self, outputs: Outputs, examples: Examples) -> dict[str, float]:
        """spearman, pearson (both 0 for a model that gives everything the same score) and mse."""
        gold, scores = gold_scores(examples), self.scores(outputs.values)
        if not np.isfinite(scores).all():
            return dict.fromkeys(("spearman", "pearson", "mse"), math.nan)
        return {
            "spearman": spearman(scores, gold),
            "pearson": pearson(scores, gold),
            "mse": mean_squared_error(scores, gold),
        }

    def flips(self, outputs: Outputs, reference: Outputs) -> float:
        """The share of inputs whose score moved by more than 5 % of the range that the reference's scores span."""
        found, wanted = self.scores(outputs.values), self.scores(reference.values)
        span = float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
        return float(np.mean(np.abs(found - wanted) > FLIP * span))


def one_output(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's config.json is of a model with one output (without word of it, transformers means two)."""
    return len(config.get("id2label") or ()) == 1 or config.get("num_labels") == 1


def gold_scores(examples: Examples) -> Floats:
    """The gold, `(n,)` float32. Raises DataError when there is none, or it is the same everywhere."""
    if examples.gold is None:
        raise DataError(f"{examples.source} has no scores: nothing to measure against")
    gold = np.asarray(examples.gold, dtype=np.float32)
    if gold.min() == gold.max():
        raise DataError(
            f"{examples.source}: every score is {gold[0]:g} ({len(gold)} rows): "
            "wanted two different ones at least, there is nothing to correlate with"
        )
    return gold


def _score(table: Table, row: int, column: str, value: Any) -> float:
    from tlx.runtime.tables import is_missing, number_in

    number = number_in(value)
    if number is not None and abs(number) <= float(np.finfo(np.float32).max):
        return number
    found = "has no score" if is_missing(value) and not isinstance(value, float) else f"holds {value!r}"
    raise DataError(
        f"{table.where(row)}: column {column!r} {found}: wanted a finite number; give one or remove the row"
    )


TASK: type[Regression] = Regression
