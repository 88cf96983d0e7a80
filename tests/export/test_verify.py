"""By which metric a variant is judged."""

from __future__ import annotations

from typing import Any

import pytest

from tlx.export.verify import guarded_by
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
    assert guarded_by(manifest, FIGURES) == [expected]


def test_a_model_that_rejects_may_not_reject_otherwise_either() -> None:
    settings = {"multi_label": False, "reject_below": 0.4}
    manifest = Manifest(task="text-classification", labels=("a", "b"), max_tokens=8, settings=settings)
    assert guarded_by(manifest, {**FIGURES, "answered_right": 0.7}) == ["accuracy", "answered_right"]
    assert guarded_by(manifest, {"oos_recall": 0.5, "answered_right": 0.5}) == ["answered_right"]
