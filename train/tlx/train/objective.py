"""The objective: a sum of weighted terms over one forward pass of the student.

L = (1 − α)·L_task + α·L_soft + β·L_hidden + γ·L_relations + δ·L_vectors + ε·L_pooler    with a teacher;  L = L_task without
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from tlx.train.batches import Batch
from tlx.train.recipe import DistilSection
from tlx.train.tasks.task import TrainTask
from tlx.train.terms.distillation import HiddenTerm, RelationTap, RelationTerm, matched_layers, relation_heads
from tlx.train.terms.learnt import LearntTerm
from tlx.train.terms.vectors import check_pooler, pooler_difference

__all__ = ["HiddenStates", "Objective"]


class HiddenStates(LearntTerm):
    """The terms that need the teacher's own forward pass; holds what they learn (the maps between widths)."""

    asked = {"output_hidden_states": True}

    def __init__(
        self,
        task: TrainTask,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        section: DistilSection,
        kept: Sequence[int] | None,
    ) -> None:
        super().__init__()
        if section.pooler:
            check_pooler(student, teacher)
            student.pooler.requires_grad_(True)
        self.task = task
        own, other = student.config, teacher.config
        pairs = matched_layers(own.num_hidden_layers, other.num_hidden_layers, kept)
        same = own.hidden_size == other.hidden_size
        self.maps = nn.ModuleList(
            nn.Identity() if same else nn.Linear(own.hidden_size, other.hidden_size, bias=False) for _ in pairs
        )
        self.section = section
        self.teacher = [teacher.eval().requires_grad_(False)]  # in a list: its weights are not this module's
        self._hidden = HiddenTerm(pairs, self.maps)
        self._relations = RelationTerm(relation_heads(student, teacher))
        self._taps = (RelationTap(student), RelationTap(teacher)) if section.relations else None

    def compute_in(self, dtype: torch.dtype) -> None:
        self.teacher[0].to(dtype)

    def forward(self, batch: Batch, result: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(the weighted sum, the teacher's outputs, which the pass gave anyway); states are embeddings first."""
        if batch.teacher is None or batch.words is None or batch.teacher_words is None:
            raise ValueError("hidden-state terms need batches with the teacher's inputs")
        with torch.no_grad():
            outputs, found = self.task.outputs(self.teacher[0], batch.teacher, **self.asked)
        student_states, teacher_states = result.hidden_states, found.hidden_states
        total = self.section.hidden * self._hidden(student_states, teacher_states, batch.words, batch.teacher_words)
        if self._taps is not None:
            own, other = self._taps[0].states(student_states[-1]), self._taps[1].states(teacher_states[-1])
            if len(own) != len(other):
                own, other = [student_states[-1]], [teacher_states[-1]]
            total = total + self.section.relations * self._relations(own, other, batch.words, batch.teacher_words)
        if self.section.pooler:
            total = total + self.section.pooler * pooler_difference(result.pooler_output, outputs)
        return total, outputs


class Objective:
    """Called with the model and a batch, gives the loss, a float32 scalar."""

    def __init__(
        self, task: TrainTask, distil: DistilSection | None, label_smoothing: float, learnt: LearntTerm | None
    ) -> None:
        self.task = task
        self.distil = distil
        self.label_smoothing = label_smoothing
        self.learnt = learnt

    def __call__(self, model: PreTrainedModel, batch: Batch, autocast: AbstractContextManager[None]) -> torch.Tensor:
        with autocast:
            asked = self.learnt.asked if self.learnt is not None else {}
            outputs, result = self.task.outputs(model, batch.inputs, **asked)
            loss, answers = outputs.new_zeros(()), batch.teacher_outputs
            if self.learnt is not None:
                loss, own_answers = self.learnt(batch, result)
                answers = own_answers if answers is None else answers
        alpha = self.distil.alpha if self.distil is not None and answers is not None else 0.0
        if alpha < 1.0:
            loss = loss + (1.0 - alpha) * self.task.loss(outputs, batch, self.label_smoothing)
        if self.distil is not None and answers is not None:
            loss = loss + alpha * self.task.soft_loss(outputs, answers.float(), batch, self.distil.temperature)
        return loss.float()
