"""Passes without the work that no answer reads: where a text's answer comes from its first token, the last layer needs no other.

Behind the last attention every token goes its own way, through two or three quarters of the layer's arithmetic. A
classifier that reads the first token alone can leave the others there; answers and gradients stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from tlx.runtime.errors import UsageError
from tlx.train.batches import TokenRows
from tlx.train.students.cut import layer_list
from tlx.train.tasks.task import TrainTask

__all__ = ["unread_skipped"]

PARTS = ("attention.output", "intermediate", "ffn", "mlp")
"""Where a layer's work on single tokens begins, in the names of transformers: the first that a layer has."""


@contextmanager
def unread_skipped(task: TrainTask, model: PreTrainedModel, rows: TokenRows) -> Iterator[bool]:
    """Within, the model's last layer computes no more than its first token behind the attention; True where that is so.

    It is so where the outputs for the longest row are the same with NaN in the place of all other tokens, and without
    them. The layer's output keeps its shape, the other tokens are zeros. Copies of the model that are made within skip too.
    """
    longest, found = np.argsort(rows.lengths)[-1:], _last_layer(model)
    if found is None or rows.lengths[longest].sum() < 2:
        yield False
        return
    inputs = {name: value.to(model.device) for name, value in rows.padded(longest).items()}
    first = _FirstOnly(*found)
    if not _answers_stay(model, first, lambda: task.outputs(model, inputs)[0]):
        yield False
        return
    with first.in_place():
        yield True


class _FirstOnly:
    """What cuts the others away before `part` of the last layer, and puts zeros in their place behind the layer."""

    def __init__(self, layer: nn.Module, part: nn.Module) -> None:
        self._layer, self._part = layer, part
        self._tokens = 0

    @contextmanager
    def in_place(self) -> Iterator[None]:
        handles = [self._part.register_forward_pre_hook(self._cut), self._layer.register_forward_hook(self._fill)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def lost(self) -> Iterator[None]:
        """Within, the others are NaN instead."""
        handle = self._part.register_forward_pre_hook(_others_lost)
        try:
            yield
        finally:
            handle.remove()

    def _cut(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        self._tokens = inputs[0].shape[1]
        return tuple(value[:, :1] if isinstance(value, torch.Tensor) else value for value in inputs)

    def _fill(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        missing = self._tokens - states.shape[1]
        # None is missing where two of these are in place and the outer one has filled already.
        filled = torch.nn.functional.pad(states, (0, 0, 0, missing)) if missing > 0 else states
        return (filled, *output[1:]) if isinstance(output, tuple) else filled


def _last_layer(model: PreTrainedModel) -> tuple[nn.Module, nn.Module] | None:
    """The last layer, and where in it the work on single tokens begins."""
    try:
        layer = layer_list(model)[1][-1]
    except UsageError:
        return None
    parts = dict(layer.named_modules())
    part = next((parts[name] for name in PARTS if name in parts), None)
    return None if part is None or getattr(model.config, "chunk_size_feed_forward", 0) != 0 else (layer, part)


@torch.no_grad()
def _answers_stay(model: PreTrainedModel, first: _FirstOnly, answer: Callable[[], torch.Tensor]) -> bool:
    training = model.training
    model.eval()
    try:
        expected = answer()
        with first.lost():
            stays = len(expected) == 1 and torch.equal(expected, answer())  # else an answer a token
        if not stays:
            return False
        with first.in_place():
            return torch.allclose(expected, answer(), rtol=1e-3, atol=1e-3)
    except Exception:  # whatever a model's own code meets when its states are not what it knows
        return False
    finally:
        model.train(training)


def _others_lost(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    def lost(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        changed = value.clone()
        changed[:, 1:] = float("nan")
        return changed

    return tuple(map(lost, inputs))
