"""Training in bfloat16 on a CPU: a copy of the model computes, the float32 original holds the truth.

Autocast keeps weights in float32 and casts each of them in every step, which on short texts costs as much as the matrix
products do. Here the copy's weights are bfloat16; its gradients go to the float32 originals, which the optimizer
changes, and from which the copy is filled again ("master weights", Micikevicius et al. 2018, arXiv:1710.03740,
section 3.1). Checkpoints and evaluation know the originals only.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

__all__ = ["Replica"]


class Replica:
    """`module` is a bfloat16 copy of `original`, to be trained in its place."""

    def __init__(self, original: nn.Module) -> None:
        self.module = copy.deepcopy(original).to(torch.bfloat16)
        frequencies = {name: value for name, value in original.named_buffers() if name.endswith("inv_freq")}
        for name, own in self.module.named_buffers():
            if name in frequencies:  # rotary positions: rounded, they would turn far tokens by a third of a radian
                own.data = frequencies[name].clone()
        pairs = zip(original.parameters(), self.module.parameters(), strict=True)
        self._pairs = [(true, own) for true, own in pairs if true.requires_grad]

    def hand_over(self) -> None:
        """The originals have the copy's gradients, in float32; the copy has none."""
        for true, own in self._pairs:
            true.grad = None if own.grad is None else own.grad.float()
            own.grad = None

    @torch.no_grad()
    def follow(self) -> None:
        """The copy has the originals' weights again."""
        torch._foreach_copy_([own for _, own in self._pairs], [true for true, _ in self._pairs])
