"""Fusion by onnxruntime.transformers: attention, normalization and activation as one node each, counted."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

from tlx.export.graph import compact, count_nodes, declare_contrib
from tlx.runtime.errors import ExportError
from tlx.runtime.quiet import quiet

__all__ = ["Fusion", "fuse"]

# Families whose attention onnxruntime.transformers fuses: where it does not, something is broken.
KNOWN_FAMILIES = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """The fused model, or None and the reason. Node counts by operator, before and after."""

    model: ModelProto | None
    before: dict[str, int]
    after: dict[str, int]
    reason: str


def fuse(model: ModelProto, config: Any) -> Fusion:
    """The model with one Attention a layer and exact GELU; `config` is the transformers config.

    Embeddings stay apart: EmbedLayerNormalization would ask for padding on the right, and quantizes its
    normalization weights. Raises ExportError when a family that must fuse does not.
    """
    before = count_nodes(model)
    heads, width = getattr(config, "num_attention_heads", None), getattr(config, "hidden_size", None)
    layers = getattr(config, "num_hidden_layers", None)
    if not heads or not width or not layers:
        return Fusion(
            model=None, before=before, after=before, reason=f"not fused: {config.model_type} has no attention"
        )
    fused = _optimize(model, heads, width)
    after = count_nodes(fused)
    attention = after.get("Attention", 0)
    if attention == layers:
        return Fusion(model=compact(fused), before=before, after=after, reason="fused")
    if config.model_type in KNOWN_FAMILIES:
        raise ExportError(
            f"fusion gave {attention} Attention nodes for the {layers} layers of this {config.model_type}: "
            "the installed transformers and onnxruntime do not go together (see constraints.txt); "
            "install those versions, or export with --no-fuse"
        )
    return Fusion(
        model=None, before=before, after=before, reason=f"not fused: onnxruntime does not know {config.model_type}"
    )


def _optimize(model: ModelProto, heads: int, width: int) -> ModelProto:
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import AttentionMaskFormat, FusionOptions

    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False
    options.attention_mask_format = AttentionMaskFormat.AttentionMask
    copy = ModelProto()
    copy.CopyFrom(model)
    with quiet(), contextlib.redirect_stdout(io.StringIO()):
        optimized = optimizer.optimize_model(
            copy, model_type="bert", num_heads=heads, hidden_size=width, opt_level=0, optimization_options=options
        )
        fused: ModelProto = optimized.model
    declare_contrib(fused)
    return fused
