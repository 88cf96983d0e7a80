"""A graph without the work that no answer reads: where only a text's first token is read, it is taken before the last layer's
products instead of after them.

    Gather(f(x), 0)  →  f(Gather(x, 0))        for every f that treats each token by itself

Behind the last attention that is two or three quarters of a layer: of a student of three layers a quarter of the time of a
batch (benchmarks/LOG.md). The answers are the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto

from tlx.export.graph import CONTRIB, compact, nodes_of, weights

__all__ = ["take_first_early"]

TOKEN_INPUTS = {
    **dict.fromkeys(("SkipLayerNormalization", "Add", "Sub", "Mul", "Div", "Pow"), (0, 1)),
    **dict.fromkeys(("BiasGelu", "FastGelu", "Gelu", "LayerNormalization", "MatMul"), (0,)),
    **dict.fromkeys(("Erf", "Relu", "Sqrt", "Tanh", "Sigmoid", "Cast"), (0,)),
}
"""The inputs that hold a line a token, of operators that treat each token by itself."""


def take_first_early(model: ModelProto) -> int:
    """Changes the model in place; the number of nodes that compute the first token only from now on."""
    tensors = _constants(model)
    readers = [node for node in model.graph.node if _takes_first(node, tensors)]
    moved = sum(_move_up(model, reader) for reader in readers)
    if moved:
        compact(model)
    return moved


def _move_up(model: ModelProto, reader: NodeProto) -> int:
    """The reader's place is before the nodes whose only use it is."""
    graph, tensors = model.graph, _constants(model)
    within = _only_for(model, reader, tensors)
    if not within:
        return 0
    inner = {node.output[0] for node in within}
    early: dict[str, str] = {}
    for node in within:
        for index in _token_inputs(node, tensors):
            name = node.input[index]
            if name not in inner:
                node.input[index] = early.setdefault(name, f"{name}/first_of_{reader.output[0]}")
    within[0].output[0] = reader.output[0]
    zero = f"{reader.output[0]}/first"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, dtype=np.int64), zero))
    taken = {
        name: onnx.helper.make_node("Gather", [full, zero], [name], name=name, axis=1) for full, name in early.items()
    }
    ordered: list[NodeProto] = []
    for node in graph.node:
        ordered += [taken.pop(name) for name in list(node.input) if name in taken]
        if node != reader:
            ordered.append(node)
    kept = [NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(kept)
    return len(within)


def _only_for(model: ModelProto, reader: NodeProto, tensors: Mapping[str, TensorProto]) -> list[NodeProto]:
    """The nodes that treat each token by itself and whose outputs end in the reader alone, last one first."""
    graph, ranks = model.graph, _ranks(model, tensors)
    named = {output.name for output in graph.output}
    users: dict[str, list[NodeProto]] = {}
    for node in nodes_of(graph):
        for name in node.input:
            users.setdefault(name, []).append(node)
    found: dict[str, NodeProto] = {}
    for node in reversed(graph.node):
        name = node.output[0]
        if len(node.output) > 1 and any(node.output[1:]) or name in named or not users.get(name):
            continue
        ends_there = all(
            user.output[0] == reader.output[0]
            or (user.output[0] in found and all(user.input[i] != name for i in _other_inputs(user, tensors)))
            for user in users[name]
        )
        if ends_there and _by_token(node, tensors, ranks):
            found[name] = node
    return list(found.values())


def _by_token(node: NodeProto, tensors: Mapping[str, TensorProto], ranks: Mapping[str, int]) -> bool:
    """Whether the node treats each token, `(batch, token, …)`, by itself, and still does where the tokens' axis is gone."""
    if node.op_type not in TOKEN_INPUTS or not _token_inputs(node, tensors):
        return False
    if node.op_type == "MatMul" and len(tensors[node.input[1]].dims if node.input[1] in tensors else ()) != 2:
        return False
    if node.op_type == "LayerNormalization" and [a.i for a in node.attribute if a.name == "axis"] not in ([], [-1]):
        return False
    others = [node.input[index] for index in _other_inputs(node, tensors) if node.input[index]]
    if node.op_type != "MatMul" and any(name not in tensors or len(tensors[name].dims) > 1 for name in others):
        return False
    return all(ranks.get(node.input[index]) == 3 for index in _token_inputs(node, tensors))


def _token_inputs(node: NodeProto, tensors: Mapping[str, TensorProto]) -> list[int]:
    wanted = TOKEN_INPUTS[node.op_type]
    return [i for i in wanted if i < len(node.input) and node.input[i] and node.input[i] not in tensors]


def _other_inputs(node: NodeProto, tensors: Mapping[str, TensorProto]) -> list[int]:
    return sorted({*range(len(node.input))} - {*_token_inputs(node, tensors)})


def _takes_first(node: NodeProto, tensors: Mapping[str, TensorProto]) -> bool:
    """Whether the node is `x[:, 0]`."""
    if node.op_type != "Gather" or [a.i for a in node.attribute if a.name == "axis"] != [1]:
        return False
    index = tensors.get(node.input[1])
    return index is not None and not index.dims and int(onnx.numpy_helper.to_array(index)) == 0


def _constants(model: ModelProto) -> dict[str, TensorProto]:
    """Name → value, of initializers, of Constant nodes, and of their other names (weights of equal values have one)."""
    found = weights(model)
    for node in model.graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _ranks(model: ModelProto, tensors: Mapping[str, TensorProto]) -> dict[str, int]:
    """Name → number of axes, as far as it can be told: ONNX does not know ONNX Runtime's own operators."""
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except ValueError:  # over 2 GB
        return {}
    shaped = [value for value in (*graph.value_info, *graph.input) if value.type.tensor_type.HasField("shape")]
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in shaped}
    for node in model.graph.node:
        if node.op_type == "Attention" and node.domain == CONTRIB:
            ranks[node.output[0]] = 3
        elif node.op_type in TOKEN_INPUTS and node.output[0] not in ranks:
            known = [ranks.get(node.input[index]) for index in _token_inputs(node, tensors)]
            if known and None not in known:
                ranks[node.output[0]] = max(rank for rank in known if rank is not None)
    return ranks
