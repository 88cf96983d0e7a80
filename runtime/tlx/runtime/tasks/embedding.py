"""feature-extraction: texts → embeddings, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.errors import UsageError
from tlx.runtime.tasks.task import Encoded, Floats, Ints, Outputs, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlx.runtime.examples import Examples
    from tlx.runtime.folder import Manifest

__all__ = ["TASK", "FeatureExtraction"]


@dataclass(frozen=True, kw_only=True)
class FeatureExtraction(Task):
    """Answers are mean-pooled, normalised embeddings, `(hidden,)` float32 each."""

    name = "feature-extraction"
    architecture = ""
    heads = ("last_hidden_state",)
    unread_weights = ("pooler.",)
    labels: tuple[str, ...] = ()

    @property
    def main_metric(self) -> str:
        return "cosine"

    @classmethod
    def made(cls, architectures: Sequence[str], config: Mapping[str, Any]) -> bool:
        return any(name.endswith("Model") for name in architectures)

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> FeatureExtraction:
        return cls()

    @classmethod
    def read(cls, source: str | Path, columns: Mapping[str, str], *, split: str = "train") -> Examples:
        """Plain texts; rows without one are left out."""
        from tlx.runtime.examples import TEXT_NAMES, Examples, is_missing, pick_column, read_table

        table = read_table(source, split=split)
        column = pick_column(table, "text", TEXT_NAMES, columns.get("text"))
        texts = [str(value) for value in table.columns[column] if not is_missing(value)]
        return Examples(source=table.source, inputs=texts, sha256=table.sha256)

    def collect(
        self, raw: Sequence[Floats], encoded: Encoded, rows: Ints, mask: NDArray[np.bool_] | NDArray[np.int64] | None
    ) -> Floats:
        states = raw[0]
        if mask is None:
            pooled = states.mean(axis=1)
        else:
            weight = mask.astype(np.float32)
            pooled = np.einsum("rth,rt->rh", states, weight) / weight.sum(axis=1, keepdims=True)
        normalised: Floats = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        return normalised

    def answers(self, outputs: Outputs, **options: Any) -> Any:
        if options:
            raise UsageError(f"feature-extraction has no option {sorted(options)[0]!r}")
        return outputs.values

    def metrics(self, outputs: Outputs, examples: Examples) -> dict[str, float]:
        return {}

    def flips(self, outputs: Outputs, reference: Outputs) -> float:
        return 0.0


TASK: type[FeatureExtraction] = FeatureExtraction
