"""Tiny real models, made offline once a session and shared by all tests."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers run side by side

from tlx.runtime.folder import MANIFEST, Folder, Manifest, Variant, file_record, write_atomically

# The same examples in every run, so that a change fails for what it does; TLX_EXPLORE=1 looks for others.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("explore" if os.environ.get("TLX_EXPLORE") else "same")

WORDS = [
    "please",
    "cancel",
    "my",
    "card",
    "send",
    "me",
    "a",
    "new",
    "one",
    "what",
    "is",
    "the",
    "weather",
    "in",
    "paris",
    "tomorrow",
    "play",
    "some",
    "music",
    "turn",
    "off",
    "lights",
    "how",
    "much",
    "money",
    "do",
    "i",
    "have",
    "on",
    "account",
    "book",
    "table",
    "for",
    "two",
    "set",
    "an",
    "alarm",
    "at",
    "seven",
    "thanks",
    "not",
    "good",
    "bad",
    "very",
]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
LABELS = ("card", "lights", "music", "weather")


def tiny_tokenizer(max_tokens: int = 64) -> Any:
    """A WordPiece tokenizer of about 130 pieces as transformers' BertTokenizerFast."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)]
    pieces += [piece for letter in LETTERS for piece in (letter, f"##{letter}") if piece not in pieces]
    backend = BertWordPieceTokenizer({piece: index for index, piece in enumerate(pieces)})
    return BertTokenizerFast(tokenizer_object=backend._tokenizer, model_max_length=max_tokens)


def tiny_classifier(labels: Sequence[str] = LABELS, *, multi_label: bool = False, seed: int = 0) -> Any:
    """A BERT classifier (2 layers, hidden 32) with seeded random weights, spread so that its answers vary."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tiny_tokenizer()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type="multi_label_classification" if multi_label else "single_label_classification",
    )
    return BertForSequenceClassification(config).eval()


def save_folder(model: Any, folder: Path, **settings: Any) -> Folder:
    """The model as a tlx folder: transformers' files, onnx/model.onnx (variant fp32) and the manifest."""
    import torch

    tokenizer = tiny_tokenizer()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "onnx").mkdir()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = tokenizer(["play some music", "thanks"], padding=True, return_tensors="pt")
    axes = {0: "batch_size", 1: "sequence_length"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the legacy exporter announces its end
        torch.onnx.export(
            model,
            tuple(inputs[name] for name in names),
            folder / "onnx" / "model.onnx",
            input_names=names,
            output_names=["logits"],
            dynamic_axes={**dict.fromkeys(names, axes), "logits": {0: "batch_size"}},
            opset_version=18,
            dynamo=False,
        )
    manifest = Manifest(
        task="text-classification",
        labels=tuple(model.config.id2label.values()),
        max_tokens=64,
        settings=settings,
        files={name: file_record(folder, name) for name in ("config.json", "tokenizer.json")},
        variants={"fp32": Variant(name="fp32", file=file_record(folder, "onnx/model.onnx"))},
        default={"cpu": "fp32", "cuda": "fp32"},
    )
    write_atomically(folder / MANIFEST, manifest.to_json())
    return Folder(path=folder, manifest=manifest)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single-label model folder with variant fp32. Do not write into it: copy it (shutil.copytree) to change it."""
    return save_folder(tiny_classifier(), tmp_path_factory.mktemp("tiny") / "model", multi_label=False).path


@pytest.fixture(scope="session")
def tiny_multi_label_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multi-label model folder with variant fp32 and thresholds of its own."""
    model = tiny_classifier(multi_label=True, seed=1)
    folder = tmp_path_factory.mktemp("tiny-multi") / "model"
    return save_folder(model, folder, multi_label=True, thresholds=[0.5, 0.4, 0.6, 0.5]).path
