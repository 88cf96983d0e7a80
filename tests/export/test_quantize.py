"""What quantization leaves in the graph, counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tlx.export.calibrate import activation_ranges, calibration_feeds
from tlx.export.graph import compact, count_nodes, prepare, weights
from tlx.export.quantize import quantizable_nodes, quantize
from tlx.runtime.errors import ExportError
from tlx.runtime.tasks.task import Encoded


def encoded(rows: list[list[int]]) -> Encoded:
    return Encoded([np.array(row, dtype=np.int64) for row in rows])


def small_model(width: int = 32) -> onnx.ModelProto:
    """ids → Gather → MatMul → Gemm → logits, with one weight there twice and one unused."""
    draw = np.random.default_rng(0)
    tensors = {
        "table": draw.normal(size=(50, width)),
        "product": draw.normal(size=(width, 32)),
        "head": draw.normal(size=(32, 4)),
        "bias": draw.normal(size=4),
        "bias_again": draw.normal(size=4),
        "unused": draw.normal(size=(40, 40)),
    }
    tensors["bias_again"] = tensors["bias"]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"], "embed"),
        helper.make_node("ReduceMean", ["embedded", "axes"], ["pooled"], "pool", keepdims=0),
        helper.make_node("MatMul", ["pooled", "product"], ["hidden"], "product_node"),
        helper.make_node("Gemm", ["hidden", "head", "bias"], ["scores"], "head_node"),
        helper.make_node("Add", ["scores", "bias_again"], ["logits"]),
    ]
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()]
    initializers.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "axes"))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", 4])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": np.arange(12).reshape(3, 4)})[0]


@pytest.mark.parametrize(
    ("method", "nodes", "error"),
    [
        ("int8-dynamic", {"Gather": 1, "MatMulInteger": 2}, 0.05),
        ("int4", {"GatherBlockQuantized": 1, "MatMulNBits": 2}, 0.3),
        ("fp16", {"Gather": 1, "MatMul": 2}, 0.002),
    ],
)
def test_every_weight_is_quantized_and_the_answers_stay_near(method: Any, nodes: dict[str, int], error: float) -> None:
    model = small_model()
    quantized = quantize(model, method)
    assert quantized.nodes == nodes
    assert quantized.kept_float == ()
    assert np.abs(run(quantized.model) - run(model)).max() < error * np.abs(run(model)).max()
    floats = {
        name for name, t in weights(quantized.model).items() if t.data_type == TensorProto.FLOAT and len(t.dims) == 2
    }
    assert not floats & {"table", "product", "head", "unused"}


def test_static_int8_takes_its_scales_from_texts_of_any_lengths() -> None:
    model = small_model()
    feeds = calibration_feeds(encoded([[1, 2, 3], [4, 5], [6, 7, 8], [9] * 7]), ["input_ids"])
    assert sorted(batch["input_ids"].shape for batch in feeds) == [(1, 2), (1, 7), (2, 3)]
    quantized = quantize(model, "int8-static", calibration=feeds)
    assert quantized.nodes == {"Gather": 1, "MatMul": 2}
    assert np.abs(run(quantized.model) - run(model)).max() < 2.5


def test_calibration_ranges_hold_what_the_texts_gave() -> None:
    model = prepare(small_model())
    feeds = calibration_feeds(encoded([[1, 2, 3], [4, 5]]), ["input_ids"])
    low, high = activation_ranges(model, feeds, ["MatMul"])["pooled"].range_value
    assert low < 0 < high


def test_static_int8_without_texts_is_refused() -> None:
    with pytest.raises(ExportError, match="no texts to calibrate with"):
        quantize(small_model(), "int8-static")


def test_nodes_kept_in_float_keep_their_weights() -> None:
    quantized = quantize(small_model(), "int8-dynamic", keep_float=["product_node"])
    assert quantized.kept_float == ("product_node",)
    assert quantized.nodes == {"Gather": 1, "MatMulInteger": 1}
    assert weights(quantized.model)["product"].data_type == TensorProto.FLOAT


def test_a_model_with_nothing_to_quantize_is_refused() -> None:
    names = quantizable_nodes(prepare(small_model()), "int8-dynamic")
    assert len(names) == 3
    with pytest.raises(ExportError, match="no weights that int8-dynamic could quantize"):
        quantize(small_model(), "int8-dynamic", keep_float=names)


def test_narrow_tables_stay_float_at_4_bits() -> None:
    names = quantizable_nodes(prepare(small_model(width=8)), "int4")
    assert "embed" not in names
    assert quantize(small_model(width=8), "int4").nodes == {"MatMulNBits": 2}


def test_compacting_keeps_each_weight_once_and_the_answers() -> None:
    model = small_model()
    before = run(model)
    compact(model)
    assert "unused" not in weights(model)
    assert len({"bias", "bias_again"} & weights(model).keys()) == 1
    np.testing.assert_array_equal(run(model), before)


def test_preparing_names_nodes_and_leaves_the_original() -> None:
    model = small_model()
    prepared = prepare(model)
    assert count_nodes(model)["Gemm"] == 1
    assert "Gemm" not in count_nodes(prepared)
    assert all(node.name for node in prepared.graph.node)


def test_embeddings_may_have_4_bits_in_int8() -> None:
    quantized = quantize(small_model(), "int8-dynamic", embedding_bits=4)
    assert quantized.nodes == {"GatherBlockQuantized": 1, "MatMulInteger": 2}
    assert np.abs(run(quantized.model) - run(small_model())).max() < 5
