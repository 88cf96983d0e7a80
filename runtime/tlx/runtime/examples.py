"""Typed examples: inputs with their gold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tlx.runtime.tasks.task import Input

__all__ = ["Examples"]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Inputs (a str or a tuple of str each) with their gold, parallel. `gold` is None where there is none.

    The items of `gold` belong to the task: text-classification has a label (str), or for multi-label a tuple of labels.
    `labels` are the distinct labels in order; `settings` are what the task learnt of the data (`{"multi_label": bool}`).
    `told` says in words which columns were read as what ("" where a format leaves no doubt).
    """

    source: str
    inputs: Sequence[Input]
    gold: Sequence[Any] | None = None
    labels: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    told: str = ""

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def texts(self) -> list[str]:
        """Every text of every input."""
        return [text for item in self.inputs for text in ((item,) if isinstance(item, str) else item)]

    def select(self, rows: Sequence[int], source: str | None = None) -> Examples:
        """The examples at `rows`, in that order."""
        return replace(
            self,
            source=source or self.source,
            inputs=[self.inputs[row] for row in rows],
            gold=None if self.gold is None else [self.gold[row] for row in rows],
        )
