"""Regression in training: the scale of the scores, the objectives, teachers and students, whole folders."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.conftest import recipe, rows, write_csv
from transformers import AutoModelForSequenceClassification

from tlx.runtime import DataError, TlxError, UsageError
from tlx.runtime.evaluate import evaluate
from tlx.runtime.folder import open_folder
from tlx.runtime.tasks.regression import Regression
from tlx.train.console import Console
from tlx.train.tasks.regression import TrainRegression
from tlx.train.train import TrainResult, run_folder, train

VALUES = {"card": -40.0, "lights": 60.0, "music": 260.0}
"""Far from zero mean and unit deviation."""


def scored(path: Path, count: int = 120, seed: int = 0) -> Path:
    return write_csv(path, [(text, str(VALUES[label])) for text, label in rows(count, seed)], ("text", "score"))


def paired(path: Path, count: int = 120) -> Path:
    found = rows(count, 1)
    pairs = [(a, b, str(float(x == y))) for (a, x), (b, y) in itertools.pairwise(found)]
    return write_csv(path, pairs, ("sentence1", "sentence2", "score"))


def run(source: Path, out: Path, base: Path | None, **sections: dict[str, Any]) -> TrainResult:
    return train(recipe(source, base, **sections), out, console=Console(quiet=True))


def torch_metrics(folder: Path, source: Path) -> dict[str, float]:
    from tlx.export.torch_engine import open_torch

    opened = open_folder(folder)
    return dict(evaluate(open_torch(opened, "cpu"), Regression.read(source, {}))["metrics"])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored(tmp_path_factory.mktemp("scores") / "train.csv")


@pytest.fixture(scope="module")
def model(source: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("regression") / "model"
    run(source, out, base, data={"validation": str(source)}, train={"epochs": 10})
    return out


def test_a_folder_answers_on_the_scale_of_the_data(model: Path, source: Path) -> None:
    """Its manifest's figures, its torch model's and transformers.pipeline's scores are all of that scale."""
    from transformers import pipeline

    manifest = open_folder(model).manifest
    assert (manifest.task, manifest.labels) == ("regression", ())
    found = torch_metrics(model, source)
    assert found["spearman"] > 0.8
    assert found["mse"] < 5000  # the variance is over 15,000
    assert found == pytest.approx(manifest.variants["torch"].metrics, rel=1e-2)
    texts = list(Regression.read(source, {}).inputs)[:5]
    answers = pipeline("text-classification", model=str(model), device="cpu")(texts)
    from tlx.export.torch_engine import open_torch

    own = open_torch(open_folder(model), "cpu")(texts)
    np.testing.assert_allclose([a["score"] for a in own], [a["score"] for a in answers], rtol=1e-4)
    config = json.loads((model / "config.json").read_text())
    assert config["problem_type"] == "regression"


@pytest.mark.parametrize("objective", ["huber", "cosent"])
def test_other_objectives_learn_the_order_and_keep_the_scale(
    objective: str, source: Path, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    sections: dict[str, dict[str, Any]] = {"train": {"epochs": 8}, "task": {"objective": objective}}
    result = run(source, out, base, data={"validation": str(source)}, **sections)
    found = torch_metrics(out, source)
    assert found["spearman"] > 0.8
    assert found["mse"] < 10_000
    assert found == pytest.approx(result.metrics, rel=1e-2)


def test_a_trained_folder_is_taken_up_where_it_ended(model: Path, source: Path, tmp_path: Path) -> None:
    before = torch_metrics(model, source)
    out = tmp_path / "again"
    run(source, out, model, data={"validation": str(source)}, train={"epochs": 0.01, "learning_rate": 1e-8})
    assert torch_metrics(out, source) == pytest.approx(before, rel=1e-2)


@pytest.mark.parametrize("student", ["convolution", "transformer"])
def test_a_student_learns_its_teachers_scores(student: str, model: Path, source: Path, tmp_path: Path) -> None:
    sections: dict[str, dict[str, Any]] = {
        "model": {"teachers": [str(model)], "student": student},
        "train": {"epochs": 6, "learning_rate": 4e-3},
        "augment": {"count": 200},
    }
    if student == "transformer":
        sections["model"]["layers"] = 1
    out = tmp_path / "student"
    run(source, out, None, data={"validation": str(source)}, **sections)
    found = torch_metrics(out, source)
    assert found["spearman"] > 0.6
    assert found["mse"] < 12_000


def test_pairs_are_learnt_as_pairs(base: Path, tmp_path: Path) -> None:
    source = paired(tmp_path / "pairs.csv")
    out = tmp_path / "model"
    result = run(source, out, base, train={"epochs": 1})
    assert open_folder(out).manifest.settings == {"pair": True}
    assert set(result.metrics) == {"spearman", "pearson", "mse"}
    student = run(
        source, tmp_path / "student", None, model={"teachers": [str(out)], "layers": 1}, augment={"count": 50}
    )
    assert student.rows == result.rows + 50  # the teacher scored as many new pairs


def test_a_stopped_run_that_is_resumed_ends_as_one_that_was_not(
    model: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlx.train import trainer

    wanted = recipe(source, model, data={"validation": str(source)}, train={"epochs": 2, "checkpoint_seconds": 0})
    whole = train(wanted, tmp_path / "whole", console=Console(quiet=True))
    save = trainer.save_checkpoint

    def stop(folder: Path, modules: Any, optimizer: Any, progress: Any) -> None:
        save(folder, modules, optimizer, progress)
        if progress.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            train(wanted, tmp_path / "parts", console=Console(quiet=True))
    assert run_folder(tmp_path / "parts").exists()
    resumed = train(wanted, tmp_path / "parts", resume=True, console=Console(quiet=True))
    assert resumed.metrics == pytest.approx(whole.metrics)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


def test_a_constant_score_is_refused(tmp_path: Path, base: Path) -> None:
    constant = write_csv(tmp_path / "x.csv", [("a", "3"), ("b", "3"), ("c", "3")], ("text", "score"))
    with pytest.raises(DataError, match=r"x\.csv: every score is 3 \(3 rows\): wanted two different ones at least"):
        run(constant, tmp_path / "m", base)


def test_a_validation_file_of_another_form_is_refused(tmp_path: Path, base: Path, source: Path) -> None:
    other = paired(tmp_path / "pairs.csv", 10)
    with pytest.raises(
        DataError, match=r"pairs\.csv has no column that looks like a text \(it has: sentence1, sentence2"
    ):
        run(source, tmp_path / "m", base, data={"validation": str(other)})


def test_a_classifier_is_no_teacher_of_scores(tmp_path: Path, source: Path, teacher: Path) -> None:
    with pytest.raises(DataError, match="gives 3 labels, the data has scores"):
        run(source, tmp_path / "m", None, model={"teachers": [str(teacher)], "layers": 1})


def test_a_cross_encoder_that_ends_in_a_sigmoid_is_no_teacher_of_scores(base: Path, source: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    task = TrainRegression(Regression.read(source, {}), {})
    with pytest.raises(DataError, match="puts its output through a sigmoid .* with --base cross"):
        task.check_teacher(model, "cross")
    model.config.problem_type = "regression"
    task.check_teacher(model, "cross")


def test_wrong_options_are_all_told(source: Path) -> None:
    examples = Regression.read(source, {})
    with pytest.raises(
        TlxError, match=r"task.objective is 'mae': wanted one of mse, huber, cosent; task.lambda is no key"
    ):
        TrainRegression(examples, {"objective": "mae", "lambda": 3})


def test_a_head_without_a_constant_is_refused(source: Path) -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    task = TrainRegression(Regression.read(source, {}), {})
    config = GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=1, num_labels=1)
    with pytest.raises(UsageError, match="GPT2ForSequenceClassification has no linear head with a bias"):
        task.begin(GPT2ForSequenceClassification(config), ())


def test_the_score_column_is_named_by_label(tmp_path: Path, base: Path, source: Path) -> None:
    with source.open(encoding="utf-8", newline="") as stream:
        lines = [(row["text"], row["score"], "x") for row in csv.DictReader(stream)]
    renamed = write_csv(tmp_path / "x.csv", lines, ("text", "stars", "score"))
    result = run(
        renamed, tmp_path / "m", base, data={"label": "stars"}, model={"task": "regression"}, train={"epochs": 1}
    )
    assert result.task == "regression"
