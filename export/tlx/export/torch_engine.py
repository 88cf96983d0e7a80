"""The torch model behind the folder: the reference that every variant is compared with."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tlx.export.pretrained import LoadedModel, load_model
from tlx.runtime.batches import cut_batches, pad_batch
from tlx.runtime.errors import DeviceError, UsageError
from tlx.runtime.folder import Folder
from tlx.runtime.tasks import Task, task_of
from tlx.runtime.tasks.task import Floats, Input, Outputs, unit_index, unit_starts
from tlx.runtime.tokens import open_tokens

__all__ = ["TorchEngine", "open_torch"]

TOKENS_PER_BATCH = 2048
TEXTS_PER_BATCH = 64


class TorchEngine:
    """Inputs → outputs, by the folder's tokenizer and the torch model in float32. Called as the runtime's predictor is."""

    variant: Literal["torch"] = "torch"

    def __init__(self, folder: Folder, loaded: LoadedModel, device: str) -> None:
        self.task: Task = task_of(folder.manifest)
        self.device = device
        self.model: Any = loaded.model.to(device)
        self._transformers: Any = loaded.tokenizer
        self._max_tokens = folder.manifest.max_tokens
        content = loaded.tokenizer.backend_tokenizer.to_str().encode()
        self.tokens = open_tokens(content, self._max_tokens, str(folder.path), self.task)

    def transformers_ids(self, item: Input) -> list[int]:
        """The token ids that transformers' tokenizer gives for one input, truncated at the model's limit."""
        # In lists: of a pair given alone, transformers forgets a second text that is empty.
        parts = [[part] for part in ((item,) if isinstance(item, str) else item)]
        encoded = self._transformers(
            *parts, truncation=self.task.truncation, max_length=self._max_tokens, padding=False
        )
        ids: list[int] = encoded["input_ids"][0]
        return ids

    def __call__(self, inputs: Any) -> Any:
        """Answers in the shapes of the runtime's predictor, so that the same clock times both."""
        if isinstance(inputs, (str, tuple)):
            return self.task.answer(self.run([inputs]))
        return self.task.answers(self.run(inputs))

    def run(self, inputs: Sequence[Input]) -> Outputs:
        """What the model gives, in the inputs' order, computed in batches of near-equal length."""
        import torch

        task, pad = self.task, self.tokens.pad_id
        encoded = task.encode(self.tokens, list(inputs))
        rows, types = encoded.rows, encoded.types
        units = task.units(encoded)
        starts = unit_starts(units, len(rows))
        values: Floats = np.zeros((int(starts[-1]), task.width or 1), dtype=np.float32)
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        batches = cut_batches(lengths, max_tokens=TOKENS_PER_BATCH, max_texts=TEXTS_PER_BATCH, may_pad=pad is not None)
        with_types = types is not None and "token_type_ids" in inspect.signature(self.model.forward).parameters
        with torch.inference_mode():
            for batch in batches if rows else []:
                input_ids, mask = pad_batch([rows[row] for row in batch], pad or 0)
                feeds = {"input_ids": input_ids, "attention_mask": mask}
                if with_types and types is not None:
                    feeds["token_type_ids"] = pad_batch([types[row] for row in batch], 0)[0]
                output = self.model(**{name: torch.from_numpy(item).to(self.device) for name, item in feeds.items()})
                raw = [getattr(output, head).float().cpu().numpy() for head in task.heads]
                found = task.collect(raw, encoded, batch, mask)
                if values.shape[1] != found.shape[1]:
                    values = np.zeros((int(starts[-1]), found.shape[1]), dtype=np.float32)
                values[unit_index(starts, batch)] = found
        return Outputs(inputs, encoded, values)


def open_torch(folder: Folder, device: str = "auto", threads: int | None = None) -> TorchEngine:
    """The folder's torch model on `device` ("cpu", "cuda", or "auto": cuda where torch has it). `threads` are those of torch in this
    process from then on.

    Raises FolderError when it does not load or its files are not those of the manifest, DeviceError when cuda was asked for and torch has none.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {device!r}: choose one of auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device cuda cannot start: torch {torch.__version__} sees no CUDA device; use device cpu")
    folder.check_source()
    if threads is not None:
        torch.set_num_threads(threads)
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    return TorchEngine(folder, load_model(folder), chosen)
