"""Which epoch's weights are kept: the later ones, unless the metric tells that they are worse."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.train.conftest import recipe, rows, write_csv

from tlx.export.torch_engine import open_torch
from tlx.runtime.errors import UsageError
from tlx.runtime.evaluate import evaluate
from tlx.runtime.folder import open_folder
from tlx.runtime.tasks.classification import TextClassification
from tlx.train.checkpoint import Progress
from tlx.train.console import Console
from tlx.train.loop import _compared
from tlx.train.train import train

QUIET = Console(quiet=True)


@pytest.mark.parametrize(
    ("metric", "value", "best", "start", "rows", "expected"),
    [
        ("accuracy", 0.9, 0.8, None, 100, (True, True)),
        ("accuracy", 0.77, 0.8, None, 100, (True, True)),  # the standard error is .04
        ("accuracy", 0.75, 0.8, None, 100, (False, False)),
        ("accuracy", 0.77, 0.8, None, 10_000, (False, False)),
        ("accuracy", 1.0, 1.0, None, 100, (True, False)),
        ("accuracy", 0.99, 1.0, None, 100, (False, False)),
        ("f1", 0.0, 0.0, None, 100, (True, True)),
        ("mse", 0.2, 0.3, None, 100, (True, True)),
        ("mse", 2.0, 3.0, None, 100, (True, True)),
        ("mse", 0.3, 0.3, None, 100, (True, True)),
        ("mse", 0.31, 0.3, None, 100, (False, False)),
        ("spearman", 0.1, float("nan"), None, 100, (True, True)),
        ("spearman", float("nan"), 0.1, None, 100, (False, False)),
        ("accuracy", 0.8, 0.8, 0.8, 100, (False, True)),  # what was there before must be beaten
        ("accuracy", 0.81, 0.82, 0.8, 100, (True, True)),
    ],
)
def test_later_weights_are_kept_unless_they_are_worse_by_more_than_chance(
    metric: str, value: float, best: float, start: float | None, rows: int, expected: tuple[bool, bool]
) -> None:
    assert _compared(metric, value, Progress(best=best, start=start), rows) == expected


def test_the_folder_tells_the_figures_of_the_weights_that_it_holds(base: Path, data: Path, tmp_path: Path) -> None:
    held = write_csv(tmp_path / "held.csv", rows(20, 9))
    made = recipe(data, base, data={"validation": str(held)}, train={"epochs": 4, "learning_rate": 3e-3})
    result = train(made, tmp_path / "model", console=QUIET)
    evaluations = open_folder(tmp_path / "model").manifest.lineage["training"]["evaluations"]
    (kept,) = [found for found in evaluations if found["epoch"] == result.best_epoch]
    assert result.metrics == {name: kept[name] for name in ("accuracy", "macro_f1")}
    predicted = evaluate(open_torch(open_folder(tmp_path / "model"), "cpu"), TextClassification.read(held, {}))
    assert predicted["metrics"] == pytest.approx(result.metrics)


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
    (kept,) = [found for found in evaluations if found["epoch"] == result.best_epoch]
    best = max(found["macro_f1"] for found in evaluations)
    assert result.metrics["macro_f1"] == kept["macro_f1"] >= best - (best * (1 - best) / 30) ** 0.5
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
