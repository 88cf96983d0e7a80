"""What every task's torch half offers to training: its model class, its gold as tensors, its losses and metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tlx.runtime.errors import DataError
from tlx.runtime.examples import Examples
from tlx.runtime.tasks.task import Encoded, Input, Outputs, Task
from tlx.train.batches import Batch, Ragged, Rows, TokenRows

__all__ = ["TrainTask"]


class TrainTask(ABC):
    """One task while it is trained: `runtime` is its torch-free half, by which texts are encoded and answers judged.

    `outputs` is `(units, width)` float32: one line for each row of the batch, or for each of its tokens, row after row, without
    padding (runtime Task, `units`). It is what a teacher hands to a student.
    """

    half: ClassVar[type[Task]]
    learns_alone: bool = True
    """False: all is learnt from a teacher."""
    least_tokens: int = 64
    """Training texts are cut at no fewer, unless the recipe says so."""
    transfers: bool = True
    """Whether augmented texts, labelled by a teacher, help its students."""
    small_students: ClassVar[bool] = False
    """Whether the small architectures (students/) have a head for it."""
    beside: ClassVar[bool] = False
    """Whether a teacher must run beside its student, because every step sees other inputs (`corrupted`)."""
    tells_by_loss: ClassVar[bool] = False
    """Whether `validation_loss` is told beside figures that are shares of right answers."""
    probes: bool = False
    """Whether its loss may be taken of a linear layer's outputs alone, so that a fresh head can be fitted before training."""
    runtime: Task
    group: int = 1
    """Rows that belong together and share every batch (a text and its positive)."""
    settings: dict[str, Any]
    """What the manifest will hold for the task."""

    def __init__(self, examples: Examples, options: Mapping[str, Any]) -> None:
        """For the training examples; `options` is the recipe's section [task], checked by `check_options`."""
        self.settings = dict(examples.settings)

    @property
    def name(self) -> str:
        return self.half.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.runtime.labels

    @property
    def main_metric(self) -> str:
        return self.runtime.main_metric

    @classmethod
    def auto_class(cls) -> Any:
        """transformers' class that loads the task's models."""
        name = f"AutoModelFor{cls.half.architecture}" if cls.half.architecture else "AutoModel"
        return getattr(transformers, name)

    def adopt_labels(self, labels: tuple[str, ...], source: str) -> None:
        """Takes a teacher's labels, in its order. Raises DataError when the data has others."""
        unknown = sorted(set(self.labels) - set(labels))
        if unknown:
            raise DataError(
                f"teacher {source} does not know the label {unknown[0]!r} of the training data ({len(unknown)} such): "
                "give a teacher that was trained on these labels"
            )
        self._set_labels(labels)

    def _set_labels(self, labels: tuple[str, ...]) -> None:
        """The runtime half and the settings have these labels from now on. Tasks with labels define it."""
        raise NotImplementedError(f"{self.name} has no labels")

    def adopt_tokenizer(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Takes what the task needs of the student's tokenizer, before anything is encoded."""

    def arranged(self, encoded: Encoded, max_tokens: int) -> Encoded:
        """The training rows as the model shall see them (texts joined to full rows, for language models)."""
        return encoded

    @property
    def per_token(self) -> bool:
        """Whether a row has one line of outputs a token."""
        return self.runtime.per_token

    def check_examples(self, examples: Examples) -> None:
        """Raises DataError when validation examples do not fit the training examples."""

    def completed(
        self, train: Examples, validation: Examples, columns: Mapping[str, str], seed: int
    ) -> tuple[Examples, Examples, tuple[Examples, ...]]:
        """(train, validation) with the examples that the task's own options name, and the files that these came from; `columns`
        are those that the recipe names."""
        return train, validation, ()

    def check_teacher(self, model: PreTrainedModel, source: str) -> None:
        """Raises DataError when the teacher's answers are of another kind than the data's gold."""

    def adopt_options(self, source: str) -> tuple[Mapping[str, Any], str]:
        """(options that the recipe leaves open and this teacher decides, a line that says so); ({}, "") where none are."""
        return {}, ""

    def start_from(self, source: str) -> None:
        """Takes over what the task needs of the model (a folder or a name) that the student starts from."""

    def write_extras(self, folder: Path, model: PreTrainedModel, max_tokens: int) -> None:
        """Files that belong to this task alone."""

    def config_changes(self) -> dict[str, Any]:
        """What the task sets in the model's config (labels, problem type)."""
        return {}

    def strata(self, gold: Any) -> Sequence[str]:
        """The labels by which a validation split keeps each one's share; () where gold has none."""
        return ()

    def split_group(self, item: Input) -> str | None:
        """What the input belongs to, where all of it must be on one side of a validation split."""
        return None

    def alike(self, gold: Any) -> Hashable | None:
        """What two examples have in common when texts made of both may be like either; None where that cannot be told."""
        return gold if isinstance(gold, (str, tuple)) else None

    @abstractmethod
    def gold(self, examples: Examples, encoded: Encoded) -> Ragged | None:
        """The gold of the rows that `encoded` has for the examples; what has no gold holds the ignored value."""

    def unlabelled_gold(self, encoded: Encoded) -> Ragged | None:
        """The ignored value for rows without gold, to stand behind those of `gold`."""
        return None

    def held_gold(self, encoded: Encoded) -> Ragged | None:
        """What `kept` needs to know of the validation rows."""
        return None

    def kept(self, outputs: torch.Tensor, gold: torch.Tensor | None) -> torch.Tensor:
        """What is kept of the outputs of validation rows, as the runtime half's values; `gold` is theirs in `held_gold`."""
        return outputs

    @abstractmethod
    def outputs(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], **asked: bool
    ) -> tuple[torch.Tensor, Any]:
        """(outputs, all that the model returned)."""

    def of_teachers(self, values: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """What several teachers say, from the values of each, `(units, width)` float32: their mean."""
        return (sum(values[1:], values[0]) / len(values)).astype(np.float32)

    @property
    def rows_a_step(self) -> int:
        """Rows of a batch on average, for transformers, where the recipe does not say."""
        return 32

    @property
    def rate_share(self) -> float:
        """Of the usual rate of fine-tuning, where the recipe does not say."""
        return 1.0

    @property
    def label_smoothing(self) -> float:
        """Of gold alone, where the recipe does not say."""
        return 0.0

    def drawn(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """The rows of one epoch (in groups that `rng` draws, say). Each row is there as before."""
        return rows

    def corrupted(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch as a training step sees it (masked tokens, for masked language models)."""
        return batch

    @abstractmethod
    def loss(self, outputs: torch.Tensor, batch: Batch, label_smoothing: float) -> torch.Tensor:
        """The task's own loss over what has gold; zero when nothing has."""

    @abstractmethod
    def soft_loss(
        self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """How far the student's outputs are from the teacher's."""

    def aligned(self, theirs: Outputs, own: Encoded) -> NDArray[np.float32]:
        """A teacher's values as lines of the student's units, where their tokenizers differ."""
        return theirs.values

    def metrics(
        self, outputs: Outputs, examples: Examples, teacher_values: NDArray[np.float32] | None
    ) -> dict[str, float]:
        """Validation figures; `main_metric` is among them, greater is better."""
        return self.runtime.metrics(outputs, examples)

    def validation_loss(self, outputs: Outputs, examples: Examples) -> float | None:
        """The task's own loss over the validation rows' values; None where it does not tell (`tells_by_loss`)."""
        if not self.tells_by_loss or examples.gold is None:
            return None
        gold = self.gold(examples, outputs.encoded)
        if gold is None:
            return None
        return float(self.loss(torch.from_numpy(outputs.values), Batch(inputs={}, gold=gold.values), 0.0))

    def tune(self, outputs: Outputs, examples: Examples) -> None:
        """Chooses on the validation rows what the answers need beside the weights (thresholds), into `settings`.

        `metrics` counts with what this would choose, so that a folder's figures are those of its answers.
        """

    def begin(self, model: PreTrainedModel, fresh: Collection[str]) -> None:
        """The model is as the task trains it. `fresh` names the parameters that hold no trained weights."""

    def acquaint(self, model: PreTrainedModel, fresh: Collection[str], train: TokenRows) -> None:
        """After `begin`, with the training rows: what counting them alone tells of the parameters in `fresh`."""

    def finish(self, model: PreTrainedModel) -> None:
        """After `tune`: the model is as the folder will hold it."""
