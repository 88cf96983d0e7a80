"""A model of scores goes the whole path: a plain checkpoint, ONNX, int8, the runtime, the card."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.export.conftest import FAMILIES, sentences, torch_logits
from transformers import pipeline

from tlx.export.config import ExportConfig
from tlx.export.export import export
from tlx.runtime import load
from tlx.runtime.folder import open_folder

CONFIG: dict[str, Any] = {"seconds": 0.0, "precisions": ("int8",), "max_drop": 0.05}


def save_scorer(family: str, path: Path, **config: Any) -> Path:
    """A checkpoint of one output, as transformers writes it."""
    import torch

    build, make_tokenizer = FAMILIES[family]
    tokenizer = make_tokenizer()
    torch.manual_seed(1)
    model = build(tokenizer, initializer_range=0.3, num_labels=1, **config)
    model.eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("family", ["bert", "roberta", "tlx-convolution"])
def test_a_plain_checkpoint_of_scores_is_exported_and_answers_as_torch(family: str, tmp_path: Path) -> None:
    folder = save_scorer(family, tmp_path / "model", problem_type="regression")
    texts = sentences(60, seed=3)
    wanted = torch_logits(folder, texts)[:, 0].tolist()
    # Of scores that only rounding tells apart a batch may change the ranks: on some processors two of these did.
    order = np.argsort(wanted)
    apart = [
        int(row)
        for row, gap in zip(order, np.diff(np.array(wanted)[order], prepend=-np.inf), strict=True)
        if gap > 1e-5
    ]
    texts, wanted = [texts[row] for row in apart], [wanted[row] for row in apart]
    assert len(texts) > 50
    data = tmp_path / "data.csv"
    with data.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "score"), *zip(texts, wanted, strict=True)])
    result = export(folder, config=ExportConfig(data=str(data), **CONFIG))
    variants = result.folder.manifest.variants
    assert result.folder.manifest.task == "regression"
    assert variants["torch"].metrics["spearman"] == pytest.approx(1.0)
    assert variants["fp32"].report["flip_rate"] == 0.0
    assert variants["int8"].metrics["spearman"] > 0.95
    answers = load(folder, "fp32")(texts)
    np.testing.assert_allclose([answer["score"] for answer in answers], wanted, atol=1e-4)


def test_optimums_pipeline_gives_the_scores_of_the_folder(tmp_path: Path) -> None:
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer

    folder = save_scorer("bert", tmp_path / "model", problem_type="regression")
    export(folder, config=ExportConfig(seconds=0.0))
    session = ORTModelForSequenceClassification.from_pretrained(folder, subfolder="onnx", file_name="model.onnx")
    oracle = pipeline("text-classification", model=session, tokenizer=AutoTokenizer.from_pretrained(folder))
    texts = sentences(20, seed=6)
    expected = [answer["score"] for text in texts for answer in oracle(text)]
    np.testing.assert_allclose([a["score"] for a in load(folder, "fp32")(texts)], expected, atol=1e-4)


def test_a_cross_encoder_of_sentence_transformers_is_exported_as_a_scorer_of_pairs(tmp_path: Path) -> None:
    """It has one label, no problem type, and a key of its own in the config: the pipeline gives sigmoids."""
    folder = save_scorer("bert", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["sentence_transformers"] = {"version": "5.0.0", "activation_fn": "torch.nn.modules.activation.Sigmoid"}
    config.pop("problem_type", None)
    (folder / "config.json").write_text(json.dumps(config))
    export(folder, config=ExportConfig(seconds=0.0))
    assert dict(open_folder(folder).manifest.settings) == {"pair": True, "sigmoid": True}
    pairs = list(zip(sentences(20, seed=4), sentences(20, seed=5), strict=True))
    oracle = pipeline("text-classification", model=str(folder), device="cpu")
    wanted = [answer["score"] for answer in oracle([{"text": a, "text_pair": b} for a, b in pairs])]
    np.testing.assert_allclose([answer["score"] for answer in load(folder)(pairs)], wanted, atol=1e-4)
    assert "text_pair=" in (folder / "README.md").read_text()
