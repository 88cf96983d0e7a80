"""Tiny trained-looking checkpoints of several families, as transformers writes them, and data that they answer right."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import LABELS, WORDS

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def sentences(count: int, seed: int = 0) -> list[str]:
    import random

    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(count)]


def word_pieces() -> Any:
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)]
    pieces += [piece for letter in LETTERS for piece in (letter, f"##{letter}") if piece not in pieces]
    backend = BertWordPieceTokenizer({piece: index for index, piece in enumerate(pieces)})
    return BertTokenizerFast(tokenizer_object=backend._tokenizer, model_max_length=64)


def byte_pairs() -> Any:
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import RobertaProcessing
    from transformers import RobertaTokenizerFast

    backend = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend.train_from_iterator(sentences(200), vocab_size=400, special_tokens=special, show_progress=False)
    backend._tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    return RobertaTokenizerFast(tokenizer_object=backend._tokenizer, model_max_length=64)


def _bert(tokenizer: Any, **shared: Any) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **SIZES, **shared)
    return BertForSequenceClassification(config)


def _roberta(tokenizer: Any, **shared: Any) -> Any:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, **SIZES, **shared)
    return RobertaForSequenceClassification(config)


def _distilbert(tokenizer: Any, **shared: Any) -> Any:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, dim=32, n_layers=2, n_heads=4, hidden_dim=64, **shared
    )
    return DistilBertForSequenceClassification(config)


def _convolution(tokenizer: Any, **shared: Any) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from tlx.export.pretrained import register_architectures

    register_architectures()
    shared.pop("initializer_range")
    config = AutoConfig.for_model(
        "tlx-convolution", vocab_size=len(tokenizer), embedding_size=16, channels=32, head_size=16, **shared
    )
    return AutoModelForSequenceClassification.from_config(config)


FAMILIES = {
    "bert": (_bert, word_pieces),
    "roberta": (_roberta, byte_pairs),
    "distilbert": (_distilbert, word_pieces),
    "tlx-convolution": (_convolution, word_pieces),
}


def save_checkpoint(family: str, path: Path, *, multi_label: bool = False, seed: int = 1) -> Path:
    import torch

    build, make_tokenizer = FAMILIES[family]
    tokenizer = make_tokenizer()
    torch.manual_seed(seed)
    model = build(
        tokenizer,
        initializer_range=0.3,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        problem_type="multi_label_classification" if multi_label else "single_label_classification",
    )
    model.eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


Checkpoint = Callable[..., Path]


@pytest.fixture(scope="session")
def _checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    made: dict[tuple[str, bool], Path] = {}

    def make(family: str, multi_label: bool) -> Path:
        key = family, multi_label
        if key not in made:
            made[key] = save_checkpoint(family, tmp_path_factory.mktemp(family) / "model", multi_label=multi_label)
        return made[key]

    return make


@pytest.fixture
def checkpoint(_checkpoints: Callable[[str, bool], Path], tmp_path: Path) -> Checkpoint:
    """A plain transformers checkpoint of a family, a copy of one's own: `checkpoint("bert", multi_label=True)`."""

    def copy(family: str = "bert", *, multi_label: bool = False) -> Path:
        return Path(shutil.copytree(_checkpoints(family, multi_label), tmp_path / "model"))

    return copy


def torch_logits(folder: Path, texts: Sequence[str]) -> Any:
    """transformers' own answer: the oracle. One text at a time, no padding. `(texts, labels)`."""
    import numpy as np
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from tlx.export.pretrained import register_architectures

    register_architectures()
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        rows = [
            model(**tokenizer(text, return_tensors="pt", truncation=True, return_token_type_ids=False)).logits[0]
            for text in texts
        ]
    return np.stack([row.numpy() for row in rows])


@pytest.fixture
def oracle() -> Callable[[Path, Sequence[str]], Any]:
    return torch_logits


@pytest.fixture
def answered_data(tmp_path: Path) -> Callable[..., Path]:
    """A file of texts whose labels are what torch answers, so that torch's accuracy is 1."""

    def write(folder: Path, count: int = 60, *, multi_label: bool = False, name: str = "data.csv") -> Path:
        texts = sentences(count, seed=5)
        logits = torch_logits(folder, texts)
        if multi_label:
            gold = [json.dumps([label for label, x in zip(LABELS, row, strict=True) if x > 0]) for row in logits]
        else:
            gold = [LABELS[int(row.argmax())] for row in logits]
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            writer.writerows(zip(texts, gold, strict=True))
        return path

    return write


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file under a folder with its bytes: to see that nothing changed."""
    return lambda folder: {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
