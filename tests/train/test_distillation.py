"""The terms that compare a student's states with its teacher's, against the papers' formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tlx.train.terms.distillation import MOST_RELATED, HiddenTerm, RelationTerm, matched_layers, mean_per_word

HEADS = 2


def relations_written_out(own: torch.Tensor, other: torch.Tensor, lengths: list[int], step: int) -> float:
    """Mean over every `step`th word of every row, and over heads, of KL(softmax(T·Tᵀ/√d), softmax(S·Sᵀ/√d))."""
    found = []
    for row, length in enumerate(lengths):
        for word in range(0, length, step):
            kl = 0.0
            for head in range(HEADS):
                logs = []
                for states in (other, own):
                    width = states.shape[2] // HEADS
                    part = states[row, :length, head * width : (head + 1) * width].double()
                    logs.append(torch.log_softmax(part[word] @ part.T / width**0.5, dim=-1))
                kl += float((logs[0].exp() * (logs[0] - logs[1])).sum()) / HEADS
            found.append(kl)
    return float(np.mean(found))


@pytest.mark.parametrize(("longest", "step"), [(7, 1), (MOST_RELATED, 1), (MOST_RELATED + 1, 2), (3 * MOST_RELATED, 3)])
def test_relations_are_those_of_minilm_and_of_long_texts_for_evenly_spaced_words(longest: int, step: int) -> None:
    torch.manual_seed(0)
    lengths = [longest, 3]
    own, other = torch.randn(2, longest, 8, requires_grad=True), torch.randn(2, longest, 12)
    words = torch.full((2, longest), -1)
    for row, length in enumerate(lengths):
        words[row, :length] = torch.arange(length)
    loss = RelationTerm(HEADS)([own], [other], words, words)
    assert float(loss.detach()) == pytest.approx(relations_written_out(own.detach(), other, lengths, step), rel=1e-4)
    loss.backward()
    assert own.grad is not None
    assert bool((own.grad[0].abs().sum(-1) > 0).all())  # every word is related to, also where it is not asked
    assert bool((own.grad[1, 3:] == 0).all())


def test_states_that_are_equal_cost_nothing_and_others_their_share_of_the_teachers_square() -> None:
    torch.manual_seed(1)
    teacher = [torch.randn(2, 4, 6) for _ in range(3)]
    words = torch.tensor([[0, 1, 2, 3], [0, 1, -1, -1]])
    term = HiddenTerm([(0, 0), (1, 2)], nn.ModuleList([nn.Identity(), nn.Identity()]))
    assert float(term([teacher[0], teacher[2]], teacher, words, words)) == 0.0
    student = [teacher[0], teacher[2] + 1.0]
    there = torch.cat([teacher[2][0], teacher[2][1, :2]])
    assert float(term(student, teacher, words, words)) == pytest.approx(float(1.0 / there.pow(2).mean()) / 2, rel=1e-5)


def test_words_of_several_tokens_are_their_mean() -> None:
    states = torch.tensor([[[1.0], [3.0], [5.0], [9.0]]])
    means, there = mean_per_word(states, torch.tensor([[0, 0, 1, -1]]), 3)
    assert means[0, :, 0].tolist() == [2.0, 5.0, 0.0]
    assert there.tolist() == [[True, True, False]]


def test_layers_meet_those_they_came_from_else_evenly_spaced_ones() -> None:
    assert matched_layers(3, 6, (0, 2, 5)) == [(0, 0), (1, 1), (2, 3), (3, 6)]
    assert matched_layers(3, 6, None) == [(0, 0), (1, 2), (2, 4), (3, 6)]
