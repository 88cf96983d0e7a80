"""Narrower students that start from their teacher: its most important dimensions, heads and neurons.

Importance is read from the weights alone (structured magnitude pruning; as in Minitron, arXiv:2407.14679, one choice of
dimensions serves the whole residual stream, so that the parts go on fitting together):

    hidden dimension j    mean over LayerNorms of γ_j²  ·  Σ over the matrices that read it of ‖W[:, j]‖²
    attention head h      ‖W_v of h‖ · ‖W_o of h‖        each layer its own
    neuron n              ‖W_in[n]‖ · ‖W_out[:, n]‖      each layer its own

The result answers badly until it is distilled, but learns much faster than from random weights.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tlx.runtime.errors import UsageError

__all__ = ["NARROWABLE", "narrow"]

NARROWABLE = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")

_LAYER = re.compile(r"\.layer\.\d+\.")
_HEADS_OUT = re.compile(r"\.(query|key|value|[qkv]_lin)\.(weight|bias)$")
_HEADS_IN = re.compile(r"\.attention\.(output\.dense|out_lin)\.weight$")
_VALUE = re.compile(r"\.(value|v_lin)\.weight$")
_NEURONS_OUT = re.compile(r"\.(intermediate\.dense|ffn\.lin1)\.(weight|bias)$")
_NEURONS_IN = re.compile(r"\.layer\.\d+\.(output\.dense|ffn\.lin2)\.weight$")
_NORM = re.compile(r"(LayerNorm|layer_norm)\.weight$")


def narrow(model: PreTrainedModel, hidden_size: int) -> PreTrainedModel:
    """A new model of the same class and depth, `hidden_size` wide, with the teacher's most important weights.

    Heads keep their size, so that there are fewer of them; the feed-forward width shrinks in proportion. The teacher is
    untouched. Raises UsageError for a family that is not NARROWABLE and for a width that heads do not fill.
    """
    config = model.config
    if config.model_type not in NARROWABLE:
        raise UsageError(
            f"a {config.model_type} cannot be made narrower: that works for {', '.join(NARROWABLE)}; "
            "cut layers (--layers) or take another student (--student)"
        )
    head_size = config.hidden_size // config.num_attention_heads
    if not 0 < hidden_size <= config.hidden_size or hidden_size % head_size:
        raise UsageError(
            f"hidden size {hidden_size} asked for: wanted a multiple of {head_size} (an attention head), "
            f"at most the teacher's {config.hidden_size}"
        )
    student = type(model)(_narrow_config(config, hidden_size)).to(model.dtype)
    weights = model.state_dict()
    chosen = _Choice(weights, config, student.config)
    student.load_state_dict(
        {name: chosen.part(name, weights[name], value.shape) for name, value in student.state_dict().items()}
    )
    return student.train(model.training)


def _narrow_config(config: Any, hidden_size: int) -> Any:
    """Through the config's attribute_map, so that DistilBERT's `dim`, `n_heads` and `hidden_dim` are meant too."""
    head_size = config.hidden_size // config.num_attention_heads
    neurons = "hidden_dim" if config.model_type == "distilbert" else "intermediate_size"
    narrowed = copy.deepcopy(config)
    narrowed.hidden_size = hidden_size
    narrowed.num_attention_heads = hidden_size // head_size
    setattr(narrowed, neurons, max(1, getattr(config, neurons) * hidden_size // config.hidden_size))
    if getattr(config, "embedding_size", None) == config.hidden_size:
        narrowed.embedding_size = hidden_size
    return narrowed


class _Choice:
    """Which indices of the teacher's axes the student keeps, ascending."""

    def __init__(self, weights: dict[str, Tensor], config: Any, narrowed: Any) -> None:
        self._weights = weights
        self._head_size = config.hidden_size // config.num_attention_heads
        self._heads = narrowed.num_attention_heads
        self._hidden = _best(_hidden_importance(weights, config.hidden_size), narrowed.hidden_size)

    def part(self, name: str, weight: Tensor, shape: torch.Size) -> Tensor:
        """The student's value of the parameter `name`: the teacher's, cut on each axis to `shape`."""
        outward, inward = self._axes(name, shape)
        for axis, size in enumerate(shape):
            if weight.shape[axis] != size:
                kept = (outward if axis == 0 else inward)()
                weight = weight.index_select(axis, kept)
        return weight.clone()

    def _axes(self, name: str, shape: torch.Size) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
        def hidden() -> Tensor:
            return self._hidden

        def heads() -> Tensor:
            return self._head_rows(self._layer_of(name))

        def neurons() -> Tensor:
            axis = 1 if _NEURONS_IN.search(name) else 0
            return self._neurons(self._layer_of(name), shape[axis])

        outward = heads if _HEADS_OUT.search(name) else neurons if _NEURONS_OUT.search(name) else hidden
        inward = heads if _HEADS_IN.search(name) else neurons if _NEURONS_IN.search(name) else hidden
        return outward, inward

    def _layer_of(self, name: str) -> str:
        found = _LAYER.search(name)
        return name[: found.end()] if found else ""

    def _find(self, layer: str, pattern: re.Pattern[str]) -> Tensor:
        return next(
            value.float()
            for name, value in self._weights.items()
            if name.startswith(layer) and value.ndim == 2 and pattern.search(name)
        )

    def _head_rows(self, layer: str) -> Tensor:
        size = self._head_size
        value = self._find(layer, _VALUE).square().sum(1).reshape(-1, size).sum(1)
        output = self._find(layer, _HEADS_IN).square().sum(0).reshape(-1, size).sum(1)
        heads = _best(value * output, self._heads)
        rows: Tensor = heads.unsqueeze(1) * size + torch.arange(size, device=heads.device)
        return rows.flatten()

    def _neurons(self, layer: str, count: int) -> Tensor:
        inward, outward = self._find(layer, _NEURONS_OUT), self._find(layer, _NEURONS_IN)
        return _best(inward.norm(dim=1) * outward.norm(dim=0), count)


def _hidden_importance(weights: dict[str, Tensor], hidden_size: int) -> Tensor:
    """`(hidden,)`; see the module's first lines. Readers are the layers' matrices whose columns are hidden dimensions."""
    readers, norms = [], []
    for name, value in weights.items():
        if value.ndim == 1 and _NORM.search(name) and len(value) == hidden_size:
            norms.append(value.float().square())
        elif (
            value.ndim == 2
            and _LAYER.search(name)
            and not (_HEADS_IN.search(name) or _NEURONS_IN.search(name))
            and value.shape[1] == hidden_size
        ):
            readers.append(value.float().square().sum(0))
    return torch.stack(norms).mean(0) * torch.stack(readers).sum(0)


def _best(importance: Tensor, count: int) -> Tensor:
    return importance.topk(count).indices.sort().values
