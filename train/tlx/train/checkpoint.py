"""Checkpoints that survive kill -9: all of the loop's state, in safetensors and JSON, replaced in one rename."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from tlx.runtime.errors import TrainingError
from tlx.train.runs import BEGIN_ANEW

__all__ = ["Progress", "load_checkpoint", "load_state", "save_checkpoint", "save_state"]

DAMAGE = (OSError, RuntimeError, SafetensorError, ValueError)


@dataclass(kw_only=True)
class Progress:
    """Where the loop is. `batch` counts the batches of `epoch` that are done; `losses` are (step, mean loss) pairs. `best` is the best
    figure seen, `start` that of weights that were trained before, `since_best` counts the evaluations in a row that were worse."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    rows: int = 0
    seconds: float = 0.0
    since_best: int = 0
    best: float | None = None
    start: float | None = None
    kept_epoch: float = 0.0
    stopped: bool = False
    loss_sum: float = 0.0
    loss_count: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)

    @property
    def kept(self) -> dict[str, Any]:
        """The evaluation of the weights that are kept."""
        return next(e for e in self.evaluations if e["epoch"] == self.kept_epoch)

    @property
    def kept_metrics(self) -> dict[str, float]:
        """The figures of the weights that are kept."""
        return {name: value for name, value in self.kept.items() if name not in ("epoch", "step", "validation_loss")}


def save_checkpoint(folder: Path, modules: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """`folder` holds this state; a crash on the way leaves the one before."""
    fresh, old = folder.with_name(folder.name + "-new"), folder.with_name(folder.name + "-old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_state(fresh / "model.safetensors", modules.state_dict())
    tensors = {
        f"{index}.{name}": value.contiguous()
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    save_file(tensors, fresh / "optimizer.safetensors")
    generators = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        generators |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    save_file(generators, fresh / "generators.safetensors")
    (fresh / "progress.json").write_text(json.dumps(asdict(progress)))
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, modules: nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
    """Puts the saved state back, and says where the loop was; None when there is no checkpoint.

    The one before serves where a crash left it and the last is damaged. Raises TrainingError when none can be loaded.
    """
    there = [place for place in (folder, folder.with_name(folder.name + "-old")) if place.exists()]
    for place in there:
        try:
            return _loaded(place, modules, optimizer)
        except (*DAMAGE, KeyError, TypeError) as error:
            if place == there[-1]:
                raise TrainingError(
                    f"{place} is no checkpoint of this run or damaged ({_line(error)}): {BEGIN_ANEW}"
                ) from error
    return None


def _loaded(folder: Path, modules: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    modules.load_state_dict(load_file(folder / "model.safetensors"))
    state: dict[int, dict[str, Any]] = {}
    for key, value in load_file(folder / "optimizer.safetensors").items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    generators = load_file(folder / "generators.safetensors")
    torch.set_rng_state(generators["cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([v for k, v in sorted(generators.items()) if k.startswith("cuda")])
    values = json.loads((folder / "progress.json").read_text())
    return Progress(**{**values, "losses": [tuple(pair) for pair in values["losses"]]})


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """What `save_state` wrote. Raises TrainingError when it is missing or damaged."""
    try:
        state: dict[str, torch.Tensor] = load_file(path)
    except DAMAGE as error:
        raise TrainingError(f"{path} is missing or damaged ({_line(error)}): {BEGIN_ANEW}") from error
    return state


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def save_state(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """A state dict as safetensors, shared tensors written out, replaced in one rename."""
    temporary = path.with_name(path.name + ".new")
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}, temporary)
    os.replace(temporary, path)
