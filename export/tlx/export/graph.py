"""Chores on an ONNX graph: nodes counted and named, custom operators declared, nothing in the file twice."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

import onnx
from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["compact", "count_nodes", "is_weight_input", "nodes_of", "prepare", "weights"]

CONTRIB = "com.microsoft"


def count_nodes(model: ModelProto) -> dict[str, int]:
    """Operator type → number of nodes, subgraphs included."""
    return dict(sorted(Counter(node.op_type for node in nodes_of(model.graph)).items()))


def weights(model: ModelProto) -> dict[str, TensorProto]:
    """Name → initializer."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def is_weight_input(node: NodeProto, index: int, tensors: dict[str, TensorProto]) -> bool:
    """Whether the node's input is a float32 matrix of the file."""
    if index >= len(node.input) or node.input[index] not in tensors:
        return False
    tensor = tensors[node.input[index]]
    return tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2


def prepare(model: ModelProto) -> ModelProto:
    """A copy whose nodes all have names, whose Gemms are MatMul and Add, and whose constants are initializers.

    So that quantization finds every product of weights, and a node keeps its name through it.
    """
    from onnxruntime.quantization.onnx_model import ONNXModel

    prepared = ModelProto()
    prepared.CopyFrom(model)
    declare_contrib(prepared)
    taken = {node.name for node in prepared.graph.node}
    for number, node in enumerate(prepared.graph.node):
        if not node.name:
            node.name = f"{node.op_type}_{number}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)
    wrapped = ONNXModel(prepared)
    wrapped.replace_gemm_with_matmul()
    result: ModelProto = wrapped.model
    return result


def declare_contrib(model: ModelProto) -> None:
    """The model imports ONNX Runtime's own operators when it has some."""
    if any(opset.domain == CONTRIB for opset in model.opset_import):
        return
    if any(node.domain == CONTRIB for node in nodes_of(model.graph)):
        model.opset_import.append(onnx.helper.make_opsetid(CONTRIB, 1))


def compact(model: ModelProto) -> ModelProto:
    """The model, changed in place: each weight once, no weight or constant unused, no documentation, no traces of the exporter."""
    graph = model.graph
    _drop_duplicates(graph)
    used = {name for node in nodes_of(graph) for name in node.input} | {output.name for output in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in used]:
        graph.node.remove(node)
    for node in nodes_of(graph):
        node.ClearField("doc_string")
        del node.metadata_props[:]
    for tensor in graph.initializer:
        tensor.ClearField("doc_string")
    del graph.value_info[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]
    model.ClearField("doc_string")
    graph.ClearField("doc_string")
    declare_contrib(model)
    used_domains = {node.domain for node in nodes_of(graph)} | {""}
    opsets = [opset for opset in model.opset_import if opset.domain in used_domains or opset.domain == "ai.onnx"]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    return model


def _drop_duplicates(graph: onnx.GraphProto) -> None:
    """Initializers of equal type, shape and bytes become one."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    renamed: dict[str, str] = {}
    outputs = {output.name for output in graph.output}
    for tensor in graph.initializer:
        content = onnx.numpy_helper.to_array(tensor)
        key = tensor.data_type, tuple(tensor.dims), hashlib.sha256(content.tobytes()).digest()
        kept = first.setdefault(key, tensor.name)
        if kept != tensor.name and tensor.name not in outputs:
            renamed[tensor.name] = kept
    for node in nodes_of(graph):
        for index, name in enumerate(node.input):
            if name in renamed:
                node.input[index] = renamed[name]


def nodes_of(graph: onnx.GraphProto) -> Iterator[NodeProto]:
    """The graph's nodes, those of subgraphs behind the one that holds them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes_of(attribute.g)
