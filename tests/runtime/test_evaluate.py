"""Evaluation, bench figures and the card of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from tlx.runtime import DataError, TlxError, load
from tlx.runtime.bench import bench, cold_start, latency, size_bytes, throughput
from tlx.runtime.card import write_card
from tlx.runtime.evaluate import evaluate
from tlx.runtime.examples import Examples
from tlx.runtime.folder import Folder, open_folder
from tlx.runtime.predictor import Predictor

TEXTS = ["play some music", "what is the weather", "turn off the lights", "cancel my card"]


def test_a_model_is_right_about_its_own_answers(tiny_folder: Path) -> None:
    predictor = load(tiny_folder)
    gold = [answer["label"] for answer in predictor(TEXTS)]
    result = evaluate(predictor, Examples(source="x", inputs=TEXTS, gold=gold, labels=tuple(sorted(set(gold)))))
    assert result["task"] == "text-classification"
    assert result["variant"] == "fp32"
    assert result["n"] == 4
    assert result["metrics"]["accuracy"] == 1.0


def test_unknown_labels_count_as_errors_and_are_warned_about(tiny_folder: Path) -> None:
    predictor = load(tiny_folder)
    gold = [answer["label"] for answer in predictor(TEXTS[:3])] + ["unheard"]
    examples = Examples(source="data.csv", inputs=TEXTS, gold=gold, labels=tuple(sorted(set(gold))))
    with pytest.warns(UserWarning, match=r"data\.csv: 1 of 4 examples have a label .* know \('unheard'\)"):
        assert evaluate(predictor, examples)["metrics"]["accuracy"] == 0.75


def test_no_gold_is_an_error(tiny_folder: Path) -> None:
    with pytest.raises(DataError, match=r"data\.csv has no labels: nothing to measure against"):
        evaluate(load(tiny_folder), Examples(source="data.csv", inputs=TEXTS))


def test_bench_gives_every_figure(tiny_folder: Path) -> None:
    folder = open_folder(tiny_folder)
    report = bench(load(tiny_folder, threads=1), folder, TEXTS, seconds=0.05)
    assert report["variant"] == "fp32"
    assert report["threads"] == 1
    assert 0 < report["p50_ms"] <= report["p99_ms"]
    assert report["texts_per_s"] > 0
    assert report["cold_start_s"] > 0
    assert report["peak_rss_bytes"] > 10_000_000
    files = (tiny_folder / "onnx/model.onnx", tiny_folder / "tokenizer.json")
    assert report["size_bytes"] == size_bytes(folder, "fp32") == sum(file.stat().st_size for file in files)


def test_latency_and_throughput_take_a_predictor(tiny_folder: Path) -> None:
    predictor = load(tiny_folder, threads=1)
    assert latency(predictor, TEXTS, seconds=0.01)["p50_ms"] > 0
    assert throughput(predictor, TEXTS, seconds=0.01, batch=64) > 0


def test_throughput_of_slow_answers_is_of_shorter_lists(tiny_folder: Path) -> None:
    predictor, sizes = load(tiny_folder, threads=1), []

    def answered(inputs: list[str]) -> Any:
        sizes.append(len(inputs))
        return predictor(inputs)

    throughput(cast(Predictor, answered), TEXTS, seconds=1e-4, batch=4096)
    assert 16 <= max(sizes) < 4096
    sizes.clear()
    throughput(cast(Predictor, answered), TEXTS, seconds=1e-4, batch=8)
    assert set(sizes) == {8}


def test_a_cold_start_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(TlxError, match="a fresh process could not answer with variant fp32: .*does not exist"):
        cold_start(tmp_path / "none", "fp32", "cpu", 1, "a", runs=1)


def test_the_card_tells_use_variants_and_lineage(tiny_folder: Path) -> None:
    folder = open_folder(tiny_folder)
    report = {"flip_rate": 0.01, "p50_ms": 0.1234, "texts_per_s": 1234.0, "machine": {"cpu": "A CPU", "cores": 2}}
    report |= {"drop": 0.002, "batch_flip_rate": 0.03, "kept_float": ["/layer.0/MatMul"]}
    measured = folder.manifest.variants["fp32"]._replace(metrics={"accuracy": 0.95}, report=report)
    lineage = {
        "base": "models/tlx-mini-en",
        "license": "apache-2.0",
        "data": [{"source": "data/train.csv", "sha256": "a" * 64}],
        "training": {"epochs": 3, "best_accuracy": 0.96},
        "plot": "training.png",
        "recipe": {"rate": 0.001},
        "export": {"golden_inputs": 32},
    }
    settings = {**folder.manifest.settings, "temperature": 1.25, "taken": [0.5] * 41}
    manifest = folder.manifest.with_variant(measured)._replace(lineage=lineage, settings=settings)
    card = write_card(Folder(path=folder.path, manifest=manifest))
    assert card.startswith('---\nlibrary_name: onnxruntime\npipeline_tag: text-classification\nlicense: "apache-2.0"\n')
    assert "from tlx.runtime import load" in card
    assert "| fp32 | 0.14 | 0.9500 | 0.002 | 0.01 | 0.03 | 0.1234 | 1234 | cpu, cuda |" in card
    assert "The token ids of 32 golden inputs are those of transformers" in card
    assert "fp32 keeps 1 nodes in float: `/layer.0/MatMul`." in card
    assert "Measured on A CPU, 2 cores." in card
    assert f"source data/train.csv, sha256 {'a' * 12}" in card
    assert "![Loss and metric by step](training.png)" in card
    assert '"rate": 0.001' in card
    assert "\n- temperature: 1.25\n" in card
    assert "taken" not in card


def test_a_card_of_a_bare_manifest_has_no_empty_sections(tiny_folder: Path) -> None:
    card = write_card(open_folder(tiny_folder))
    assert "## Training" not in card
    assert "## Where it comes from" not in card
