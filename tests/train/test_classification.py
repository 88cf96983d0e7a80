"""Thresholds of several labels, calibrated scores and texts out of scope, from training to a folder's answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.train.conftest import recipe, rows, write_csv

from tlx.runtime import DataError, TlxError, UsageError
from tlx.runtime.evaluate import evaluate
from tlx.runtime.examples import Examples
from tlx.runtime.folder import MANIFEST, open_folder, write_atomically
from tlx.runtime.tasks.classification import TextClassification
from tlx.runtime.tasks.task import Encoded, Outputs
from tlx.train.batches import Batch
from tlx.train.console import Console
from tlx.train.tasks.classification import OUTSIDE, TrainClassification
from tlx.train.terms.labels import IGNORED
from tlx.train.train import train

STRANGE = [f"{a} {b}" for a in ("why", "who", "sky", "blue", "seven") for b in ("is", "are", "xyz", "0", "q 1")]
LABELS = ("a", "b", "c")


def task_of(settings: dict[str, Any] | None = None, **options: Any) -> TrainClassification:
    examples = Examples(source="x.csv", inputs=["", ""], gold=["a", "b"], labels=LABELS, settings=settings or {})
    return TrainClassification(examples, options)


def outputs(logits: np.ndarray) -> Outputs:
    return Outputs([""] * len(logits), Encoded([]), logits.astype(np.float32))


def examples(gold: Sequence[Any]) -> Examples:
    return Examples(source="v.csv", inputs=[""] * len(gold), gold=list(gold), labels=LABELS)


def several(seed: int, count: int = 300) -> tuple[Outputs, Examples]:
    """Logits that are too low by 1.5, so that .5 is the wrong threshold."""
    chooser = np.random.default_rng(seed)
    on = chooser.random((count, 3)) < (0.4, 0.2, 0.1)
    gold = [tuple(label for label, yes in zip(LABELS, row, strict=True) if yes) for row in on]
    return outputs(2.5 * on - 3.0 + chooser.normal(size=on.shape)), examples(gold)


def test_thresholds_chosen_on_validation_help_on_other_rows() -> None:
    task = task_of({"multi_label": True})
    plain = task.runtime.metrics(*several(1))
    task.tune(*several(0))
    tuned = task.runtime.metrics(*several(1))
    assert tuned["micro_f1"] > plain["micro_f1"] + 0.1
    assert tuned["macro_f1"] > plain["macro_f1"] + 0.1
    assert task.settings["thresholds"] == list(task.runtime.thresholds or ())


def test_validation_figures_are_those_with_the_thresholds() -> None:
    task = task_of({"multi_label": True})
    before = task.metrics(*several(0), None)
    assert task.runtime.thresholds is None
    task.tune(*several(0))
    assert task.runtime.metrics(*several(0)) == before
    fixed = task_of({"multi_label": True}, tune_thresholds=False)
    fixed.tune(*several(0))
    assert "thresholds" not in fixed.settings
    assert fixed.metrics(*several(0), None) == TextClassification(labels=LABELS, multi_label=True).metrics(*several(0))


def scoped(seed: int = 0) -> tuple[Outputs, Examples]:
    """Too sure in scope, unsure outside."""
    chooser = np.random.default_rng(seed)
    gold = chooser.integers(0, 3, size=200)
    inside = chooser.normal(size=(200, 3)) * 4
    inside[np.arange(200), gold] += 6
    logits = np.concatenate([inside, chooser.normal(size=(40, 3))])
    return outputs(logits), examples([*(LABELS[g] for g in gold), *[None] * 40])


def test_calibration_lowers_the_error_of_confidence() -> None:
    task = task_of(calibrate=True)
    task.tune(*scoped())
    assert task.settings.keys() == {"temperature"}
    inside = [row for row, gold in enumerate(scoped(1)[1].gold or ()) if gold is not None]
    found = outputs(scoped(1)[0].values[inside]), scoped(1)[1].select(inside)
    uncalibrated = TextClassification(labels=LABELS, temperature=1.0).metrics(*found)
    assert task.runtime.metrics(*found)["ece"] < uncalibrated["ece"]
    assert task.runtime.metrics(*found)["accuracy"] == uncalibrated["accuracy"]


@pytest.mark.parametrize("recall", [0.5, 0.9, 1.0])
def test_the_threshold_has_the_recall_that_was_asked(recall: float) -> None:
    task = task_of(oos="oos.csv", recall=recall)
    task.tune(*scoped())
    figures = task.runtime.metrics(*scoped())
    assert recall <= figures["oos_recall"] <= recall + 1 / 40 + 1e-9
    assert figures == task.metrics(*scoped(), None)


def test_without_texts_out_of_scope_the_threshold_keeps_a_share() -> None:
    task = task_of(keep=0.95)
    inside = list(range(200))
    found = outputs(scoped()[0].values[inside]), scoped()[1].select(inside)
    task.tune(*found)
    assert task.runtime.metrics(*found)["kept"] == pytest.approx(0.95)
    assert task.settings.keys() == {"oos_label", "temperature", "reject_below"}


def test_a_row_out_of_scope_is_drawn_to_the_uniform_distribution() -> None:
    torch.manual_seed(0)
    logits, gold = torch.randn(4, 3), torch.tensor([0, OUTSIDE, 2, IGNORED])
    batch = Batch(inputs={}, gold=gold)
    inside = F.cross_entropy(logits[[0, 2]], torch.tensor([0, 2]), reduction="sum")
    outside = F.cross_entropy(logits[1:2], torch.full((1, 3), 1 / 3))
    assert float(task_of().loss(logits, batch, 0.0)) == pytest.approx(float((inside + outside) / 3))


def test_texts_out_of_scope_serve_the_threshold_and_half_of_them_training_if_asked(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "oos.csv", [(text, "oos") for text in STRANGE])
    first, second = examples(["a", "b"]), examples(["c"])
    kept, held, sources = task_of(oos=str(path)).completed(first, second, {}, 0)
    assert kept == first
    assert list(held.inputs)[1:] == STRANGE
    assert list(held.gold or ()) == ["c", *[None] * 25]
    assert [part.sha256 for part in sources] == [sources[0].sha256]
    kept, held, _ = task_of(oos=str(path), oos_train=True).completed(first, second, {}, 0)
    assert (len(kept), len(held)) == (2 + 12, 1 + 13)
    assert {*kept.inputs[2:], *held.inputs[1:]} == set(STRANGE)


def test_a_plain_list_of_texts_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "oos.txt"
    path.write_text("why is the sky blue\n\nwho\n", encoding="utf-8")
    held = task_of(oos=str(path)).completed(examples(["a"]), examples(["b"]), {}, 0)[1]
    assert list(held.inputs)[1:] == ["why is the sky blue", "who"]
    path.write_text("only one\n", encoding="utf-8")
    with pytest.raises(DataError, match="has one text: task.oos_train wants two"):
        task_of(oos=str(path), oos_train=True).completed(examples(["a"]), examples(["b"]), {}, 0)


def test_options_that_contradict_are_refused() -> None:
    with pytest.raises(UsageError, match="both task.oos and task.keep were given"):
        task_of(oos="x.csv", keep=0.9)
    with pytest.raises(UsageError, match="oos, keep and calibrate are for one label a text"):
        task_of({"multi_label": True}, calibrate=True)
    with pytest.raises(UsageError, match="has 'b' as a label to learn, and the model shall reject besides"):
        task_of(keep=0.9, oos_label="b")
    with pytest.raises(
        TlxError, match=r"task.recall is 2.0: wanted 0.01 to 1.0; task.kep is no key \(did you mean keep"
    ):
        task_of(recall=2.0, kep=0.9)


@pytest.mark.parametrize("oos_train", [False, True])
def test_a_folder_trained_with_texts_out_of_scope_rejects(
    oos_train: bool, base: Path, data: Path, tmp_path: Path
) -> None:
    oos = write_csv(tmp_path / "oos.csv", [(text, "oos") for text in STRANGE])
    sections: dict[str, dict[str, Any]] = {
        "task": {"oos": str(oos), "oos_train": oos_train},
        "train": {"epochs": 8},
    }
    result = train(recipe(data, base, **sections), tmp_path / "m", console=Console(quiet=True))
    manifest = open_folder(tmp_path / "m").manifest
    assert manifest.settings["reject_below"] > 0
    assert manifest.lineage["recipe"]["task"]["oos"] == "oos.csv"
    assert [part["path"] for part in manifest.lineage["data"]] == ["train.csv", "oos.csv"]
    assert result.metrics["oos_recall"] >= 0.9
    assert dict(manifest.variants["torch"].metrics) == dict(result.metrics)
    mixed = write_csv(tmp_path / "mixed.csv", [*rows(30, 3), *[(text, "oos") for text in STRANGE]])
    from tlx.export.torch_engine import open_torch

    engine = open_torch(open_folder(tmp_path / "m"), "cpu")
    figures = evaluate(engine, engine.task.examples_of(mixed, {}))["metrics"]
    # All these texts chose the threshold, or (with oos_train) half of them: in float32, as the folder answers.
    assert figures["oos_recall"] >= (0.8 if oos_train else 0.9)
    assert {"accuracy", "ece", "kept", "kept_accuracy", "oos_precision"} <= figures.keys()


def rejecting(teacher: Path, to: Path, **metrics: float) -> Path:
    """The teacher as one that rejects, with these figures."""
    shutil.copytree(teacher, to)
    manifest = open_folder(to).manifest
    settings = {**manifest.settings, "temperature": 1.0, "reject_below": 0.4, "oos_label": "none"}
    variant = manifest.variants["torch"]._replace(metrics=metrics)
    write_atomically(to / MANIFEST, manifest._replace(settings=settings).with_variant(variant).to_json())
    return to


def test_the_student_of_a_teacher_that_rejects_keeps_as_many_texts_in_scope(
    data: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = rejecting(teacher, tmp_path / "teacher", accuracy=0.9, kept=0.75)
    wanted = recipe(data, model={"teachers": [str(source)], "layers": 1}, augment={"count": 0}, train={"epochs": 1})
    result = train(wanted, tmp_path / "m", console=Console())
    manifest = open_folder(tmp_path / "m").manifest
    assert manifest.settings["reject_below"] > 0
    assert manifest.settings["oos_label"] == "none"
    assert 0.75 <= result.metrics["kept"] <= 0.75 + 1 / 9
    assert manifest.lineage["recipe"]["task"] == {"keep": 0.75, "oos_label": "none"}
    told = [line for line in capsys.readouterr().err.splitlines() if "rejects texts out of scope" in line]
    assert len(told) == 1
    assert "keeps 75.0% of those in scope: this student will keep as many (task.keep); --oos sets" in told[0]


def test_the_recipes_own_choice_of_rejection_goes_before_the_teachers(teacher: Path, tmp_path: Path) -> None:
    known = rejecting(teacher, tmp_path / "known", kept=0.75)
    unknown = rejecting(teacher, tmp_path / "unknown", accuracy=0.9)
    for options in ({"oos": "strange.csv"}, {"keep": 0.9}):
        assert task_of(**options).adopt_options(str(known)) == ({}, "")
    assert task_of(oos_label="off").adopt_options(str(known))[0] == {"keep": 0.75}
    with pytest.raises(UsageError, match=r"teacher .*known has 'b' as a label to learn, and the model shall reject"):
        task_of(oos_label="b").adopt_options(str(known))
    taken, line = task_of().adopt_options(str(unknown))
    assert taken == {}
    assert line.endswith("unknown rejects texts out of scope, this student will not: give --oos (or task.keep)")
    assert task_of().adopt_options(str(teacher)) == task_of().adopt_options("owner/name") == ({}, "")


def test_a_folder_of_several_labels_has_its_thresholds_and_figures(base: Path, tmp_path: Path) -> None:
    lines = [(text, json.dumps([label])) for text, label in rows(90, 2)]
    path = write_csv(tmp_path / "several.csv", lines, ("text", "labels"))
    wanted = recipe(path, base, data={"validation": str(path)}, train={"epochs": 4})
    result = train(wanted, tmp_path / "m", console=Console(quiet=True))
    manifest = open_folder(tmp_path / "m").manifest
    assert len(manifest.settings["thresholds"]) == 3
    from tlx.export.torch_engine import open_torch

    engine = open_torch(open_folder(tmp_path / "m"), "cpu")
    assert engine.task.thresholds == tuple(manifest.settings["thresholds"])  # type: ignore[attr-defined]
    figures = evaluate(engine, TextClassification.read(path, {}))["metrics"]
    assert figures == pytest.approx(result.metrics, abs=0.02)


def test_texts_out_of_scope_stand_in_the_column_that_was_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "oos.csv", [("who", "web"), ("why", "web")], ("uttered", "source"))
    held = task_of(oos=str(path)).completed(examples(["a"]), examples(["b"]), {"text": "uttered"}, 0)[1]
    assert list(held.inputs)[1:] == ["who", "why"]
    with pytest.raises(DataError, match="name it with --text"):
        task_of(oos=str(path)).completed(examples(["a"]), examples(["b"]), {}, 0)


@pytest.mark.parametrize(("rows", "multi", "expected"), [(19, False, 0.0), (20, False, 0.1), (20, True, 0.0)])
def test_labels_are_smoothed_where_there_are_ten_rows_of_each(rows: int, multi: bool, expected: float) -> None:
    gold: list[Any] = [("a",) if multi else "a", ("b",) if multi else "b"] * rows
    given = Examples(
        source="x",
        inputs=[f"text {row}" for row in range(rows)],
        gold=gold[:rows],
        labels=("a", "b"),
        settings={"multi_label": multi},
    )
    assert TrainClassification(given, {}).label_smoothing == expected
