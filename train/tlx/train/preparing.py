"""Everything that a run learns from and is judged by, encoded, labelled by its teachers and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tlx.runtime.errors import UsageError
from tlx.runtime.tasks.task import Encoded, Input, Task, unit_starts
from tlx.runtime.tokens import Tokens
from tlx.train.batches import Ragged, Rows, TokenRows, encode, joined, token_rows, tokens_of, with_words
from tlx.train.building import Student
from tlx.train.console import Console
from tlx.train.defaults import resolve_max_tokens, resolve_training
from tlx.train.memory import bound_kernels
from tlx.train.pretrained import alike, token_limit
from tlx.train.recipe import Recipe
from tlx.train.tasks.task import TrainTask
from tlx.train.teachers import Answers, Teacher, ask_teachers, takes_types
from tlx.train.terms.vectors import head_of
from tlx.train.writing import Data

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The rows of a run; `validation_encoded` is what the metrics are computed with."""

    train: Rows
    validation: Rows
    validation_encoded: Encoded


def prepare(
    recipe: Recipe,
    task: TrainTask,
    teachers: Sequence[Teacher],
    student: Student,
    data: Data,
    inputs: Sequence[Input],
    folder: Path,
    device: torch.device,
    console: Console,
) -> tuple[Recipe, Prepared]:
    """Everything encoded, labelled and counted; the recipe comes back with what depended on it."""
    model, half = student.model, task.runtime
    limit = token_limit(model, student.tokenizer)
    whole = encode(half, tokens_of(student.tokenizer, limit, half), data.train.inputs)
    recipe = resolve_max_tokens(recipe, _lengths(whole), limit, half, task.least_tokens)
    max_tokens, reads = int(recipe.train.max_tokens or limit), int(recipe.model.max_tokens or limit)
    tokens = tokens_of(student.tokenizer, max_tokens, half)
    labelled = whole if _fits(whole, max_tokens, limit, half) else encode(half, tokens, data.train.inputs)
    _tell_cut(labelled.truncated, len(data.train), max_tokens, limit, console)
    more = encode(half, tokens, inputs) if inputs else None
    every = [*data.train.inputs, *inputs]
    learnt = labelled if more is None else joined([(data.train.inputs, labelled), (inputs, more)])
    learnt = task.arranged(learnt, max_tokens)
    held = encode(half, tokens_of(student.tokenizer, reads, half), data.validation.inputs)
    width, depth = (getattr(model.config, name, n) for name, n in (("hidden_size", 384), ("num_hidden_layers", 6)))
    lengths = _lengths(learnt)
    recipe = resolve_training(
        recipe, lengths, width, depth, device, task.rows_a_step, task.rate_share, task.label_smoothing
    )
    bound_kernels(float(lengths.mean()))
    own, theirs = _aligned_rows(recipe, task, teachers, student, tokens, every, learnt, transfers=bool(inputs))
    # One teacher that runs beside the student anyway answers there.
    beside = theirs is not None and len(teachers) == 1
    asked = ([] if beside else every, [] if task.beside else list(data.validation.inputs))
    vectors = theirs is None and _wants_vectors(recipe, task, student, learnt)
    answers = _answers(recipe, task, teachers, student, asked, (learnt, held), folder, console, vectors=vectors)
    gold = task.gold(data.train, learnt if more is None else labelled)
    if gold is not None and more is not None:
        rest = task.unlabelled_gold(more)
        gold = None if rest is None else gold.followed_by(rest)
    held_rows = token_rows(held, own.pad_id, types=takes_types(model))
    return recipe, Prepared(
        train=Rows(
            student=own,
            gold=gold,
            teacher_outputs=_by_unit(answers[0], learnt, half),
            teacher_vectors=_by_row(answers[0]),
            teacher=theirs,
            group=task.group,
        ),
        validation=Rows(student=held_rows, gold=task.held_gold(held), teacher_outputs=_by_unit(answers[1], held, half)),
        validation_encoded=held,
    )


def _lengths(encoded: Encoded) -> NDArray[np.int64]:
    return np.array([len(row) for row in encoded.rows], dtype=np.int64)


def _fits(whole: Encoded, max_tokens: int, limit: int, half: Task) -> bool:
    """Whether inputs encoded for `limit` tokens are the same for `max_tokens`. Windows may differ where nothing is cut."""
    return max_tokens == limit or (half.window is None and int(_lengths(whole).max(initial=0)) <= max_tokens)


def _aligned_rows(
    recipe: Recipe,
    task: TrainTask,
    teachers: Sequence[Teacher],
    student: Student,
    tokens: Tokens,
    inputs: Sequence[Input],
    learnt: Encoded,
    *,
    transfers: bool,
) -> tuple[TokenRows, TokenRows | None]:
    """The student's training rows, and the first teacher's of the same inputs where hidden states are compared.

    Raises UsageError for a task whose teacher must answer beside the student, and cannot.
    """
    own = token_rows(learnt, tokens.pad_id or 0, types=takes_types(student.model))
    shared = bool(teachers) and _shares_rows(teachers[0], student, tokens.max_tokens)
    # Words are aligned where each input is one row.
    aligned = _wants_states(recipe, task, teachers, student) and (shared or learnt.owners is None)
    if task.beside and teachers and (not (aligned and shared) or len(teachers) > 1 or transfers):
        raise UsageError(
            f"{task.name} masks other tokens at every step, and its teacher answers beside the student: give one --teacher "
            "(no --base, --vocabulary or --unlabelled), keep distil.hidden over 0, and cut it by --layers"
        )
    if not aligned:
        return own, None
    if shared:
        return own, own
    return with_words(own, tokens, inputs), _teacher_rows(teachers[0], task.runtime, tokens.max_tokens, inputs)


def _shares_rows(teacher: Teacher, student: Student, max_tokens: int) -> bool:
    """Whether the teacher takes the student's rows as they are."""
    if token_limit(teacher.model, teacher.tokenizer) < max_tokens:
        return False
    return alike(teacher.tokenizer, student.tokenizer) and takes_types(teacher.model) == takes_types(student.model)


def _tell_cut(count: int, total: int, max_tokens: int, limit: int, console: Console) -> None:
    """Says how many training texts lose their end, and what would keep it."""
    if not count:
        return
    advice = f"--max-tokens keeps up to {limit}" if max_tokens < limit else "the model takes no more"
    console.say(f"warning: training texts longer than {max_tokens} tokens are cut: {count} of {total} ({advice})")


def _teacher_rows(teacher: Teacher, half: Task, max_tokens: int, inputs: Sequence[Input]) -> TokenRows:
    """The inputs in the teacher's own tokens, with their words."""
    tokens = tokens_of(teacher.tokenizer, min(max_tokens, token_limit(teacher.model, teacher.tokenizer)), half)
    rows = token_rows(encode(half, tokens, inputs), tokens.pad_id or 0, types=takes_types(teacher.model))
    return with_words(rows, tokens, inputs)


def _answers(
    recipe: Recipe,
    task: TrainTask,
    teachers: Sequence[Teacher],
    student: Student,
    asked: Sequence[Sequence[Input]],
    encoded: Sequence[Encoded],
    folder: Path,
    console: Console,
    *,
    vectors: bool,
) -> list[Answers | None]:
    """What the teachers give for each part that they are asked; None for an empty part. `vectors` are wanted of the first part."""
    answers: list[Answers | None] = [None for _ in asked]
    if not teachers:
        return answers
    limits = int(recipe.train.max_tokens or 0), int(recipe.model.max_tokens or 0)
    cache = folder / "cache" if recipe.distil.cache is None else Path(recipe.distil.cache)
    with console.stage("teacher", len(teachers) * sum(map(len, asked))) as advance:
        for index, part in enumerate(asked):
            if part:
                answers[index] = ask_teachers(
                    teachers,
                    task,
                    part,
                    encoded[index],
                    student.tokenizer,
                    limits[index],
                    cache,
                    recipe.train.precision,
                    lambda n: advance(n, ""),
                    vectors=vectors and not index,
                )
    return answers


def _by_unit(answers: Answers | None, encoded: Encoded, half: Task) -> Ragged | None:
    """The teachers' values by the student's rows."""
    if answers is None:
        return None
    units = half.units(encoded)
    starts = None if units is None else unit_starts(units, len(encoded.rows))
    return Ragged(torch.from_numpy(answers.values), starts)


def _by_row(answers: Answers | None) -> Ragged | None:
    """The first teacher's vectors."""
    return None if answers is None or answers.vectors is None else Ragged(torch.from_numpy(answers.vectors))


def _wants_vectors(recipe: Recipe, task: TrainTask, student: Student, learnt: Encoded) -> bool:
    """Whether text vectors are compared: of small students whose outputs are one line a text."""
    if recipe.model.student == "transformer" or task.per_token or learnt.owners is not None:
        return False
    return recipe.distil.vectors > 0 and head_of(student.model) is not None


def _wants_states(recipe: Recipe, task: TrainTask, teachers: Sequence[Teacher], student: Student) -> bool:
    """Whether hidden states are compared: both sides must be encoders with layers, and of the same rows and units."""
    distil = recipe.distil
    if not teachers or distil.hidden + distil.relations + distil.pooler == 0:
        return False
    if task.per_token and teachers[0].tokenizer is not student.tokenizer:
        return False
    configs = (student.model.config, teachers[0].model.config)
    return all(hasattr(config, "num_hidden_layers") and not config.is_encoder_decoder for config in configs)
