"""The first token is taken before the work that only it needs, and only there."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto

from tlx.export.unread import take_first_early

HEAD = "<ir_version: 8, opset_import: ['' : 18]> agraph (float[B, T, 4] x) => (float[B, N] y)"
WEIGHTS = "float[4, 4] w = {1,2,3,4, 5,6,7,8, -1,-2,3,1, 0,1,0,2}, float[4] b = {1,2,3,4}, float one = {1.0}"
FIRST = "int64 first = {0}"


def _model(body: str, weights: str = f"{WEIGHTS}, {FIRST}", outputs: str = "float[B, N] y") -> ModelProto:
    text = HEAD.replace("float[B, N] y", outputs).replace("='' ", "= ''").replace("['' : 18]", '["" : 18]')
    model: ModelProto = onnx.parser.parse_model(f"{text} <{weights}> {{ {body} }}")
    onnx.checker.check_model(model, full_check=True)
    return model


def _answers(model: ModelProto, values: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, {"x": values})
    return found


def _compared(model: ModelProto) -> tuple[int, list[str]]:
    """The number of nodes that were moved, and the graph's operators afterwards; its answers are those of before."""
    changed = ModelProto()
    changed.CopyFrom(model)
    moved = take_first_early(changed)
    onnx.checker.check_model(changed, full_check=True)
    values = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    for one, other in zip(_answers(model, values), _answers(changed, values), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    return moved, [node.op_type for node in changed.graph.node]


def test_a_chain_of_work_on_single_tokens_moves_behind_the_gather() -> None:
    body = "a = MatMul(x, w) c = Add(b, a) d = Tanh(c) e = Add(d, x) f = LayerNormalization(e, b, b) y = Gather<axis = 1>(f, first)"
    moved, operators = _compared(_model(body))
    assert moved == 5
    assert operators == ["Gather", "MatMul", "Add", "Tanh", "Add", "LayerNormalization"]


def test_what_comes_before_attention_stays() -> None:
    body = (
        "a = MatMul(x, w) t = Transpose<perm = [0, 2, 1]>(a) s = MatMul(a, t) p = Softmax(s) c = MatMul(p, a) "
        "e = Add(c, a) y = Gather<axis = 1>(e, first)"
    )
    moved, operators = _compared(_model(body))
    assert moved == 1
    assert operators[-3:] == ["Gather", "Gather", "Add"]


@pytest.mark.parametrize(
    ("why", "body"),
    [
        ("the mean reads every token", "a = MatMul(x, w) m = ReduceMean<keepdims = 0>(a, axis) y = Add(m, b)"),
        ("the second token is read", "a = MatMul(x, w) y = Gather<axis = 1>(a, second)"),
        ("the axis is another", "a = MatMul(x, w) z = Gather<axis = 2>(a, first) y = Identity(z)"),
        ("the other factor has an axis of tokens", "a = Mul(x, rows) y = Gather<axis = 1>(a, first)"),
        ("tokens are mixed", "a = Softmax<axis = 1>(x) y = Gather<axis = 1>(a, first)"),
        (
            "another node reads them all",
            "a = MatMul(x, w) m = ReduceMean<keepdims = 0>(a, axis) f = Gather<axis = 1>(a, first) y = Add(m, f)",
        ),
    ],
    ids=lambda value: value if " = " not in value else "",
)
def test_what_must_stay_stays(why: str, body: str) -> None:
    weights = f"{WEIGHTS}, {FIRST}, int64 second = {{1}}, int64[1] axis = {{1}}, float[5, 4] rows = {{{','.join(['1.5'] * 20)}}}"
    model = _model(body, weights)
    before = [node.op_type for node in model.graph.node]
    assert _compared(model) == (0, before)


def test_an_output_of_the_graph_stays() -> None:
    model = _model("h = MatMul(x, w) y = Gather<axis = 1>(h, first)", outputs="float[B, N] y, float[B, T, 4] h")
    assert _compared(model) == (0, ["MatMul", "Gather"])


def test_an_index_that_is_made_late_is_no_hindrance() -> None:
    body = "a = MatMul(x, w) c = Add(b, a) i = Constant<value = int64 {0}>() y = Gather<axis = 1>(c, i)"
    moved, _ = _compared(_model(body))
    assert moved == 2


def test_what_a_subgraph_reads_stays() -> None:
    branch = "then_branch = g1 () => (float[T, N] t) { t = Gather<axis = 0>(a, first) }, else_branch = g2 () => (float[T, N] e) { e = Gather<axis = 0>(a, first) }"
    body = (
        f"a = MatMul(x, w) y = Gather<axis = 1>(a, first) yes = Constant<value = bool {{1}}>() z = If(yes) <{branch}>"
    )
    model = _model(body, outputs="float[B, N] y, float[T, N] z")
    assert _compared(model)[0] == 0


def test_names_of_one_weight_are_followed() -> None:
    moved, _ = _compared(_model("i = Identity(b) a = MatMul(x, w) c = Add(i, a) y = Gather<axis = 1>(c, first)"))
    assert moved == 2


def test_a_product_of_two_axes_is_no_product_of_tokens() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> agraph (float[B, 4] x) => (float[B] y) '
        "<float[4, 4] w = {1,2,3,4, 5,6,7,8, -1,-2,3,1, 0,1,0,2}, int64 first = {0}> "
        "{ a = MatMul(x, w) y = Gather<axis = 1>(a, first) }"
    )
    assert take_first_early(model) == 0
