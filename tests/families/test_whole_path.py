"""Every backbone family goes the whole way, task by task: one step of training, export, int8, answers; torch is the oracle.

A task joins by a line in TASKS. The combinations in FAST run always, the others with `pytest -m slow`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.families.models import FAMILIES, save_base
from tests.families.tokenizers import TEXTS


def _labelled(folder: Path) -> Path:
    rows = [f'"{text}",{"ab"[i % 2]}' for i, text in enumerate([*TEXTS] * 2)]
    return _written(folder / "data.csv", ["text,label", *rows])


def _plain(folder: Path) -> Path:
    return _written(folder / "data.txt", [*TEXTS] * 2)


def _tagged(folder: Path) -> Path:
    lines = []
    for text in [*TEXTS] * 2:
        lines += [f"{word}\t{('O', 'B-thing', 'I-thing')[i % 3]}" for i, word in enumerate(text.split())] + [""]
    return _written(folder / "data.conll", lines)


def _intents(folder: Path) -> Path:
    _tagged(folder)
    return _labelled(folder)


def _pairs(folder: Path) -> Path:
    rows = [f'"{one}","{two}",{i % 5}' for i, (one, two) in enumerate(zip(TEXTS, TEXTS[1:] * 2, strict=False))]
    return _written(folder / "data.csv", ["sentence1,sentence2,score", *rows * 2])


def _questions(folder: Path) -> Path:
    paragraphs = []
    for number, text in enumerate(TEXTS):
        word = text.split()[1]
        answers = [{"text": word, "answer_start": text.index(word)}]
        asked = {"id": str(number), "question": "what is it?", "answers": answers}
        paragraphs.append({"context": text, "qas": [asked]})
    document = {"version": "1.1", "data": [{"title": "one", "paragraphs": paragraphs}]}
    return _written(folder / "data.json", [json.dumps(document, ensure_ascii=False)])


def _written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


TASKS: dict[str, Callable[[Path], Path]] = {
    "text-classification": _labelled,
    "fill-mask": _plain,
    "token-classification": _tagged,
    "intent-slots": _intents,
    "regression": _pairs,
    "feature-extraction": _pairs,
    "question-answering": _questions,
}
FAST = [("text-classification", family) for family in FAMILIES] + [
    ("fill-mask", "bert"),
    ("fill-mask", "modernbert"),
    ("token-classification", "roberta"),
    ("intent-slots", "bert"),
    ("intent-slots", "deberta-v3"),
    ("regression", "distilbert"),
    ("feature-extraction", "mpnet"),
    ("question-answering", "xlm-roberta"),
]
READ_FIRST_TOKEN = ("text-classification", "regression")
UNKNOWN_TO_OPTIMUM = [("question-answering", "modernbert")]
PATHS = [
    pytest.param(task, family, marks=() if (task, family) in FAST else pytest.mark.slow)
    for task in TASKS
    for family in FAMILIES
    if (task, family) not in UNKNOWN_TO_OPTIMUM
]


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            made[family] = save_base(family, tmp_path_factory.mktemp(family) / "base")
        return made[family]

    return make


@pytest.mark.parametrize(("task", "family"), PATHS)
def test_a_family_answers_as_torch_does(bases: Callable[[str], Path], tmp_path: Path, task: str, family: str) -> None:
    from tlx.export.config import ExportConfig
    from tlx.export.export import export
    from tlx.export.torch_engine import open_torch
    from tlx.export.workbench import truncation_expected
    from tlx.runtime import load
    from tlx.runtime.folder import open_folder
    from tlx.runtime.tasks import task_named
    from tlx.train.console import Console
    from tlx.train.recipe import recipe_from
    from tlx.train.train import train

    source = TASKS[task](tmp_path)
    document: dict[str, Any] = {
        "data": {"train": str(source), "validation": str(source)},
        "model": {"task": task, "base": str(bases(family))},
        "train": {"epochs": 1, "batch_rows": 64, "precision": "fp32"},
    }
    out = tmp_path / "model"
    train(recipe_from(document, source="test"), out, console=Console(quiet=True))
    export(out, config=ExportConfig(data=source, precisions=("int8",), seconds=0, max_drop=1.0))
    folder = open_folder(out)
    examples = task_named(task).from_manifest(folder.manifest).examples_of(source, {})
    model, torch = load(out, "fp32", "cpu", 1), open_torch(folder, "cpu")
    with truncation_expected():
        found, expected = model.run(examples.inputs), torch.run(examples.inputs)
        asked = list(model.task.asked(examples.inputs))
        rounded = load(out, "int8", "cpu", 1).run(examples.inputs)
        answers = list(model(asked))
    scale = max(1.0, float(np.abs(expected.values).max()))
    assert np.abs(found.values - expected.values).max() < 1e-4 * scale
    # Weights and activations of 8 bits move the values by a small part of their spread; other values would by all of it.
    assert np.abs(rounded.values - expected.values).mean() < 0.25 * float(expected.values.std())
    assert len(answers) == len(asked)
    assert (folder.manifest.variants["fp32"].report["nodes_for_first_token"] > 1) == (task in READ_FIRST_TOKEN)
    if task in ORACLES:
        ORACLES[task](out, asked, answers)


def _same_as_pipeline(task: str) -> Callable[[Path, list[Any], Any], None]:
    def compare(out: Path, asked: list[Any], answers: Any) -> None:
        import transformers

        oracle = transformers.pipeline(task, model=str(out), device="cpu")
        for item, answer in list(zip(asked, answers, strict=True))[:8]:
            theirs = oracle(item)
            for mine, other in zip([answer] if isinstance(answer, dict) else answer, theirs, strict=True):
                assert mine["score"] == pytest.approx(other["score"], abs=1e-4)
                assert {k: v for k, v in mine.items() if k != "score"} == {
                    k: v for k, v in other.items() if k != "score"
                }

    return compare


ORACLES = {name: _same_as_pipeline(name) for name in ("text-classification", "fill-mask")}
