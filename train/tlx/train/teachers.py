"""Teachers: loaded once, asked once for every text, their answers kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tlx.runtime.errors import UsageError
from tlx.train.batches import Rows, encode
from tlx.train.loop import autocast_for, predict_rows
from tlx.train.pretrained import load_pretrained, load_tokenizer, token_limit
from tlx.train.tasks.task import TrainTask

__all__ = ["Teacher", "ask_teachers", "load_teacher"]


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained model with its tokenizer, in evaluation mode."""

    source: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    labels: tuple[str, ...]
    fingerprint: str


def load_teacher(source: str, task: type[TrainTask], device: torch.device) -> Teacher:
    """Raises UsageError when the folder holds no model, or one that has no head for the task."""
    model, missing = load_pretrained(source, task.auto_class, {})
    if task.name == "feature-extraction":
        missing = {name for name in missing if "pooler." not in name}  # embeddings are means of states
    if missing:
        raise UsageError(
            f"teacher {source} is not trained for {task.name} (it has no {sorted(missing)[0]}): "
            "train it first with `tlx train … --out`"
        )
    weights = Path(source) / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes() if weights.is_file() else source.encode()).hexdigest()
    names = getattr(model.config, "id2label", None) or {}
    return Teacher(
        source=source,
        model=model.to(device).eval(),
        tokenizer=load_tokenizer(source),
        labels=tuple(str(names[index]) for index in sorted(names)),
        fingerprint=digest,
    )


def ask_teachers(
    teachers: Sequence[Teacher],
    task: TrainTask,
    texts: Sequence[str],
    max_tokens: int,
    cache: Path,
    precision: str,
    report: Callable[[int], None],
) -> NDArray[np.float32]:
    """The mean of the teachers' outputs, `(n, outputs)` float32, columns in the task's order of labels.

    Each teacher's answers lie in `cache`, under the hash of its weights and of the texts, so that they are computed once.
    """
    key = hashlib.sha256(json.dumps([max_tokens, precision, list(texts)]).encode()).hexdigest()
    cache.mkdir(parents=True, exist_ok=True)
    total: NDArray[np.float32] | None = None
    for teacher in teachers:
        path = cache / f"outputs-{teacher.fingerprint[:16]}-{key[:32]}.npy"
        if path.exists():
            outputs = np.load(path, allow_pickle=False)
            report(len(texts))
        else:
            limit = min(max_tokens, token_limit(teacher.model, teacher.tokenizer))
            rows = Rows(student=encode(teacher.tokenizer, texts, limit))
            autocast = autocast_for(teacher.model.device, precision)
            outputs = predict_rows(task, teacher.model, rows, autocast, 4096, report)
            partial = path.with_suffix(".part.npy")
            np.save(partial, outputs)
            partial.replace(path)
        if task.labels:
            outputs = outputs[:, [teacher.labels.index(label) for label in task.labels]]
        total = outputs if total is None else total + outputs
    if total is None:
        raise UsageError("no teacher was given: pass --teacher")
    mean: NDArray[np.float32] = (total / len(teachers)).astype(np.float32)
    return mean
