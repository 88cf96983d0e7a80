"""Teachers: loaded once, asked once for every text, their answers kept."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tlx.runtime.errors import FolderError, UsageError
from tlx.runtime.tasks.task import Encoded, Input, Outputs
from tlx.train.batches import Rows, encode, token_rows, tokens_of
from tlx.train.loop import autocast_for, predict_rows
from tlx.train.pretrained import alike, load_pretrained, load_tokenizer, token_limit
from tlx.train.tasks.task import TrainTask
from tlx.train.terms.vectors import HeadTap, head_of

__all__ = ["Answers", "Teacher", "ask_teachers", "check_cache", "load_teacher", "takes_types"]

WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained model with its tokenizer, in evaluation mode."""

    source: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    labels: tuple[str, ...]
    fingerprint: str
    """The sha256 of the weights; of several files' together, and of the name where the model is on a hub."""
    edition: str
    """The sha256 of all that tells what it answers: of its files, or of its name and revision on a hub."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """`values`, `(units, outputs)` float32, is what the teachers say together (TrainTask.of_teachers). `vectors`, `(inputs, width)` float16, is what the
    first teacher's layer of outputs read, less its mean; None where nobody asked, or where a text has no one vector."""

    values: NDArray[np.float32]
    vectors: NDArray[np.float16] | None


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
    own = {path: hashes[path] for path in sorted(hashes) if Path(path).is_relative_to(source)}
    weights = [digest for path, digest in own.items() if path.endswith(WEIGHTS)]
    return Teacher(
        source=source,
        model=model.to(device).eval(),
        tokenizer=load_tokenizer(source),
        labels=tuple(str(names[index]) for index in sorted(names)),
        fingerprint=weights[0] if len(weights) == 1 else _digest(weights or [source]),
        edition=_digest(own.values() or [source, str(getattr(model.config, "_commit_hash", ""))]),
    )


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


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
    *,
    vectors: bool = False,
) -> Answers:
    """What the teachers give for the inputs, columns in the task's order of labels; `vectors` asks for those too.

    Units are those of `own`, the student's rows of the inputs (`tokenizer` made them). Each teacher's answers lie in
    `cache`, under the hash of its files and of the inputs, so that they are computed once.
    """
    key = hashlib.sha256(json.dumps([max_tokens, precision, list(inputs)]).encode()).hexdigest()
    cache.mkdir(parents=True, exist_ok=True)
    answers: list[NDArray[np.float32]] = []
    found: NDArray[np.float16] | None = None
    for teacher in teachers:
        limit = min(max_tokens, token_limit(teacher.model, teacher.tokenizer))
        tokens = tokens_of(teacher.tokenizer, limit, task.runtime)
        same = limit == max_tokens and alike(teacher.tokenizer, tokenizer)
        encoded = own if same else None
        mark = f"{teacher.edition[:16]}-{key[:32]}.npy"
        head = head_of(teacher.model) if vectors and teacher is teachers[0] else None
        values, own_vectors = (
            _kept(cache / f"outputs-{mark}"),
            None if head is None else _kept(cache / f"vectors-{mark}"),
        )
        if values is not None and (head is None or own_vectors is not None):
            report(len(inputs))
        else:
            encoded = encoded or encode(task.runtime, tokens, inputs)
            rows = Rows(student=token_rows(encoded, tokens.pad_id or 0, types=takes_types(teacher.model)))
            told = _in_inputs(report, len(inputs), len(rows))
            values, own_vectors = _computed(teacher, task, rows, precision, head, told)
            _keep(cache / f"outputs-{mark}", values)
            if own_vectors is not None:
                _keep(cache / f"vectors-{mark}", own_vectors)
        if own_vectors is not None and own_vectors.shape[1]:
            found = own_vectors
        if task.labels:
            values = values[:, [teacher.labels.index(label) for label in task.labels]]
        if not same and task.runtime.units(own) is not None:
            encoded = encoded or encode(task.runtime, tokens, inputs)
            values = task.aligned(Outputs(inputs, encoded, values), own)
        answers.append(values)
    if not answers:
        raise UsageError("no teacher was given: pass --teacher")
    return Answers(values=task.of_teachers(answers), vectors=found)


def _in_inputs(report: Callable[[int], None], inputs: int, rows: int) -> Callable[[int], None]:
    """Takes rows that are done, of which an input may have several, and reports inputs."""
    done = 0

    def note(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        report(done * inputs // max(rows, 1) - before * inputs // max(rows, 1))

    return note


def _computed(
    teacher: Teacher, task: TrainTask, rows: Rows, precision: str, head: nn.Linear | None, report: Callable[[int], None]
) -> tuple[NDArray[np.float32], NDArray[np.float16] | None]:
    """(the teacher's values, what its `head` read: `(rows, width)` less the mean, of no width where that is not one line a row)."""
    caught: list[tuple[NDArray[np.int64], NDArray[np.float16]]] = []
    tap = None if head is None else HeadTap(head)

    def note(index: NDArray[np.int64]) -> None:
        if tap is not None and tap.caught is not None:
            caught.append((index, tap.caught.float().cpu().numpy().astype(np.float16)))
        report(len(index))

    values = predict_rows(task, teacher.model, rows, autocast_for(teacher.model.device, precision), 4096, note)
    if tap is None:
        return values, None
    tap.remove()
    vectors = np.empty((len(rows), tap.width if caught else 0), dtype=np.float16)
    for index, lines in caught:
        vectors[index] = lines
    vectors -= vectors.mean(axis=0, dtype=np.float32).astype(np.float16)
    return values, vectors


def _keep(path: Path, values: NDArray[Any]) -> None:
    """The file holds the array; it is there whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.part.npy")  # another run may keep its answers in the same folder
    try:
        np.save(partial, values)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _kept(path: Path) -> NDArray[Any] | None:
    """The answers in the file; None where there is none, or, which is warned of, no whole one."""
    try:
        with path.open("rb") as stream:
            values: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(f"{path} is damaged ({error}): the teacher is asked again", UserWarning, stacklevel=3)
        return None
    return values


def takes_types(model: PreTrainedModel) -> bool:
    """Whether the model has an input for token types."""
    return "token_type_ids" in inspect.signature(model.forward).parameters
