"""From a recipe to the model that will be trained: a base with a fresh head, a teacher's own layers, or a small student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tlx.runtime.errors import UsageError
from tlx.train.beforehand import check_start
from tlx.train.pretrained import load_pretrained, load_tokenizer
from tlx.train.recipe import ModelSection
from tlx.train.students import build_student
from tlx.train.students.cut import cut_layers, evenly_spaced
from tlx.train.students.embeddings import init_embeddings
from tlx.train.students.narrow import narrow
from tlx.train.tasks.task import TrainTask
from tlx.train.teachers import Teacher
from tlx.train.vocabulary import count_tokens, extend_tokenizer, id_count, prune_tokenizer

__all__ = ["SMALL_VOCABULARY", "Student", "build"]

SMALL_VOCABULARY = 12_000
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Student:
    """The model to train. `fresh` names parameters without pretrained weights; `kept` are the teacher's layers it was cut to.

    `random`: nothing but embeddings is pretrained, so that no part learns faster than another and `fresh` is empty.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    fresh: frozenset[str] = frozenset()
    kept: tuple[int, ...] | None = None
    random: bool = False

    @property
    def untrained(self) -> frozenset[str]:
        """The names of all parameters without pretrained weights."""
        return frozenset(name for name, _ in self.model.named_parameters()) if self.random else self.fresh


def build(section: ModelSection, task: TrainTask, teachers: Sequence[Teacher], texts: Sequence[str]) -> Student:
    """The student of the recipe. `texts` (training and transfer texts) decide which tokens a pruned vocabulary keeps.

    Raises UsageError when neither base nor teacher is given, or a size does not fit.
    """
    check_start(section)
    if section.student != "transformer":
        return _small(section, task, teachers, texts)
    if section.base is not None:
        model, tokenizer, fresh = _from_base(section.base, task, texts, random_weights=section.random_weights)
    else:
        changes, source = task.config_changes(), teachers[0].source
        model, _ = load_pretrained(source, task.auto_class(), changes, random_weights=section.random_weights)
        tokenizer, fresh = teachers[0].tokenizer, frozenset()
    if model.config.model_type.startswith("tlx-") and (
        section.base is None or section.layers or section.hidden or section.vocabulary
    ):
        kind, source = model.config.model_type.removeprefix("tlx-"), section.base or teachers[0].source
        raise UsageError(
            f"{source} is a {kind} student, which has no layers to cut: pass --student {kind}, or another --base"
        )
    kept = None
    if section.layers is not None:
        total = model.config.num_hidden_layers
        if section.layers > total:
            raise UsageError(
                f"--layers {section.layers}: {section.base or teachers[0].source} has {total}; choose at most that"
            )
        kept = evenly_spaced(section.layers, total)
        model = cut_layers(model, kept)
    if section.hidden is not None and section.hidden != model.config.hidden_size:
        model = narrow(model, section.hidden)
    if section.vocabulary is not None and section.vocabulary < len(tokenizer):
        tokenizer, rows = prune_tokenizer(tokenizer, count_tokens(tokenizer, texts), section.vocabulary)
        _keep_rows(model, rows, tokenizer)
    from_teacher = section.base is None or bool(teachers and section.base == teachers[0].source)
    return Student(
        model=model,
        tokenizer=tokenizer,
        fresh=fresh,
        kept=kept if from_teacher else None,
        random=section.random_weights,
    )


def _from_base(
    base: str, task: TrainTask, texts: Sequence[str], *, random_weights: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, frozenset[str]]:
    """(model, tokenizer, fresh parameters) of a base, with tokens for what its vocabulary cannot write."""
    model, missing = load_pretrained(base, task.auto_class(), task.config_changes(), random_weights=random_weights)
    tokenizer, added = extend_tokenizer(load_tokenizer(base), texts)
    if added:
        _write_rows(model, id_count(tokenizer) - added, added)
    return model, tokenizer, frozenset(missing)


def _small(section: ModelSection, task: TrainTask, teachers: Sequence[Teacher], texts: Sequence[str]) -> Student:
    if not task.small_students:
        raise UsageError(f"--student {section.student} has no head for {task.name}: use --student transformer")
    if section.layers is not None:
        raise UsageError(f"--layers is for transformer students: --student {section.student} has --hidden")
    if teachers:
        tokenizer, model = teachers[0].tokenizer, teachers[0].model
    else:
        model, tokenizer, _ = _from_base(str(section.base), task, texts)
    size = section.vocabulary or SMALL_VOCABULARY
    tokenizer, rows = prune_tokenizer(tokenizer, count_tokens(tokenizer, texts), size)
    student = build_student(
        section.student,
        vocab_size=len(rows),
        num_labels=task.runtime.width or 1,
        pad_token_id=tokenizer.pad_token_id or 0,
        hidden_size=section.hidden,
        head=task.half.architecture,
    )
    for name, value in task.config_changes().items():
        setattr(student.config, name, value)
    if not section.random_weights:
        init_embeddings(student, model.get_input_embeddings().weight.detach().cpu()[torch.from_numpy(rows)])
    return Student(model=student, tokenizer=tokenizer, random=True)


def _write_rows(model: PreTrainedModel, first: int, count: int) -> None:
    """Embedding rows for new tokens, from `first` on (a table may have had rows that no token used): the mean of the old ones, with
    a little noise that tells them apart."""
    old = model.get_input_embeddings().weight.detach()
    fresh = old.mean(0, keepdim=True) + torch.randn(count, old.shape[1]) * old.std() * 0.5
    rows = torch.arange(max(len(old), first + count))
    rows[first : first + count] = -1
    weight = old.new_empty(len(rows), old.shape[1])
    weight[: len(old)] = old
    weight[first : first + count] = fresh
    _set_rows(model, weight, rows, model.get_input_embeddings().padding_idx)


def _keep_rows(model: PreTrainedModel, rows: Ints, tokenizer: PreTrainedTokenizerFast) -> None:
    table, kept = model.get_input_embeddings(), torch.from_numpy(rows)
    padding = None if table.padding_idx is None else tokenizer.pad_token_id
    _set_rows(model, table.weight.detach()[kept], kept, padding)
    model.config.pad_token_id = tokenizer.pad_token_id
    for name in ("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id"):
        if getattr(model.config, name, None) is not None:
            setattr(model.config, name, getattr(tokenizer, name, None))


def _set_rows(model: PreTrainedModel, weight: torch.Tensor, rows: torch.Tensor, padding: int | None) -> None:
    """The input table is `weight`; an output layer over the vocabulary follows: its row i is its old row rows[i] (-1: a mean
    one), and it stays tied to the table where it was."""
    size, width = weight.shape
    before, output = model.get_input_embeddings(), model.get_output_embeddings()
    table = nn.Embedding(size, width, padding_idx=padding, _weight=weight.clone())
    model.set_input_embeddings(table)
    model.config.vocab_size = size
    if output is None:
        return
    layer = nn.Linear(output.in_features, size, bias=output.bias is not None)
    tied = output.weight.data_ptr() == before.weight.data_ptr()
    layer.weight = table.weight if tied else nn.Parameter(_followed(output.weight.detach(), rows))
    if output.bias is not None:
        layer.bias = nn.Parameter(_followed(output.bias.detach(), rows))
    model.set_output_embeddings(layer)
    model.tie_weights()


def _followed(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The old values at `rows`, their mean where that is -1."""
    found = values[rows.clamp(min=0)].clone()
    found[rows < 0] = values.mean(0)
    return found
