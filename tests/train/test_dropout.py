"""Dropout by bytes: its rate, its mean, and a stream that depends on the step alone."""

from __future__ import annotations

import torch
from torch import nn

from tlx.train.dropout import ByteDropout, Stream, replace_dropout


def test_the_share_of_zeros_is_p_and_the_mean_is_kept() -> None:
    dropout = ByteDropout(0.25, Stream(0)).train()
    values = dropout(torch.ones(1000, 999))
    assert abs(float((values == 0).float().mean()) - 0.25) < 0.005
    assert abs(float(values.mean()) - 1.0) < 0.005


def test_gradients_pass_where_values_do() -> None:
    inputs = torch.ones(64, 64, requires_grad=True)
    outputs = ByteDropout(0.5, Stream(1)).train()(inputs)
    outputs.sum().backward()
    assert torch.equal(inputs.grad, outputs.detach())


def test_a_step_draws_the_same_whatever_was_drawn_before() -> None:
    stream = Stream(7)
    dropout = ByteDropout(0.5, stream).train()
    stream.set_step(3, 0)
    first = dropout(torch.ones(33))
    dropout(torch.ones(100))
    stream.set_step(3, 0)
    assert torch.equal(dropout(torch.ones(33)), first)
    stream.set_step(4, 0)
    assert not torch.equal(dropout(torch.ones(33)), first)


def test_evaluation_changes_nothing_and_every_dropout_is_replaced() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Dropout(0.3)), nn.Dropout(0.1))
    replace_dropout(model, 0)
    assert not any(isinstance(module, nn.Dropout) for module in model.modules())
    model.eval()
    values = torch.randn(3, 4)
    assert torch.equal(model(values), model[0](values))


def test_the_mask_has_the_type_of_the_values_in_bits_that_mean_one() -> None:
    drawn = {}
    for kind in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        stream = Stream(5)
        drawn[kind] = stream.kept(torch.zeros(7, 9, 5, dtype=kind), 100)
        assert drawn[kind].dtype == kind
        assert set(drawn[kind].flatten().tolist()) == {0.0, 1.0}
        assert torch.equal(drawn[kind].double(), drawn[torch.float32].double())
