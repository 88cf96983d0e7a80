"""Teachers: loaded once, asked once for every text, their answers kept."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tlx.runtime.errors import FolderError, UsageError
from tlx.runtime.tasks.task import Encoded, Input, Outputs
from tlx.train.batches import Rows, encode, token_rows, tokens_of
from tlx.train.loop import autocast_for, predict_rows
from tlx.train.pretrained import load_pretrained, load_tokenizer, token_limit
from tlx.train.tasks.task import TrainTask

__all__ = ["Teacher", "ask_teachers", "check_cache", "load_teacher", "takes_types"]

WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained model with its tokenizer, in evaluation mode."""

    source: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    labels: tuple[str, ...]
    fingerprint: str


def load_teacher(source: str, task: type[TrainTask], device: torch.device, hashes: Mapping[str, str]) -> Teacher:
    """`hashes` are those of the folder's files by path (pretrained.model_hashes).

    Raises UsageError when the folder holds no model, or one that has no head for the task.
    """
    model, found = load_pretrained(source, task.auto_class(), {})
    missing = sorted(name for name in found if not name.startswith(task.half.unread_weights or ("\0",)))
    if missing:
        raise UsageError(
            f"teacher {source} is not trained for {task.half.name} (it has no {missing[0]}): "
            "train it first with `tlx train … --out`"
        )
    names = getattr(model.config, "id2label", None) or {}
    return Teacher(
        source=source,
        model=model.to(device).eval(),
        tokenizer=load_tokenizer(source),
        labels=tuple(str(names[index]) for index in sorted(names)),
        fingerprint=_fingerprint(source, hashes),
    )


def _fingerprint(source: str, hashes: Mapping[str, str]) -> str:
    """The sha256 of the weights; of several files' together, and of the name where the model is on a hub."""
    weights = [hashes[path] for path in sorted(hashes) if Path(path).parent == Path(source) and path.endswith(WEIGHTS)]
    return weights[0] if len(weights) == 1 else hashlib.sha256(" ".join(weights or [source]).encode()).hexdigest()


def check_cache(folder: Path) -> None:
    """Raises FolderError where the teachers' answers cannot be kept in the folder, which need not exist."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        why = "no files can be written there" if nearest.is_dir() else "it is a file"
        raise FolderError(f"distil.cache is {folder}, but {why} ({nearest}): name a folder of yours, or leave it out")


def ask_teachers(
    teachers: Sequence[Teacher],
    task: TrainTask,
    inputs: Sequence[Input],
    own: Encoded,
    tokenizer: PreTrainedTokenizerFast,
    max_tokens: int,
    cache: Path,
    precision: str,
    report: Callable[[int], None],
) -> NDArray[np.float32]:
    """The mean of the teachers' values, `(units, outputs)` float32, columns in the task's order of labels.

    Units are those of `own`, the student's rows of the inputs (`tokenizer` made them). Each teacher's answers lie in
    `cache`, under the hash of its weights and of the inputs, so that they are computed once.
    """
    key = hashlib.sha256(json.dumps([max_tokens, precision, list(inputs)]).encode()).hexdigest()
    cache.mkdir(parents=True, exist_ok=True)
    total: NDArray[np.float32] | None = None
    for teacher in teachers:
        limit = min(max_tokens, token_limit(teacher.model, teacher.tokenizer))
        tokens = tokens_of(teacher.tokenizer, limit, task.runtime)
        path = cache / f"outputs-{teacher.fingerprint[:16]}-{key[:32]}.npy"
        same = teacher.tokenizer is tokenizer and limit == max_tokens
        encoded = own if same else None
        values = _kept(path)
        if values is not None:
            report(len(inputs))
        else:
            encoded = encoded or encode(task.runtime, tokens, inputs)
            with_types = takes_types(teacher.model)
            rows = Rows(student=token_rows(encoded, tokens.pad_id or 0, types=with_types))
            autocast = autocast_for(teacher.model.device, precision)
            values = predict_rows(task, teacher.model, rows, autocast, 4096, report)
            partial = path.with_suffix(".part.npy")
            np.save(partial, values)
            partial.replace(path)
        if task.labels:
            values = values[:, [teacher.labels.index(label) for label in task.labels]]
        if not same and task.runtime.units(own) is not None:
            encoded = encoded or encode(task.runtime, tokens, inputs)
            values = task.aligned(Outputs(inputs, encoded, values), own)
        total = values if total is None else total + values
    if total is None:
        raise UsageError("no teacher was given: pass --teacher")
    mean: NDArray[np.float32] = (total / len(teachers)).astype(np.float32)
    return mean


def _kept(path: Path) -> NDArray[np.float32] | None:
    """The answers in the file; None where there is none, or, which is warned of, no whole one."""
    try:
        with path.open("rb") as stream:
            values: NDArray[np.float32] = np.lib.format.read_array(stream, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(f"{path} is damaged ({error}): the teacher is asked again", UserWarning, stacklevel=3)
        return None
    return values


def takes_types(model: PreTrainedModel) -> bool:
    """Whether the model has an input for token types."""
    return "token_type_ids" in inspect.signature(model.forward).parameters
