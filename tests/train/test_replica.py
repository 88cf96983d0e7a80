"""The bfloat16 copy that computes, and the float32 original that learns."""

from __future__ import annotations

import torch
from torch import nn

from tlx.train.replica import Replica


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))


def test_the_original_learns_from_the_gradients_of_the_copy() -> None:
    original = model()
    replica = Replica(original)
    optimizer = torch.optim.SGD(original.parameters(), lr=1e-4)
    before = [p.detach().clone() for p in original.parameters()]
    replica.module(torch.ones(3, 4, dtype=torch.bfloat16)).float().pow(2).sum().backward()
    replica.hand_over()
    assert all(p.grad is None for p in replica.module.parameters())
    optimizer.step()
    # Steps far below the resolution of bfloat16 are kept: the truth is float32.
    assert any(not torch.equal(p, b) for p, b in zip(original.parameters(), before, strict=True))
    replica.follow()
    for true, own in zip(original.parameters(), replica.module.parameters(), strict=True):
        assert own.dtype == torch.bfloat16
        assert torch.equal(own, true.to(torch.bfloat16))


def test_frozen_parameters_have_no_gradient_and_stay() -> None:
    original = model()
    original[0].requires_grad_(False)
    replica = Replica(original)
    replica.module(torch.ones(3, 4, dtype=torch.bfloat16)).float().sum().backward()
    replica.hand_over()
    assert original[0].weight.grad is None
    assert original[2].weight.grad is not None


def test_tied_weights_stay_tied_in_the_copy() -> None:
    original = nn.ModuleDict({"a": nn.Embedding(5, 3), "b": nn.Linear(3, 5, bias=False)})
    original["b"].weight = original["a"].weight
    copy = Replica(original).module
    assert copy["b"].weight is copy["a"].weight  # type: ignore[index]
