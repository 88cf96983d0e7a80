"""What a careful person writes around an ONNX classifier with tokenizers, onnxruntime and numpy alone.

One session, texts in the order given, 32 at a time, padded to the longest. The other side of `runtime_overhead.py`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

BATCH = 32


class ByHand:
    """Answers as transformers.pipeline does: `[{"label", "score"}]` for a text, a list of them for many."""

    def __init__(self, folder: str, variant: str, threads: int) -> None:
        with open(f"{folder}/tlx.json", encoding="utf-8") as stream:
            manifest = json.load(stream)
        with open(f"{folder}/config.json", encoding="utf-8") as stream:
            pad_id = json.load(stream).get("pad_token_id") or 0
        self.labels: list[str] = manifest["labels"]
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self.tokenizer.enable_truncation(manifest["max_tokens"])
        self.tokenizer.enable_padding(pad_id=pad_id)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            f"{folder}/{manifest['variants'][variant]['path']}", options, providers=["CPUExecutionProvider"]
        )
        self.inputs = {item.name for item in self.session.get_inputs()}

    def one(self, text: str) -> list[dict[str, Any]]:
        encoding = self.tokenizer.encode(text)
        return self._answers([encoding])

    def many(self, texts: list[str]) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for start in range(0, len(texts), BATCH):
            answers += self._answers(self.tokenizer.encode_batch(texts[start : start + BATCH]))
        return answers

    def _answers(self, encodings: list[Any]) -> list[dict[str, Any]]:
        input_ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        feeds = {"input_ids": input_ids}
        if "attention_mask" in self.inputs:
            feeds["attention_mask"] = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        if "token_type_ids" in self.inputs:
            feeds["token_type_ids"] = np.zeros_like(input_ids)
        logits = self.session.run(["logits"], feeds)[0]
        exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
        scores = exponents / exponents.sum(axis=-1, keepdims=True)
        best = scores.argmax(axis=-1)
        return [{"label": self.labels[k], "score": float(row[k])} for row, k in zip(scores, best, strict=True)]
