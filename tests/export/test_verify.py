"""By which metric a variant is judged."""

from __future__ import annotations

from typing import Any

import pytest

from tlx.export.verify import judged_by
from tlx.runtime.folder import Manifest

FIGURES = {"accuracy": 0.9, "macro_f1": 0.8, "ece": 0.1}


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("macro_f1", "macro_f1"),
        (None, "accuracy"),
        ("kept", "accuracy"),
        ("ece", "accuracy"),
        (["macro_f1"], "accuracy"),
    ],
)
def test_a_drop_is_of_the_metric_that_training_chose_by(chosen: Any, expected: str) -> None:
    settings = {"multi_label": False, **({} if chosen is None else {"metric": chosen})}
    manifest = Manifest(task="text-classification", labels=("a", "b"), max_tokens=8, settings=settings)
    assert judged_by(manifest, FIGURES) == expected
