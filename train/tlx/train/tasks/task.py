"""What every task's torch half offers to training: its model class, its gold as tensors, its losses and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tlx.runtime.examples import Examples, Table

__all__ = ["TrainTask"]


class TrainTask(Protocol):
    """One task while it is trained. `outputs` is `(rows, outputs)` float32, what a teacher hands to a student."""

    name: str
    main_metric: str
    auto_class: Any
    labels: tuple[str, ...]
    settings: dict[str, Any]

    def __init__(self, examples: Examples) -> None: ...

    @staticmethod
    def parse(table: Table, columns: Mapping[str, str]) -> Examples:
        """Typed examples from a table."""
        ...

    def adopt_labels(self, labels: tuple[str, ...], source: str) -> None:
        """Takes a teacher's labels, in its order. Raises DataError when the data has others."""
        ...

    def write_extras(self, folder: Path, model: PreTrainedModel) -> None:
        """Files that belong to this task alone."""
        ...

    def config_changes(self) -> dict[str, Any]:
        """What the task sets in the model's config (labels, problem type)."""
        ...

    def gold(self, examples: Examples) -> torch.Tensor | None:
        """The gold as one tensor, rows first; rows without gold hold the ignored value."""
        ...

    def unlabelled_gold(self, rows: int) -> torch.Tensor | None:
        """So many rows of the ignored value, to stand behind those of `gold`."""
        ...

    def outputs(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], **asked: bool
    ) -> tuple[torch.Tensor, Any]:
        """(outputs, all that the model returned)."""
        ...

    def loss(self, outputs: torch.Tensor, gold: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """The task's own loss over rows that have gold; zero when none has."""
        ...

    def soft_loss(self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, temperature: float) -> torch.Tensor:
        """How far the student's outputs are from the teacher's."""
        ...

    def metrics(
        self, outputs: NDArray[np.float32], examples: Examples, teacher_outputs: NDArray[np.float32] | None
    ) -> dict[str, float]:
        """Validation figures; `main_metric` is among them, greater is better."""
        ...
