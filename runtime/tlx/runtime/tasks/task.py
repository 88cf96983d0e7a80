"""What every task's torch-free half offers to the predictor, to evaluation and to export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tlx.runtime.examples import Examples, Table
    from tlx.runtime.folder import Manifest

__all__ = ["Floats", "Task"]

Floats = NDArray[np.float32]


class Task(Protocol):
    """One task: from a table to examples, from logits to answers, from logits and gold to metrics.

    `logits` is what the model gave for n inputs, `(n, labels)` float32 for classification.
    """

    name: str
    main_metric: str

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Task: ...

    @classmethod
    def parse(cls, table: Table, columns: Mapping[str, str]) -> Examples:
        """Typed examples from a table; `columns` overrides the guessed columns (`{"text": …, "label": …}`)."""
        ...

    def answers(self, logits: Floats, **options: Any) -> Sequence[Any]:
        """One answer for each row of logits, in the shapes of transformers.pipeline."""
        ...

    def answer(self, logits: Floats, **options: Any) -> Any:
        """The answer for one text, `(1, …)` logits, in the shape that transformers.pipeline gives for a str."""
        ...

    def metrics(self, logits: Floats, examples: Examples) -> dict[str, float]:
        """The task's metrics; `main_metric` is among them, and greater is better."""
        ...

    def flips(self, logits: Floats, reference: Floats) -> float:
        """The share of rows whose answer differs between the two."""
        ...
