"""A tiny pretrained-looking base and small data files, made offline."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

WORDS = {
    "card": ["cancel", "my", "card", "new", "card", "send", "card", "block", "card", "lost", "card"],
    "lights": ["turn", "off", "lights", "dark", "lamp", "bright", "lights", "on"],
    "music": ["play", "some", "music", "song", "loud", "music", "louder"],
}


def rows(count: int, seed: int) -> list[tuple[str, str]]:
    """`count` distinct (text, label) pairs, the label told by the words."""
    chance = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        label = chance.choice(sorted(WORDS))
        words = chance.sample(WORDS[label], 3) + chance.sample(["please", "the", "now", "me", "a", "i"], 2)
        chance.shuffle(words)
        found[" ".join(words)] = label
    return list(found.items())


def write_csv(path: Path, lines: Sequence[Sequence[str]], header: Sequence[str] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *lines])
    return path


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT encoder (2 layers, hidden 32) of random weights, with a WordPiece tokenizer; no head."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = sorted({word for group in WORDS.values() for word in group} | {"please", "the", "now", "me", "a", "i"})
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{x}" for x in letters)]
    pieces += [word for word in words if word not in pieces]
    backend = BertWordPieceTokenizer({piece: index for index, piece in enumerate(pieces)})
    tokenizer = BertTokenizerFast(tokenizer_object=backend._tokenizer, model_max_length=32)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    folder = tmp_path_factory.mktemp("base")
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 120 rows in three classes."""
    return write_csv(tmp_path_factory.mktemp("data") / "train.csv", rows(120, 0))


def recipe(source: Path, base: Path | None = None, **sections: dict[str, Any]) -> Any:
    """A quick recipe: two epochs of small steps in float32."""
    from tlx.train.recipe import recipe_from

    document: dict[str, dict[str, Any]] = {
        "data": {"train": str(source)},
        "model": {"base": str(base)} if base is not None else {},
        "train": {"epochs": 2, "learning_rate": 3e-3, "batch_rows": 16, "precision": "fp32"},
    }
    for name, values in sections.items():
        document[name] = document.get(name, {}) | values
    return recipe_from(document, source="test")


@pytest.fixture(scope="session")
def teacher(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that `train` made of `base` on `data`."""
    from tlx.train.console import Console
    from tlx.train.train import train

    out = tmp_path_factory.mktemp("teacher") / "model"
    train(recipe(data, base).updated("train", epochs=12.0), out, console=Console(quiet=True))
    return out
