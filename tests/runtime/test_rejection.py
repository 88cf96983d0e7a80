"""Calibrated scores and inputs out of scope: the answers, the files, the figures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tlx.runtime import DataError, FolderError, UsageError, load
from tlx.runtime.evaluate import evaluate
from tlx.runtime.examples import Examples
from tlx.runtime.folder import MANIFEST, open_folder, write_atomically
from tlx.runtime.metrics import ece
from tlx.runtime.tasks.classification import TextClassification
from tlx.runtime.tasks.task import Encoded, Outputs

TEXTS = ["please cancel my card", "play some music", "thanks", "turn off the lights", "é 7 🙂", ""]


def with_settings(folder: Path, out: Path, **settings: object) -> Path:
    shutil.copytree(folder, out)
    manifest = open_folder(out).manifest
    write_atomically(out / MANIFEST, manifest._replace(settings={**manifest.settings, **settings}).to_json())
    return out


def outputs(logits: np.ndarray) -> Outputs:
    return Outputs([""] * len(logits), Encoded([]), logits.astype(np.float32))


def test_a_temperature_changes_scores_and_no_label(tiny_folder: Path, tmp_path: Path) -> None:
    plain, calibrated = load(tiny_folder), load(with_settings(tiny_folder, tmp_path / "m", temperature=2.0))
    scaled = np.exp(plain.logits(TEXTS) / 2)
    for row, (answer, other) in enumerate(zip(calibrated(TEXTS), plain(TEXTS), strict=True)):
        assert answer["label"] == other["label"]
        assert answer["score"] == pytest.approx(scaled[row].max() / scaled[row].sum(), abs=1e-5)
        alone = calibrated(TEXTS[row])[0]
        assert (alone["label"], alone["score"]) == (answer["label"], pytest.approx(answer["score"], abs=1e-5))


def test_inputs_under_the_threshold_have_the_label_none(tiny_folder: Path, tmp_path: Path) -> None:
    plain = load(tiny_folder)(TEXTS)
    limit = float(np.median([answer["score"] for answer in plain]))
    model = load(with_settings(tiny_folder, tmp_path / "m", reject_below=limit))
    expected = [a if a["score"] >= limit else {"label": None, "score": a["score"]} for a in plain]
    assert any(a["label"] is None for a in expected)
    assert any(a["label"] is not None for a in expected)
    assert model(TEXTS) == expected
    assert model(TEXTS, reject=False) == plain
    for row, answer in enumerate(expected):
        alone = model(TEXTS[row])
        assert [one["label"] for one in alone] == [answer["label"]]
        assert alone[0]["score"] == pytest.approx(answer["score"], abs=1e-5)
        several = model([TEXTS[row]], top_k=3)[0]
        assert len(several) == (1 if answer["label"] is None else 3)
        assert several[0]["label"] == answer["label"]


def test_reject_is_refused_where_there_is_no_threshold(tiny_folder: Path) -> None:
    model = load(tiny_folder)
    assert model(TEXTS, reject=False) == model(TEXTS)
    with pytest.raises(UsageError, match="the model has no threshold: train it with `--oos FILE`"):
        model(TEXTS, reject=True)
    with pytest.raises(UsageError, match="reject is 'yes': wanted True or False"):
        model(TEXTS, reject="yes")


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0},
        {"temperature": "2"},
        {"temperature": True},
        {"reject_below": 1.5},
        {"reject_below": float("nan")},
        {"multi_label": True, "temperature": 2.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(
    tiny_folder: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    with pytest.raises(FolderError, match=r"the manifest's (temperature|reject_below) is .*: wanted a number from"):
        load(with_settings(tiny_folder, tmp_path / "m", **settings))


def mixed(tmp_path: Path) -> Path:
    source = tmp_path / "mixed.csv"
    source.write_text("text,label\nplay,music\nhello,oos\ncard,card\nwhat,\n", encoding="utf-8")
    return source


def test_a_rejecting_model_is_measured_on_files_that_mix_both(tiny_folder: Path, tmp_path: Path) -> None:
    model = load(with_settings(tiny_folder, tmp_path / "m", reject_below=0.5))
    examples = model.task.examples_of(mixed(tmp_path), {})
    assert examples.gold == ["music", None, "card", None]
    assert examples.labels == ("card", "music")
    figures = evaluate(model, examples)["metrics"]
    assert figures.keys() == {
        "accuracy",
        "macro_f1",
        "ece",
        "kept",
        "kept_accuracy",
        "oos_recall",
        "oos_precision",
        "answered_right",
    }


def test_the_label_for_out_of_scope_has_the_name_that_the_folder_says(tiny_folder: Path, tmp_path: Path) -> None:
    model = load(with_settings(tiny_folder, tmp_path / "m", reject_below=0.5, oos_label="music"))
    assert model.task.examples_of(mixed(tmp_path), {}).gold == ["music", "oos", "card", None]  # a label that it knows
    other = load(with_settings(tiny_folder, tmp_path / "n", reject_below=0.5, oos_label="none"))
    source = tmp_path / "x.csv"
    source.write_text("text,label\nplay,music\nhello,none\n", encoding="utf-8")
    assert other.task.examples_of(source, {}).gold == ["music", None]


def test_a_model_that_rejects_nothing_wants_a_label_in_every_row(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mixed\.csv line 5: column 'label' has no label"):
        load(tiny_folder).task.examples_of(mixed(tmp_path), {})


def test_figures_of_rejection_are_counted_by_hand() -> None:
    task = TextClassification(labels=("a", "b"), reject_below=0.8)
    logits = np.array([[3.0, 0], [3, 0], [0.1, 0], [0, 0.2], [3, 0]])  # scores .95 .95 .52 .55 .95
    examples = Examples(source="x", inputs=[""] * 5, gold=["a", "b", "a", None, None], labels=("a", "b"))
    figures = task.metrics(outputs(logits), examples)
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["kept"] == pytest.approx(2 / 3)
    assert figures["kept_accuracy"] == pytest.approx(1 / 3)
    assert figures["oos_recall"] == pytest.approx(1 / 2)
    assert figures["oos_precision"] == pytest.approx(1 / 2)


def test_a_file_of_out_of_scope_rows_alone_has_the_figures_that_exist() -> None:
    task = TextClassification(labels=("a", "b"), reject_below=0.8)
    examples = Examples(source="x", inputs=["", ""], gold=[None, None])
    assert task.metrics(outputs(np.array([[3.0, 0], [0.1, 0]])), examples) == {
        "oos_recall": 0.5,
        "oos_precision": 1.0,
        "answered_right": 0.5,
    }


def test_an_answer_that_only_one_of_two_models_rejects_is_a_flip() -> None:
    task = TextClassification(labels=("a", "b"), reject_below=0.8)
    assert task.flips(outputs(np.array([[3.0, 0], [3, 0]])), outputs(np.array([[3.0, 0], [0.1, 0]]))) == 0.5


@pytest.mark.parametrize("seed", range(4))
def test_ece_is_the_sum_over_bins_written_out(seed: int) -> None:
    chooser = np.random.default_rng(seed)
    confidence = np.append(chooser.random(300), [0.0, 1.0, 1 / 15])
    correct = chooser.random(303) < confidence**2
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15) | ((low == 0) & (confidence == 0))
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert ece(confidence, correct) == pytest.approx(expected)


def test_ece_agrees_with_scikit_learns_calibration_curve() -> None:
    from sklearn.calibration import calibration_curve

    chooser = np.random.default_rng(9)
    confidence = chooser.random(1000)
    correct = chooser.random(1000) < confidence
    shares, means = calibration_curve(correct, confidence, n_bins=15)
    counts = np.histogram(confidence, bins=15, range=(0, 1))[0]
    assert ece(confidence, correct) == pytest.approx(float(np.sum(counts * np.abs(shares - means)) / 1000))
    assert ece(confidence[:0], correct[:0]) == 0.0
