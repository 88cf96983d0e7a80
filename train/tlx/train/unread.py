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

    It is so where the outputs for the longest row are the same with NaN in the place of all other tokens. Copies of the
    model that are made within skip too.
    """
    longest = np.argsort(rows.lengths)[-1:]
    part = _last_part(model)
    if part is None or rows.lengths[longest].sum() < 2:
        yield False
        return
    inputs = {name: value.to(model.device) for name, value in rows.padded(longest).items()}
    if not _reads_first_only(model, part, lambda: task.outputs(model, inputs)[0]):
        yield False
        return
    handle = part.register_forward_pre_hook(_first_only)
    try:
        yield True
    finally:
        handle.remove()


def _last_part(model: PreTrainedModel) -> nn.Module | None:
    try:
        layers = layer_list(model)[1]
    except UsageError:
        return None
    parts = dict(layers[-1].named_modules())
    return next((parts[name] for name in PARTS if name in parts), None)


@torch.no_grad()
def _reads_first_only(model: PreTrainedModel, part: nn.Module, answer: Callable[[], torch.Tensor]) -> bool:
    training = model.training
    model.eval()
    handle = None
    try:
        expected = answer()
        if len(expected) != 1:  # an answer a token
            return False
        handle = part.register_forward_pre_hook(_others_lost)
        return torch.equal(expected, answer())
    finally:
        if handle is not None:
            handle.remove()
        model.train(training)


def _first_only(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value[:, :1] if isinstance(value, torch.Tensor) else value for value in inputs)


def _others_lost(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    def lost(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        changed = value.clone()
        changed[:, 1:] = float("nan")
        return changed

    return tuple(map(lost, inputs))
