"""How many tokens a model reads, how many of a training text it learns from, and that a folder says one thing."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.conftest import recipe, rows, write_csv

from tlx.runtime.folder import open_folder
from tlx.runtime.tasks import task_named
from tlx.train.console import Console
from tlx.train.defaults import resolve_max_tokens
from tlx.train.recipe import recipe_from
from tlx.train.train import train

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def long_base(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `base`, with 700 positions."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("long")
    config = BertConfig.from_pretrained(base, max_position_embeddings=700)
    BertModel(config).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.model_max_length = 700
    tokenizer.save_pretrained(folder)
    return folder


def told(folder: Path) -> tuple[int, int, int, int]:
    """What the manifest says, what tokenizer_config.json says, and the recipe's limits of the model and of training."""
    manifest = open_folder(folder).manifest
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"]
    used = recipe_from(tomllib.loads((folder / "recipe.toml").read_text()), source="x")
    assert used.model.max_tokens is not None
    assert used.train.max_tokens is not None
    return manifest.max_tokens, tokenizer, used.model.max_tokens, used.train.max_tokens


@pytest.mark.parametrize(
    ("task", "given", "longest", "limit", "reads", "trains"),
    [
        ("text-classification", {}, 20, 512, 512, 64),
        ("text-classification", {}, 20, 8192, 512, 64),
        ("text-classification", {}, 100, 512, 512, 112),
        ("text-classification", {}, 9000, 512, 512, 512),
        ("text-classification", {}, 9000, 2048, 2048, 2048),
        ("text-classification", {}, 20, 32, 32, 32),
        ("text-classification", {"model": 128}, 20, 512, 128, 128),
        ("text-classification", {"model": 128}, 20, 32, 32, 32),
        ("text-classification", {"train": 48}, 100, 512, 512, 48),
        ("text-classification", {"model": 512, "train": 64}, 100, 512, 512, 64),
        ("token-classification", {}, 20, 512, 256, 256),
        ("question-answering", {}, 20, 512, 384, 384),
        ("question-answering", {"model": 100}, 20, 512, 100, 100),
    ],
)
def test_what_a_model_reads_and_what_it_learns_from(
    task: str, given: dict[str, int], longest: int, limit: int, reads: int, trains: int
) -> None:
    made = recipe_from({name: {"max_tokens": value} for name, value in given.items()}, source="x")
    half: Any = task_named(task)
    found = resolve_max_tokens(made, np.full(50, min(longest, limit)), limit, half)
    assert (found.model.max_tokens, found.train.max_tokens) == (reads, trains)


def test_a_model_of_short_texts_reads_as_far_as_its_base(long_base: Path, data: Path, tmp_path: Path) -> None:
    train(recipe(data, long_base, train={"epochs": 1}), tmp_path / "model", console=QUIET)
    assert told(tmp_path / "model") == (512, 512, 512, 64)
    again = recipe_from(tomllib.loads((tmp_path / "model" / "recipe.toml").read_text()), source="x")
    again = again.updated("data", train=str(data)).updated("model", base=str(long_base))
    train(again, tmp_path / "again", console=QUIET)
    assert told(tmp_path / "again") == (512, 512, 512, 64)


@pytest.mark.parametrize("student", ["transformer", "convolution"])
def test_its_students_do_so_too(student: str, long_base: Path, data: Path, tmp_path: Path) -> None:
    train(recipe(data, long_base, train={"epochs": 1}), tmp_path / "teacher", console=QUIET)
    model = {"teachers": [str(tmp_path / "teacher")], "student": student}
    made = recipe(data, model=model, augment={"count": 20}, train={"epochs": 1})
    train(made, tmp_path / "student", console=QUIET)
    assert told(tmp_path / "student") == (512, 512, 512, 64)


def test_a_limit_that_was_given_is_everywhere(long_base: Path, data: Path, tmp_path: Path) -> None:
    train(recipe(data, long_base, model={"max_tokens": 40}, train={"epochs": 1}), tmp_path / "model", console=QUIET)
    assert told(tmp_path / "model") == (40, 40, 40, 40)


def test_training_texts_that_are_cut_are_counted_once(
    long_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [*rows(60, 2), *((f"play music {'loud ' * 100}{n}", "music") for n in range(3))]
    held = write_csv(tmp_path / "held.csv", rows(20, 3))
    path = write_csv(tmp_path / "train.csv", lines)
    made = recipe(path, long_base, data={"validation": str(held)}, train={"epochs": 1})
    train(made, tmp_path / "whole", console=Console())
    assert "are cut" not in capsys.readouterr().err
    train(made.updated("model", max_tokens=32), tmp_path / "cut", console=Console())
    told_of = [line for line in capsys.readouterr().err.splitlines() if "are cut" in line]
    assert told_of == ["warning: training texts longer than 32 tokens are cut: 3 of 63 (--max-tokens keeps up to 700)"]


def test_validation_texts_are_read_as_far_as_the_folder_reads(long_base: Path, tmp_path: Path) -> None:
    """Only the last words of these texts tell the label: cut at what training needs, all would be alike."""
    from transformers import pipeline

    lines = [(f"{'please ' * 90}{text}", label) for text, label in rows(40, 3)]
    held = write_csv(tmp_path / "held.csv", lines)
    path = write_csv(tmp_path / "train.csv", rows(60, 2))
    made = recipe(path, long_base, data={"validation": str(held)}, train={"epochs": 1})
    train(made, tmp_path / "model", console=QUIET)
    classify = pipeline("text-classification", model=str(tmp_path / "model"), device="cpu", top_k=None)
    found = [{s["label"]: s["score"] for s in answer} for answer in classify([text for text, _ in lines])]
    expected = -np.mean([np.log(scores[label]) for scores, (_, label) in zip(found, lines, strict=True)])
    evaluations = open_folder(tmp_path / "model").manifest.lineage["training"]["evaluations"]
    assert evaluations[-1]["validation_loss"] == pytest.approx(float(expected), abs=1e-4)
