"""Inputs without labels for the teachers to label: files of them, and texts made from the training texts."""

from __future__ import annotations

from collections.abc import Sequence

from tlx.runtime.errors import UsageError
from tlx.runtime.tasks.task import Input
from tlx.train.augment import Neighbours, augment, augment_pairs, embedding_neighbours
from tlx.train.batches import encode, tokens_of
from tlx.train.console import Console
from tlx.train.defaults import augment_count
from tlx.train.pretrained import token_limit
from tlx.train.recipe import Recipe
from tlx.train.tasks.task import TrainTask
from tlx.train.teachers import Teacher
from tlx.train.unlabelled import read_unlabelled
from tlx.train.writing import Data

__all__ = ["transfer_inputs"]


def transfer_inputs(
    recipe: Recipe, task: TrainTask, data: Data, teachers: Sequence[Teacher], console: Console
) -> list[Input]:
    """Unlabelled and augmented inputs for the teachers to label; none without a teacher."""
    inputs: list[Input] = []
    _check_augment(recipe, task)
    for source in recipe.data.unlabelled:
        inputs += read_unlabelled(source, task.runtime, recipe.data.columns).inputs
    if not teachers:
        if inputs:
            raise UsageError("unlabelled texts need a teacher to label them: pass --teacher")
        return []
    count = (
        augment_count(recipe, len(data.train), _mean_tokens(recipe, task, data, teachers[0])) if task.transfers else 0
    )
    if count:
        with console.stage("augment", 1) as advance:
            table = teachers[0].model.get_input_embeddings().weight.detach().float().cpu().numpy()
            neighbours = embedding_neighbours(teachers[0].tokenizer, table, data.train.texts)
            inputs += _made(task, data, count, recipe.augment.seed, neighbours)
            advance(1, f"{len(inputs)} texts")
    return inputs


def _made(task: TrainTask, data: Data, count: int, seed: int, neighbours: Neighbours) -> Sequence[Input]:
    """New inputs in the form of the training examples: texts, or pairs of texts; none is one of validation."""
    pairs = [item for item in data.train.inputs if not isinstance(item, str)]
    if pairs:
        held = [item for item in data.validation.inputs if not isinstance(item, str)]
        return augment_pairs(pairs, count=count, seed=seed, neighbours=neighbours, unwanted=held)
    kinds = [task.alike(gold) for gold in data.train.gold or ()] if task.labels else []
    known = kinds if any(kind is not None for kind in kinds) else None
    return augment(
        data.train.texts, count=count, seed=seed, gold=known, neighbours=neighbours, unwanted=data.validation.texts
    )


def _mean_tokens(recipe: Recipe, task: TrainTask, data: Data, teacher: Teacher) -> float:
    """How many tokens of the teacher's a training input has on average, cut where it would be."""
    limit = token_limit(teacher.model, teacher.tokenizer)
    wanted = min(recipe.model.max_tokens or limit, recipe.train.max_tokens or limit, limit)
    tokens = tokens_of(teacher.tokenizer, wanted, task.runtime)
    return sum(len(row) for row in encode(task.runtime, tokens, data.train.inputs).rows) / max(len(data.train), 1)


def _check_augment(recipe: Recipe, task: TrainTask) -> None:
    """Raises UsageError when the recipe asks for texts that are not made, or that nobody would label."""
    asked = recipe.augment.count
    if asked and not recipe.model.teachers:
        raise UsageError(
            f"--augment {asked}: the texts made need a teacher to label them; pass --teacher, or leave it out"
        )
    if asked and not task.transfers:
        parts = " and ".join(task.runtime.input_names)
        raise UsageError(
            f"--augment {asked}: for {task.name} with inputs of {parts} no texts are made; leave it out, and give "
            "--unlabelled FILE where the teacher shall label more"
        )
