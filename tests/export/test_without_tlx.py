"""Students of tlx's own architectures run in transformers and Optimum of a process that never imports tlx."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.export.conftest import word_pieces

from tlx.export.config import ExportConfig
from tlx.export.export import export
from tlx.runtime import load
from tlx.train.students.registry import build_student
from tlx.train.writing import name_inputs

TEXTS = ["play some music", "北京 please 😀"]
STRANGER = """
import json, sys
from pathlib import Path
from optimum.onnxruntime import ORTModelForSequenceClassification, ORTModelForTokenClassification
from transformers import AutoTokenizer, pipeline
ORT = {"text-classification": ORTModelForSequenceClassification, "token-classification": ORTModelForTokenClassification}
asked = json.loads(sys.argv[1])
found = []
for task, folder in asked["models"]:
    ort = ORT[task].from_pretrained(folder, subfolder="onnx", file_name="model.onnx", trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    more = {"aggregation_strategy": "simple"} if task == "token-classification" else {}
    for model in (folder, ort):
        answers = pipeline(task, model=model, tokenizer=tokenizer, trust_remote_code=True, **more)(asked["texts"])
        found.append(json.loads(json.dumps(answers, default=float)))
assert not any(name == "tlx" or name.startswith("tlx.") for name in sys.modules)
print(json.dumps(found))
"""


def _saved(kind: str, head: str, folder: Path) -> Path:
    import torch

    tokenizer = word_pieces()
    torch.manual_seed(0)
    model = build_student(
        kind, vocab_size=len(tokenizer), num_labels=3, embedding_size=16, head_size=16, head=f"{head}Classification"
    )
    labels = ["O", "B-x", "I-x"] if head == "Token" else ["a", "b", "c"]
    model.config.id2label, model.config.label2id = dict(enumerate(labels)), {v: k for k, v in enumerate(labels)}
    model.eval().save_pretrained(folder)
    name_inputs(tokenizer, model)
    tokenizer.save_pretrained(folder)
    return folder


def test_the_code_of_an_architecture_lies_beside_its_weights(tmp_path: Path) -> None:
    models = {
        _saved("convolution", "Sequence", tmp_path / "one"): "text-classification",
        _saved("gru", "Sequence", tmp_path / "two"): "text-classification",
        _saved("bag", "Sequence", tmp_path / "three"): "text-classification",
        _saved("convolution", "Token", tmp_path / "four"): "token-classification",
        _saved("gru", "Token", tmp_path / "five"): "token-classification",
    }
    for folder in models:
        export(folder, config=ExportConfig(precisions=(), seconds=0))
    asked = {"models": [(task, str(folder)) for folder, task in models.items()], "texts": TEXTS}
    place = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, json.dumps(asked)], env=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = iter(json.loads(done.stdout.splitlines()[-1]))
    for folder in models:
        own: Any = load(folder, "fp32", threads=1)(TEXTS)
        for theirs in (next(answers), next(answers)):
            _same(theirs, own)


def _same(theirs: Any, own: Any) -> None:
    if isinstance(own, list):
        assert len(theirs) == len(own)
        for one, other in zip(theirs, own, strict=True):
            _same(one, other)
    else:
        assert {**theirs, "score": 0} == {**own, "score": 0}
        assert theirs["score"] == pytest.approx(own["score"], abs=1e-4)
