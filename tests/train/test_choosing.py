"""Which epoch's weights are kept: by the metric, among equal figures by the validation loss, else by the later epoch."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.train.conftest import recipe, rows, write_csv

from tlx.runtime.errors import UsageError
from tlx.runtime.folder import open_folder
from tlx.train.checkpoint import Progress
from tlx.train.console import Console
from tlx.train.loop import _compared
from tlx.train.train import train

QUIET = Console(quiet=True)


@pytest.mark.parametrize(
    ("metric", "value", "loss", "best", "best_loss", "expected"),
    [
        ("accuracy", 0.9, 5.0, 0.8, 1.0, (True, True)),
        ("accuracy", 0.7, 0.1, 0.8, 1.0, (False, False)),
        ("accuracy", 0.8, 0.9, 0.8, 1.0, (True, True)),
        ("accuracy", 0.8, 0.999, 0.8, 1.0, (True, False)),
        ("accuracy", 0.8, 1.0, 0.8, 1.0, (False, False)),
        ("accuracy", 0.8, 1.1, 0.8, 1.0, (False, False)),
        ("f1", 0.8, None, 0.8, None, (True, False)),
        ("f1", 0.0, None, 0.0, None, (True, True)),
        ("f1", 0.0, 2.0, 0.0, 1.0, (False, True)),
        ("mse", 0.2, None, 0.3, None, (True, True)),
        ("mse", 0.4, None, 0.3, None, (False, False)),
        ("spearman", 0.1, None, float("nan"), None, (True, True)),
    ],
)
def test_figures_are_compared_then_losses(
    metric: str, value: float, loss: float | None, best: float, best_loss: float | None, expected: tuple[bool, bool]
) -> None:
    assert _compared(metric, value, loss, Progress(best=best, best_loss=best_loss)) == expected


def test_among_equal_figures_the_lowest_validation_loss_is_kept(base: Path, tmp_path: Path) -> None:
    few = [("play some music now", "music")] * 49 + [("cancel my card", "card")]
    held = write_csv(tmp_path / "held.csv", few)
    path = write_csv(tmp_path / "train.csv", rows(60, 1) + [(f"play music song {n}", "music") for n in range(400)])
    settings = {"epochs": 5, "learning_rate": 1e-4, "patience": 9}
    result = train(
        recipe(path, base, data={"validation": str(held)}, train=settings), tmp_path / "model", console=QUIET
    )
    evaluations = open_folder(tmp_path / "model").manifest.lineage["training"]["evaluations"]
    best = max(found["accuracy"] for found in evaluations)
    ties = [found for found in evaluations if found["accuracy"] == best]
    assert len(ties) > 1
    assert result.best_epoch == min(ties, key=lambda found: float(found["validation_loss"]))["epoch"]
    assert result.best_epoch > ties[0]["epoch"]
    assert "validation_loss" not in result.metrics


def test_the_validation_loss_is_the_cross_entropy_of_the_validation_rows(
    base: Path, data: Path, tmp_path: Path
) -> None:
    import numpy as np
    from transformers import pipeline

    held = rows(20, 9)
    made = recipe(data, base, data={"validation": str(write_csv(tmp_path / "held.csv", held))}, train={"epochs": 1})
    train(made, tmp_path / "model", console=QUIET)
    training = open_folder(tmp_path / "model").manifest.lineage["training"]
    classify = pipeline("text-classification", model=str(tmp_path / "model"), device="cpu", top_k=None)
    found = [{s["label"]: s["score"] for s in answer} for answer in classify([text for text, _ in held])]
    expected = -np.mean([np.log(scores[label]) for scores, (_, label) in zip(found, held, strict=True)])
    assert training["evaluations"][-1]["validation_loss"] == pytest.approx(float(expected), abs=1e-4)


def test_the_user_chooses_the_metric_and_the_folder_says_so(
    base: Path, data: Path, teacher: Path, tmp_path: Path
) -> None:
    made = recipe(data, base, train={"metric": "macro_f1", "epochs": 3})
    result = train(made, tmp_path / "model", console=QUIET)
    manifest = open_folder(tmp_path / "model").manifest
    evaluations = manifest.lineage["training"]["evaluations"]
    assert result.metrics["macro_f1"] == max(found["macro_f1"] for found in evaluations)
    assert manifest.settings["metric"] == "macro_f1"
    assert "metric" not in open_folder(teacher).manifest.settings
    assert (
        "metric" not in open_folder(tmp_path / "model").manifest.settings
        or manifest.lineage["recipe"]["train"]["metric"] == "macro_f1"
    )


def test_a_metric_that_is_not_measured_is_refused_before_the_first_step(base: Path, data: Path, tmp_path: Path) -> None:
    made = recipe(data, base, train={"metric": "f2"})
    with pytest.raises(
        UsageError,
        match=r"train.metric is 'f2', which text-classification does not .* choose one of accuracy, macro_f1$",
    ):
        train(made, tmp_path / "model", console=QUIET)
    assert not (tmp_path / "model").exists()


def test_regression_may_be_judged_by_its_error(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    scores = {"card": 1.0, "lights": 2.0, "music": 4.0}
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "score"), *((text, scores[label]) for text, label in rows(90, 5))])
    made = recipe(path, base, model={"task": "regression"}, train={"metric": "mse", "epochs": 4})
    result = train(made, tmp_path / "model", console=QUIET)
    evaluations = open_folder(tmp_path / "model").manifest.lineage["training"]["evaluations"]
    assert result.metrics["mse"] == min(found["mse"] for found in evaluations)
