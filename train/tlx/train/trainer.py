"""What learns, and all that a step changes with it: the optimizer, its rates, the bfloat16 copy, the dropout stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from tlx.train.batches import Batch
from tlx.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from tlx.train.dropout import replace_dropout
from tlx.train.memory import keep_freed_memory
from tlx.train.objective import Objective
from tlx.train.recipe import TrainSection
from tlx.train.replica import Replica

__all__ = ["Trainer"]


class Trainer:
    """The model and what its objective learns beside it, on the accelerator's device. `step` changes them, `save` and `restore`
    keep and bring back all that a step depends on."""

    def __init__(
        self,
        model: PreTrainedModel,
        objective: Objective,
        settings: TrainSection,
        fresh: frozenset[str],
        accelerator: Accelerator,
        autocast: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._objective, self._settings, self._accelerator = objective, settings, accelerator
        learning: dict[str, nn.Module] = {"model": model}
        if objective.learnt is not None:
            learning["learnt"] = objective.learnt
        self._modules = nn.ModuleDict(learning).to(accelerator.device)
        self._adam = torch.optim.AdamW(
            _groups(self._modules, fresh, settings), lr=float(settings.learning_rate or 1e-4), fused=True
        )
        self._rates = [group["lr"] * group["factor"] for group in self._adam.param_groups]
        on_cpu = accelerator.device.type == "cpu"
        if on_cpu:
            keep_freed_memory()
        self._replica = Replica(model) if on_cpu and settings.precision == "bf16" else None
        computing: nn.Module = model if self._replica is None else self._replica.module
        self._stream = replace_dropout(nn.ModuleList([computing, self._modules]), settings.seed) if on_cpu else None
        if self._replica is not None and objective.learnt is not None:
            objective.learnt.compute_in(torch.bfloat16)
        # transformers' own models compute in the type of their weights; other modules may mix types, which autocast settles.
        plain = type(model).__module__.startswith("transformers.") and objective.learnt is None
        self._autocast = nullcontext if plain and self._replica is not None else autocast
        self._computing, self._optimizer = accelerator.prepare(computing, self._adam)
        torch.manual_seed(settings.seed)

    def step(self, batch: Batch, number: int, total: int) -> float:
        """The batch's loss, from which everything has learnt. `number` of `total` steps were made before."""
        self._set_rates(number, total)
        if self._stream is not None:
            self._stream.set_step(number, self._accelerator.process_index)
        self._computing.train()
        loss = self._objective(self._computing, batch.to(self._accelerator.device), self._autocast())
        self._accelerator.backward(loss)
        if self._replica is not None:
            self._replica.hand_over()
        self._share_gradients()
        self._accelerator.clip_grad_norm_(self._modules.parameters(), self._settings.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._replica is not None:
            self._replica.follow()
        return float(loss.detach())

    def save(self, folder: Path, progress: Progress) -> None:
        """The folder holds a checkpoint of this moment."""
        save_checkpoint(folder, self._modules, self._adam, progress)

    def restore(self, folder: Path) -> Progress | None:
        """Everything is as the folder's checkpoint has it, which says where the loop was; None when there is none."""
        progress = load_checkpoint(folder, self._modules, self._adam)
        if progress is not None and self._replica is not None:
            self._replica.follow()
        return progress

    def _set_rates(self, number: int, total: int) -> None:
        factor = _schedule(number, total, self._settings.warmup_share)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def _share_gradients(self) -> None:
        """What the terms learn beside the model is outside of DDP: its gradients are averaged here."""
        if self._accelerator.num_processes > 1 and self._objective.learnt is not None:
            for parameter in self._objective.learnt.parameters():
                if parameter.grad is not None:
                    parameter.grad = self._accelerator.reduce(parameter.grad, "mean")


def _groups(modules: nn.Module, fresh: frozenset[str], settings: TrainSection) -> list[dict[str, Any]]:
    """Parameters by (decays, fresh): vectors (biases, norms) do not decay; `factor` multiplies the rate."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in modules.named_parameters():
        if parameter.requires_grad:
            key = (parameter.ndim > 1, name.removeprefix("model.") in fresh)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decays else 0.0,
            "factor": settings.head_rate_factor if is_fresh else 1.0,
        }
        for (decays, is_fresh), parameters in groups.items()
    ]


def _schedule(step: int, total: int, warmup_share: float) -> float:
    """The share of the peak rate: it rises over the first `warmup_share` of the steps and falls to zero as a cosine."""
    warmup = max(int(total * warmup_share), 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
