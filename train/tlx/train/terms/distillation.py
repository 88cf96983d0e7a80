"""Distillation terms: soft labels, hidden states, and attention relations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

__all__ = ["HiddenTerm", "RelationTap", "RelationTerm", "matched_layers", "mean_per_word"]

MOST_RELATED = 128
"""Words of a text whose relations (to all others) are compared; of longer texts as many, evenly spaced."""
PROJECTIONS = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("q_proj", "k_proj", "v_proj"))


def mean_per_word(states: torch.Tensor, words: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """((rows, count, hidden) means over each word's tokens, (rows, count) whether the word is there).

    `states` is (rows, tokens, hidden), `words` (rows, tokens) int64 with -1 for padding. This is what lets two models
    with different tokenizers be compared: both split the same words.
    """
    places = torch.arange(words.shape[1], device=words.device)
    if words.shape[1] == count and bool(((words == places) | (words < 0)).all()):
        return states, words >= 0  # every token is its own word
    index = words.clamp(min=0)
    weight = (words >= 0).to(states.dtype)
    sums = states.new_zeros(states.shape[0], count, states.shape[2])
    sums.scatter_add_(1, index.unsqueeze(-1).expand_as(states), states * weight.unsqueeze(-1))
    counts = states.new_zeros(states.shape[0], count).scatter_add_(1, index, weight)
    return sums / counts.clamp(min=1.0).unsqueeze(-1), counts > 0


def _word_by_word(
    own: torch.Tensor, other: torch.Tensor, words: torch.Tensor, teacher_words: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(own, other, which words both have), float32 means per word."""
    count = int(max(words.max(), teacher_words.max())) + 1
    ours, there = mean_per_word(own.float(), words, count)
    theirs, there_too = mean_per_word(other.float(), teacher_words, count)
    return ours, theirs, there & there_too


def matched_layers(student: int, teacher: int, kept: Sequence[int] | None) -> list[tuple[int, int]]:
    """(student state, teacher state) pairs, 0 being the embeddings: a layer that was cut out of the teacher meets
    the layer it came from, others meet evenly spaced ones."""
    if kept is not None and len(kept) == student:
        return [(0, 0), *((i + 1, layer + 1) for i, layer in enumerate(kept[:-1])), (student, teacher)]
    return [(i, round(i * teacher / student)) for i in range(student + 1)]


@dataclass(frozen=True)
class HiddenTerm:
    """Mean squared difference of matched hidden states, each divided by the teacher's own mean square.

    A student of another width goes through a learnt linear map a pair (TinyBERT, arXiv:1909.10351, equation 8).
    """

    pairs: Sequence[tuple[int, int]]
    maps: nn.ModuleList

    def __call__(
        self,
        student: Sequence[torch.Tensor],
        teacher: Sequence[torch.Tensor],
        words: torch.Tensor,
        teacher_words: torch.Tensor,
    ) -> torch.Tensor:
        total = student[0].new_zeros((), dtype=torch.float32)
        for (own, other), change in zip(self.pairs, self.maps, strict=True):
            ours, theirs, both = _word_by_word(change(student[own]), teacher[other], words, teacher_words)
            goal = theirs[both]
            total = total + F.mse_loss(ours[both], goal) / goal.pow(2).mean().clamp(min=1e-6)
        return total / len(self.pairs)


class RelationTap:
    """Catches the queries, keys and values of a model's last attention layer as they are computed."""

    def __init__(self, model: nn.Module) -> None:
        self.caught: dict[int, torch.Tensor] = {}
        self.modules = self._projections(model)
        for position, module in enumerate(self.modules):
            module.register_forward_hook(self._catcher(position))

    def _catcher(self, position: int) -> Any:
        def catch(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            self.caught[position] = output

        return catch

    @staticmethod
    def _projections(model: nn.Module) -> list[nn.Module]:
        named = list(model.named_modules())
        for names in PROJECTIONS:
            found = [
                [m for path, m in named if path.rpartition(".")[2] == name and isinstance(m, nn.Linear)]
                for name in names
            ]
            if all(found):
                return [modules[-1] for modules in found]
        return []

    def states(self, last_hidden: torch.Tensor) -> list[torch.Tensor]:
        """Three tensors (rows, tokens, width), or the last hidden state where attention has no such projections."""
        return [self.caught[i] for i in range(len(self.modules))] or [last_hidden]


@dataclass(frozen=True)
class RelationTerm:
    """KL between the word-to-word relations softmax(A·Aᵀ / √d) of teacher and student, over the states of a RelationTap,
    split into `heads` (MiniLMv2, arXiv:2012.15828, equation 3). Widths may differ. Long texts compare some words' relations to
    all words: all of them would take the square of their length, gigabytes for windows of 384 tokens."""

    heads: int

    def __call__(
        self,
        student: Sequence[torch.Tensor],
        teacher: Sequence[torch.Tensor],
        words: torch.Tensor,
        teacher_words: torch.Tensor,
    ) -> torch.Tensor:
        total = student[0].new_zeros((), dtype=torch.float32)
        for own, other in zip(student, teacher, strict=False):
            ours, theirs, both = _word_by_word(own, other, words, teacher_words)
            chosen = torch.arange(0, both.shape[1], math.ceil(both.shape[1] / MOST_RELATED), device=both.device)
            goal, guess = self._relations(theirs, both, chosen), self._relations(ours, both, chosen)
            each = (goal.exp() * (goal - guess)).sum(-1).mean(1)
            total = total + each[both[:, chosen]].mean()
        return total / len(student)

    def _relations(self, states: torch.Tensor, there: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        rows, count, width = states.shape
        split = states.view(rows, count, self.heads, width // self.heads).transpose(1, 2)
        asked = split if len(chosen) == count else split[:, :, chosen]
        scores = asked @ split.transpose(-1, -2) / math.sqrt(split.shape[-1])
        return F.log_softmax(scores.masked_fill(~there[:, None, None, :], -1e4), dim=-1)


def relation_heads(student: PreTrainedModel, teacher: PreTrainedModel) -> int:
    """The most heads, at most 12, that divide both widths."""
    widths = (student.config.hidden_size, teacher.config.hidden_size)
    return max(n for n in range(1, 13) if all(width % n == 0 for width in widths))
