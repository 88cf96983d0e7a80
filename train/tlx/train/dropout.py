"""Dropout whose random numbers cost little on a CPU.

torch draws one Mersenne-Twister number an element, which for a small model on short texts is a good part of a step. Here
each element takes one byte of SFC64, so that p is a multiple of 1/256, and the scale is that of the p in use. The stream is
set anew for every step from (seed, step, process): a resumed run draws what an uninterrupted one would.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["ByteDropout", "Stream", "replace_dropout", "set_dropout"]


ONES: dict[torch.dtype, np.unsignedinteger[Any]] = {
    torch.bfloat16: np.uint16(0x3F80),
    torch.float32: np.uint32(0x3F800000),
}
"""The bits of 1.0."""


class Stream:
    """Random bytes, shared by all dropouts of a model."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._bits = np.random.SFC64(seed)

    def set_step(self, step: int, process: int) -> None:
        """From here on the bytes are those of this step."""
        self._bits = np.random.SFC64([self.seed, 3, step, process])

    def kept(self, values: torch.Tensor, dropped: int) -> torch.Tensor:
        """Ones, and zeros with probability `dropped` / 256, of the shape and type of the values."""
        count = values.numel()
        drawn = self._bits.random_raw(-(-count // 8)).view(np.uint8)[:count]
        # In the values' type at once: a product with booleans converts them each time, in the backward pass too. numpy writes
        # the bits of a one in a quarter of the time that torch takes to convert.
        one = ONES.get(values.dtype)
        if one is None:
            return torch.from_numpy(drawn >= dropped).view(values.shape).to(values.dtype)
        return torch.from_numpy((drawn >= dropped) * one).view(values.dtype).view(values.shape)


class ByteDropout(nn.Module):
    """Zeroes elements with probability round(256·p)/256 and scales the others to keep the mean, while training."""

    def __init__(self, p: float, stream: Stream) -> None:
        super().__init__()
        self.p = p
        self.dropped = min(round(256 * p), 255)
        self.stream = stream

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.dropped:
            return values
        return (values * self.stream.kept(values, self.dropped)).mul_(256 / (256 - self.dropped))


def replace_dropout(model: nn.Module, seed: int) -> Stream:
    """Every nn.Dropout of the model is a ByteDropout on the stream that is returned."""
    stream = Stream(seed)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Dropout:
                setattr(parent, name, ByteDropout(child.p, stream))
    return stream


def set_dropout(model: nn.Module, p: float) -> None:
    """For this run only: the config, and so the next run that starts from the folder, keeps what the family had."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = p
