"""Students cut from their teacher: some of its layers, with their weights (DistilBERT, arXiv:1910.01108)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from tlx.runtime.errors import UsageError

__all__ = ["cut_layers", "evenly_spaced", "layer_list"]


def evenly_spaced(count: int, total: int) -> tuple[int, ...]:
    """`count` of `total` layers, first and last among them: 3 of 6 are (0, 2, 5); 1 is the first. Raises UsageError."""
    if not 1 <= count <= total:
        raise UsageError(f"{count} layers asked for, the teacher has {total}: wanted 1 to {total}")
    if count == 1:
        return (0,)
    return tuple(i * (total - 1) // (count - 1) for i in range(count))


def cut_layers(model: PreTrainedModel, keep: Sequence[int]) -> PreTrainedModel:
    """A new model of the same class that has the layers `keep` (ascending, from 0) of `model`, and all else of it.

    The teacher is untouched and shares no memory. Raises UsageError for layers that are not there, and for models
    whose layers are not one list (ALBERT shares one) or cannot stand where they would come to stand.
    """
    path, layers = layer_list(model)
    total = len(layers)
    if not keep or any(not 0 <= i < total for i in keep) or list(keep) != sorted(set(keep)):
        raise UsageError(f"layers {list(keep)} asked for, the teacher has 0 to {total - 1}: name some once, ascending")
    student = type(model)(_cut_config(model.config, keep, total)).to(model.dtype)
    rest = {name: value for name, value in model.state_dict().items() if not name.startswith(f"{path}.")}
    student.load_state_dict(rest, strict=False)
    try:
        for layer, kept in zip(layer_list(student)[1], keep, strict=True):
            layer.load_state_dict(layers[kept].state_dict())
    except RuntimeError as error:
        raise UsageError(
            f"layers {list(keep)} of {model.config.model_type} do not fit the places they would take: keep layer 0 first"
        ) from error
    return student.train(model.training)


def layer_list(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Where the layers are, e.g. `bert.encoder.layer`, and their list. Raises UsageError when it is not one list."""
    total = getattr(model.config, "num_hidden_layers", None)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == total and len({type(item) for item in module}) == 1
    ]
    depth = min((name.count(".") for name, _ in found), default=0)
    shallow = [pair for pair in found if pair[0].count(".") == depth]
    if len(shallow) != 1:
        raise UsageError(
            f"{model.config.model_type} has {len(shallow)} lists of {total} layers: wanted one; "
            "take another student (--student) or another base"
        )
    return shallow[0]


def _cut_config(config: Any, keep: Sequence[int], total: int) -> Any:
    """The config with fewer layers; lists with one value a layer (`layer_types`) keep those of `keep`."""
    cut = copy.deepcopy(config)
    for name, value in vars(config).items():
        if isinstance(value, (list, tuple)) and len(value) == total and "layer" in name:
            setattr(cut, name, type(value)(value[i] for i in keep))
    cut.num_hidden_layers = len(keep)
    return cut
