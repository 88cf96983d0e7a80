"""One tiny tagger as transformers.pipeline has it and as tlx has it, and what it means that they answer alike."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.marks import with_marks
from tests.taggers import save_tagger, tagger, tokenizer_of

from tlx.runtime import load
from tlx.runtime.predictor import Predictor

KINDS = ("wordpiece", "bytes", "unigram")
STRATEGIES = ("none", "simple", "first", "average", "max")


def tiny_tagger(kind: str, folder: Path) -> Tagger:
    """A tiny model of random weights over a kind of tokenizer."""
    tokenizer = tokenizer_of(kind)
    return Tagger(save_tagger(tagger(tokenizer), tokenizer, folder))


class Tagger:
    """The model of a folder, as transformers has it and as tlx has it."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer, pipeline

        self.folder = folder
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.tlx: Predictor = load(folder, "fp32", threads=1)
        self.pipeline: Any = pipeline("token-classification", model=str(folder), tokenizer=self.tokenizer, device="cpu")

    def fitting(self, texts: Sequence[str], count: int) -> list[str]:
        """Those that need no second window."""
        lengths = self.tlx.task.encode(self.tlx._engine.tokens, texts)
        several = set() if lengths.owners is None else set(np.flatnonzero(np.bincount(lengths.owners) > 1).tolist())
        return [text for row, text in enumerate(texts) if row not in several][:count]

    def expected(
        self, texts: Sequence[str], strategies: Sequence[str], ignore_labels: Sequence[str] = ("O",)
    ) -> dict[str, list[list[dict[str, Any]]]]:
        """The pipeline's own answers, but for the marks that it cuts off: its model runs once a text."""
        found: dict[str, list[list[dict[str, Any]]]] = {strategy: [] for strategy in strategies}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Tokenizer does not support real words"
            for text in texts:
                (chunk,) = self.pipeline.preprocess(text, is_split_into_words=False)
                begins = {start for start, _ in chunk["offset_mapping"][0].tolist()}
                outputs = self.pipeline.forward(chunk)
                for strategy in strategies:
                    _, _, options = self.pipeline._sanitize_parameters(aggregation_strategy=strategy)
                    answers = self.pipeline.postprocess([outputs], ignore_labels=ignore_labels, **options)
                    found[strategy].append([{**e, "end": with_marks(text, e["end"], begins)} for e in answers])
        return found


def assert_same(
    found: Sequence[Sequence[Any]], expected: Sequence[Sequence[Any]], texts: Sequence[str], *, words: bool = True
) -> None:
    for text, ours, theirs in zip(texts, found, expected, strict=True):
        exact = [{k: v for k, v in e.items() if k != "score" and (words or k != "word")} for e in ours]
        assert exact == [{k: v for k, v in e.items() if k != "score" and (words or k != "word")} for e in theirs], text
        assert [list(e) for e in ours] == [list(e) for e in theirs]
        np.testing.assert_allclose([e["score"] for e in ours], [float(e["score"]) for e in theirs], atol=1e-4)
