"""The torch model behind the folder: the reference that every variant is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlx.export.pretrained import LoadedModel, load_model
from tlx.runtime.batches import cut_batches, pad_batch
from tlx.runtime.errors import DeviceError, UsageError
from tlx.runtime.folder import Folder
from tlx.runtime.tasks import Task, task_named

__all__ = ["TorchEngine", "open_torch"]

TOKENS_PER_BATCH = 2048
TEXTS_PER_BATCH = 64


class TorchEngine:
    """Texts → logits, by transformers' tokenizer and the torch model in float32."""

    variant: Literal["torch"] = "torch"

    def __init__(self, folder: Folder, loaded: LoadedModel, device: str) -> None:
        self.task: Task = task_named(folder.manifest.task).from_manifest(folder.manifest)
        self.device = device
        self.model: Any = loaded.model.to(device)
        self.tokenizer: Any = loaded.tokenizer
        self._max_tokens = folder.manifest.max_tokens
        self._labels = len(folder.manifest.labels)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, truncated at the model's limit, special tokens included, no padding."""
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), truncation=True, max_length=self._max_tokens, padding=False)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def __call__(self, texts: str | Sequence[str]) -> Any:
        """Answers in the shapes of the runtime's predictor, so that the same clock times both."""
        if isinstance(texts, str):
            return self.task.answer(self.logits([texts]))
        return self.task.answers(self.logits(texts))

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`(texts, labels)` float32, in the texts' order, computed in batches of near-equal length."""
        import torch

        pad = self.tokenizer.pad_token_id
        rows = [np.array(ids or [pad or 0], dtype=np.int64) for ids in self.encode(texts)]
        logits = np.zeros((len(rows), self._labels), dtype=np.float32)
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        batches = (
            cut_batches(lengths, max_tokens=TOKENS_PER_BATCH, max_texts=TEXTS_PER_BATCH, may_pad=pad is not None)
            if rows
            else []
        )
        with torch.inference_mode():
            for batch in batches:
                input_ids, attention_mask = pad_batch([rows[row] for row in batch], pad or 0)
                output = self.model(
                    input_ids=torch.from_numpy(input_ids).to(self.device),
                    attention_mask=torch.from_numpy(attention_mask).to(self.device),
                )
                logits[batch] = output.logits.float().cpu().numpy()
        return logits


def open_torch(folder: Folder, device: str = "auto") -> TorchEngine:
    """The folder's torch model on `device` ("cpu", "cuda", or "auto": cuda where torch has it).

    Raises FolderError when it does not load, DeviceError when cuda was asked for and torch has none.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {device!r}: choose one of auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device cuda cannot start: torch {torch.__version__} sees no CUDA device; use device cpu")
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    return TorchEngine(folder, load_model(folder), chosen)
