"""Everything that a run learns from and is judged by, encoded, labelled by its teachers and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tlx.runtime.errors import UsageError
from tlx.runtime.tasks.task import Encoded, Input, Task, unit_starts
from tlx.train.batches import Ragged, Rows, TokenRows, encode, token_rows, tokens_of, with_words
from tlx.train.building import Student
from tlx.train.console import Console
from tlx.train.defaults import resolve_max_tokens, resolve_training
from tlx.train.pretrained import token_limit
from tlx.train.recipe import Recipe
from tlx.train.tasks.task import TrainTask
from tlx.train.teachers import Teacher, ask_teachers, takes_types
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
    whole = tokens_of(student.tokenizer, limit, half)
    lengths = np.array([len(row) for row in encode(half, whole, data.train.inputs).rows], dtype=np.int64)
    recipe = resolve_max_tokens(recipe, lengths, limit, half)
    max_tokens, reads = int(recipe.train.max_tokens or limit), int(recipe.model.max_tokens or limit)
    tokens = tokens_of(student.tokenizer, max_tokens, half)
    parts = ([*data.train.inputs, *inputs], list(data.validation.inputs))
    labelled = encode(half, tokens, data.train.inputs)
    _tell_cut(labelled.truncated, len(data.train), max_tokens, limit, console)
    encoded = [
        task.arranged(encode(half, tokens, parts[0]) if inputs else labelled, max_tokens),
        encode(half, tokens_of(student.tokenizer, reads, half), parts[1]),
    ]
    width, depth = (getattr(model.config, name, n) for name, n in (("hidden_size", 384), ("num_hidden_layers", 6)))
    row_lengths = np.array([len(row) for row in encoded[0].rows], dtype=np.int64)
    recipe = resolve_training(recipe, row_lengths, width, depth, device, task.rows_a_step)
    pad, types = tokens.pad_id or 0, takes_types(model)
    own, held = (token_rows(part, pad, types=types) for part in encoded)
    theirs: TokenRows | None = None
    shared = bool(teachers) and teachers[0].tokenizer is student.tokenizer
    # Words are aligned where each input is one row.
    aligned = _wants_states(recipe, task, teachers, student) and (shared or encoded[0].owners is None)
    if task.beside and teachers and (not (aligned and shared) or len(teachers) > 1 or inputs):
        raise UsageError(
            f"{task.name} masks other tokens at every step, and its teacher answers beside the student: give one --teacher "
            "(no --base, --vocabulary or --unlabelled), keep distil.hidden over 0, and cut it by --layers"
        )
    if aligned and shared:
        theirs = own
    elif aligned:
        own = with_words(own, tokens, parts[0])
        theirs = _teacher_rows(teachers[0], half, max_tokens, parts[0])
    # One teacher that runs beside the student anyway answers there.
    asked = ([] if aligned and len(teachers) == 1 else parts[0], [] if task.beside else parts[1])
    answers = _answers(recipe, task, teachers, student, asked, encoded, folder, console)
    gold = task.gold(data.train, labelled if inputs else encoded[0])
    if gold is not None and inputs:
        rest = task.unlabelled_gold(encode(half, tokens, inputs))
        gold = None if rest is None else gold.followed_by(rest)
    train_rows = Rows(student=own, gold=gold, teacher_outputs=answers[0], teacher=theirs, group=task.group)
    held_rows = Rows(student=held, gold=task.held_gold(encoded[1]), teacher_outputs=answers[1])
    return recipe, Prepared(train=train_rows, validation=held_rows, validation_encoded=encoded[1])


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
) -> list[Ragged | None]:
    """What the teachers give for each part that they are asked, in the student's units; None for an empty part."""
    answers: list[Ragged | None] = [None for _ in asked]
    if not teachers:
        return answers
    limits = int(recipe.train.max_tokens or 0), int(recipe.model.max_tokens or 0)
    cache = folder / "cache" if recipe.distil.cache is None else Path(recipe.distil.cache)
    with console.stage("teacher", len(teachers) * sum(map(len, asked))) as advance:
        for index, part in enumerate(asked):
            if not part:
                continue
            values = ask_teachers(
                teachers,
                task,
                part,
                encoded[index],
                student.tokenizer,
                limits[index],
                cache,
                recipe.train.precision,
                lambda n: advance(n, ""),
            )
            units = task.runtime.units(encoded[index])
            starts = None if units is None else unit_starts(units, len(encoded[index].rows))
            answers[index] = Ragged(torch.from_numpy(values), starts)
    return answers


def _wants_states(recipe: Recipe, task: TrainTask, teachers: Sequence[Teacher], student: Student) -> bool:
    """Whether hidden states are compared: both sides must be encoders with layers, and of the same rows and units."""
    if not teachers or recipe.distil.hidden + recipe.distil.relations == 0:
        return False
    if task.per_token and teachers[0].tokenizer is not student.tokenizer:
        return False
    configs = (student.model.config, teachers[0].model.config)
    return all(hasattr(config, "num_hidden_layers") and not config.is_encoder_decoder for config in configs)
