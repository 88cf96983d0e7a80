"""Before fine-tuning, a fresh head is fitted to the base's features as they are: linear probing, then fine-tuning (LP-FT).

A random head sends gradients through a pretrained model that say nothing about the task, and distort its features; one that
already reads them does not (Kumar et al. 2022, arXiv:2202.10054).
"""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from numpy.typing import NDArray
from torch import nn

from tlx.train.batches import Batch, sorted_batches
from tlx.train.loop import Fit, autocast_for

__all__ = ["fresh_head", "probe"]

ROWS, TOKENS, UNITS = 20_000, 1_000_000, 100_000
"""At most so many rows, drawn with the seed, tell the head, and about so many tokens: fewer where each has a line of outputs."""
STRENGTH = 4.0
"""C of the logistic regression, for features whose mean square norm is 1 (or less: what hardly differs is not blown up, or the
first steps, which change it, would change every answer)."""
ITERATIONS = 100


def fresh_head(run: Fit) -> tuple[str, nn.Linear] | None:
    """The name and the layer that alone starts from nothing; None where there is no such one."""
    owners = {name.rpartition(".")[0] for name in run.fresh}
    if len(owners) != 1:
        return None
    name = owners.pop()
    layer = run.model.get_submodule(name)
    return (name, layer) if isinstance(layer, nn.Linear) and layer.bias is not None else None


def probe(run: Fit, accelerator: Accelerator) -> None:
    """The fresh head minimises the task's loss on the training rows over the frozen model, its weights W held by
    |W|² / (2 · STRENGTH · rows) for features of norm 1; nothing happens without one, or where a row has no gold.
    """
    found = fresh_head(run)
    if found is None or run.train.gold is None:
        return
    name, head = found
    lengths = run.train.student.lengths
    rows = np.random.default_rng([run.settings.seed, 5]).permutation(len(lengths))[:ROWS]
    most = UNITS if run.objective.task.per_token else TOKENS
    rows = np.sort(rows[: max(int(np.searchsorted(np.cumsum(lengths[rows]), most)), 1)])
    features, gold = _features(run, name, head, rows)
    mean = features.mean(0)
    scale = float(features.square().sum(1).mean().sqrt().clamp(min=1.0))
    weight, bias = _fitted(run, (features - mean) / scale, gold, head)
    with torch.no_grad():
        head.weight.copy_(weight / scale)
        head.bias.copy_(bias - head.weight @ mean)
    if accelerator.num_processes > 1:
        broadcast([head.weight.data, head.bias.data])


@torch.no_grad()
def _features(run: Fit, name: str, head: nn.Linear, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head reads of the rows, `(units, features)` float32, and their gold."""
    task, student, gold = run.objective.task, run.train.student, run.train.gold
    assert gold is not None
    autocast = autocast_for(run.model.device, run.settings.precision)
    found, wanted = [], []
    run.model.eval()
    run.model.set_submodule(name, nn.Identity())
    try:
        for index in sorted_batches(student.lengths[rows], 4 * run.budget):
            inputs = {key: value.to(run.model.device) for key, value in student.padded(rows[index]).items()}
            with autocast():
                found.append(task.outputs(run.model, inputs)[0].float())
            wanted.append(gold.of(rows[index]))
    finally:
        run.model.set_submodule(name, head)
    return torch.cat(found), torch.cat(wanted).to(run.model.device)


def _fitted(run: Fit, features: torch.Tensor, gold: torch.Tensor, head: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
    task, smoothing = run.objective.task, run.objective.label_smoothing
    weight = torch.zeros_like(head.weight, requires_grad=True)
    bias = torch.zeros_like(head.bias, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        held = weight.square().sum() / (2.0 * STRENGTH * len(features))
        found = task.loss(features @ weight.T + bias, Batch(inputs={}, gold=gold), smoothing) + held
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
