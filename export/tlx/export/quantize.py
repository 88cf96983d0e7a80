"""Float32 ONNX → int8, 4-bit or fp16 ONNX, with the nodes that really changed counted."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import onnx
from onnx import ModelProto, TensorProto

from tlx.export.calibrate import Feeds, activation_ranges
from tlx.export.graph import compact, is_weight_input, prepare, weights
from tlx.runtime.errors import ExportError
from tlx.runtime.quiet import quiet

__all__ = ["EmbeddingBits", "Method", "Quantized", "quantizable_nodes", "quantize"]

Method = Literal["int8-dynamic", "int8-static", "int4", "fp16"]
EmbeddingBits = Literal[8, 4]
# Operator type → the input that holds its weights.
WEIGHT_INPUT = {"MatMul": 1, "Attention": 1, "Gather": 0}
OPERATORS: dict[Method, tuple[str, ...]] = {
    "int8-dynamic": ("MatMul", "Attention", "Gather"),
    "int8-static": ("MatMul", "Gather"),
    "int4": ("MatMul", "Gather"),
    "fp16": ("MatMul", "Attention", "Gather"),
}
QUANTIZED_OPERATORS = ("DynamicQuantizeMatMul", "MatMulInteger", "MatMulNBits", "QAttention", "GatherBlockQuantized")
BLOCK = 32


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """The quantized model; `nodes` are the counts of what is quantized in it, `kept_float` the nodes left out."""

    model: ModelProto
    nodes: dict[str, int]
    kept_float: tuple[str, ...]


def quantizable_nodes(model: ModelProto, method: Method) -> tuple[str, ...]:
    """The names, in graph order, of a prepared model's nodes that the method would quantize.

    4-bit tables narrower than a block stay out: their scales would weigh as much as the float weights.
    """
    tensors = weights(model)
    found = []
    for node in model.graph.node:
        if node.op_type not in OPERATORS[method]:
            continue
        index = WEIGHT_INPUT[node.op_type]
        if not is_weight_input(node, index, tensors):
            continue
        narrow = node.op_type == "Gather" and tensors[node.input[index]].dims[1] < BLOCK
        if not (narrow and method == "int4"):
            found.append(node.name)
    return tuple(found)


def quantize(
    model: ModelProto,
    method: Method,
    *,
    keep_float: Sequence[str] = (),
    calibration: Sequence[Feeds] = (),
    embedding_bits: EmbeddingBits = 8,
) -> Quantized:
    """The model with every quantizable node in the method's precision, but for those in `keep_float`.

    int8: weights are signed, one scale a column; a column's scale is max|w| / 127. Embedding tables have one scale,
    or with 4 `embedding_bits` one a block of 32.
    int4: weights and tables in blocks of 32; activations stay float (int8 inside the kernel, each row by itself).
    fp16: inputs and outputs stay as they are. Raises ExportError when nothing was quantized.
    """
    prepared = prepare(model)
    wanted = quantizable_nodes(prepared, method)
    chosen = [name for name in wanted if name not in set(keep_float)]
    if not chosen:
        raise ExportError(
            f"the model has no weights that {method} could quantize ({len(keep_float)} nodes kept in float)"
        )
    kept = tuple(name for name in wanted if name not in set(chosen))
    with quiet(), contextlib.redirect_stdout(io.StringIO()):
        if embedding_bits == 4 and method.startswith("int8"):
            tables = {node.name for node in prepared.graph.node if node.op_type == "Gather"} & set(chosen)
            prepared = _four_bits(prepared, [name for name in quantizable_nodes(prepared, "int4") if name in tables])
        if method == "int8-dynamic":
            quantized = _dynamic(prepared, chosen)
        elif method == "int8-static":
            quantized = _static(prepared, chosen, calibration)
        elif method == "int4":
            quantized = _four_bits(prepared, chosen)
        else:
            quantized = _half(prepared, kept)
    compact(quantized)
    nodes = _count(quantized)
    least = len(chosen) if method != "fp16" else 1
    if sum(nodes.values()) < least:
        raise ExportError(
            f"{method} quantized {sum(nodes.values())} of {len(chosen)} nodes ({nodes or 'none'}): the installed "
            "onnxruntime does not quantize this model; install the versions of constraints.txt"
        )
    return Quantized(model=quantized, nodes=nodes, kept_float=kept)


def _dynamic(model: ModelProto, chosen: Sequence[str]) -> ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory(prefix="tlx-quantize-") as work:
        path = Path(work) / "model.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=list(OPERATORS["int8-dynamic"]),
            nodes_to_quantize=list(chosen),
            per_channel=True,
            weight_type=QuantType.QInt8,
            # Contrib operators have no shape inference: what has no inferred type is float.
            extra_options={"DefaultTensorType": TensorProto.FLOAT, "MatMulConstBOnly": True},
        )
        return onnx.load(str(path))


def _static(model: ModelProto, chosen: Sequence[str], calibration: Sequence[Feeds]) -> ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    operators = list(OPERATORS["int8-static"])
    ranges = activation_ranges(model, calibration, ["MatMul"])
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=list(chosen),
        nodes_to_exclude=[],
        op_types_to_quantize=operators,
        extra_options={
            "DefaultTensorType": TensorProto.FLOAT,
            "OpTypesToExcludeOutputQuantization": operators,  # products go on in float: the scale is applied once
        },
    )
    quantizer.quantize_model()
    quantized: ModelProto = quantizer.model.model
    return quantized


def _four_bits(model: ModelProto, chosen: Sequence[str]) -> ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    config = DefaultWeightOnlyQuantConfig(
        block_size=BLOCK, is_symmetric=True, accuracy_level=4, bits=4, op_types_to_quantize=OPERATORS["int4"]
    )
    others = [node.name for node in model.graph.node if node.name not in set(chosen)]
    quantizer = MatMulNBitsQuantizer(model, nodes_to_exclude=others, algo_config=config)
    quantizer.process()
    quantized: ModelProto = quantizer.model.model
    return quantized


def _half(model: ModelProto, kept: Sequence[str]) -> ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half: ModelProto = convert_float_to_float16(
        model, keep_io_types=True, disable_shape_infer=True, node_block_list=list(kept) or None
    )
    return half


def _count(model: ModelProto) -> dict[str, int]:
    """Operator → how many of its nodes read quantized (or fp16) weights."""
    tensors = weights(model)
    dequantized = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    counts: dict[str, int] = {}
    for node in model.graph.node:
        name = node.op_type
        if name not in QUANTIZED_OPERATORS:
            inputs = [dequantized.get(item, item) for item in node.input]
            kinds = {tensors[item].data_type for item in inputs if item in tensors and len(tensors[item].dims) == 2}
            if node.op_type not in WEIGHT_INPUT or not kinds & {
                TensorProto.INT8,
                TensorProto.UINT8,
                TensorProto.FLOAT16,
            }:
                continue
        counts[name] = counts.get(name, 0) + 1
    return counts
