"""Taggers go the whole path: a plain checkpoint, ONNX, int8, the runtime; and Optimum's own pipeline over the same folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.taggers import TAGS, tagger, tokenizer_of, varied_texts

from tlx.export.config import ExportConfig
from tlx.export.export import export
from tlx.runtime import load
from tlx.runtime.folder import open_folder
from tlx.train.students import build_student

CONFIG: dict[str, Any] = {"seconds": 0.0, "max_drop": 1.0}
PARTS = ("ADJ", "DET", "NOUN", "VERB")
JOINT = ("intent:Fly", "intent:Stay", *TAGS)
PLAIN = [text for text in varied_texts(200) if text.isascii() and text.split()][:40]


def checkpoint(path: Path, labels: tuple[str, ...], family: str = "bert") -> Path:
    """As transformers writes it, without a manifest."""
    import torch

    tokenizer = tokenizer_of("wordpiece")
    model = tagger(tokenizer, labels)
    if family != "bert":
        torch.manual_seed(0)
        model = build_student(
            family, vocab_size=len(tokenizer), num_labels=len(labels), hidden_size=32, head="TokenClassification"
        )
        model.config.id2label = dict(enumerate(labels))
    model.eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def tagged_by(folder: Path, path: Path) -> Path:
    """A CoNLL file whose tags are what transformers' pipeline says of each word's first token."""
    from transformers import pipeline

    tag = pipeline("token-classification", str(folder), ignore_labels=[])
    blocks = []
    for text in PLAIN:
        text = " ".join(text.split())
        at = {token["start"]: token["entity"] for token in tag(text)}
        starts = [i for i in range(len(text)) if i == 0 or text[i - 1] == " "]
        blocks.append("".join(f"{w}\t{at[i]}\n" for w, i in zip(text.split(), starts, strict=True)))
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def same_but_scores(ours: Any, theirs: Any) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert [{k: v for k, v in e.items() if k != "score"} for e in one] == [
            {k: v for k, v in e.items() if k != "score"} for e in other
        ]
        np.testing.assert_allclose([e["score"] for e in one], [float(e["score"]) for e in other], atol=1e-4)


def test_a_plain_checkpoint_is_exported_and_answers_as_torch(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", PARTS)
    data = tagged_by(folder, tmp_path / "data.conll")
    result = export(folder, config=ExportConfig(data=str(data), precisions=("int8",), **CONFIG))
    manifest = result.folder.manifest
    assert manifest.task == "token-classification"
    assert manifest.variants["torch"].metrics == {"accuracy": 1.0}
    assert manifest.variants["fp32"].metrics == {"accuracy": 1.0}
    assert manifest.variants["fp32"].report["flip_rate"] == 0.0
    assert manifest.variants["int8"].metrics["accuracy"] > 0.7


def test_the_folder_runs_in_optimums_pipeline_with_the_same_answers(tmp_path: Path) -> None:
    from optimum.onnxruntime import ORTModelForTokenClassification
    from transformers import AutoTokenizer, pipeline

    folder = checkpoint(tmp_path / "model", TAGS)
    export(folder, config=ExportConfig(**CONFIG))
    model = ORTModelForTokenClassification.from_pretrained(folder, subfolder="onnx", file_name="model.onnx")
    for strategy in ("none", "simple", "first"):
        tag = pipeline(
            "token-classification",
            model=model,
            tokenizer=AutoTokenizer.from_pretrained(folder),
            aggregation_strategy=strategy,
        )
        same_but_scores(load(folder, "fp32")(PLAIN, aggregation_strategy=strategy), [tag(text) for text in PLAIN])


def test_a_model_of_intents_and_slots_is_one_graph_that_optimum_loads(tmp_path: Path) -> None:
    from optimum.onnxruntime import ORTModelForTokenClassification

    folder = checkpoint(tmp_path / "model", JOINT)
    export(folder, config=ExportConfig(**CONFIG))
    assert open_folder(folder).manifest.task == "intent-slots"
    model = ORTModelForTokenClassification.from_pretrained(folder, subfolder="onnx", file_name="model.onnx")
    predictor = load(folder, "fp32", threads=1)
    outputs = predictor.run(["Anna flew to Paris"])
    ids = outputs.encoded.rows[0][None]
    logits = model(input_ids=ids, attention_mask=np.ones_like(ids)).logits
    np.testing.assert_allclose(logits[0], outputs.values, atol=1e-5)
    assert "pipeline_tag: token-classification" in (folder / "README.md").read_text()


@pytest.mark.parametrize("family", ["convolution", "gru"])
def test_token_students_are_exported_and_answer_as_torch(family: str, tmp_path: Path) -> None:
    from tlx.export.torch_engine import open_torch

    folder = checkpoint(tmp_path / "model", TAGS, family)
    result = export(folder, config=ExportConfig(precisions=("int8",), **CONFIG))
    assert result.folder.manifest.variants["fp32"].report["flip_rate"] == 0.0
    long = " ".join(PLAIN) + " 北京 😀"
    engine = open_torch(result.folder)
    same_but_scores([load(folder, "fp32")(long)], [engine(long)])


def test_data_to_measure_on_may_hold_tags_that_the_model_does_not_know(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", PARTS)
    data = tmp_path / "data.conll"
    data.write_text("Anna\tPROPN\nflew\tVERB\n")
    result = export(folder, config=ExportConfig(data=str(data), **CONFIG))
    assert result.folder.manifest.variants["fp32"].metrics["accuracy"] <= 0.5
