"""The small students: what they answer, how they save, and what becomes of them in ONNX."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from optimum.exporters.onnx import onnx_export_from_model
from transformers import AutoConfig, AutoModelForSequenceClassification

from tlx.runtime.errors import UsageError
from tlx.train.students import build_student, register
from tlx.train.students.embeddings import init_embeddings

SMALL = ("convolution", "gru", "bag")
PAD = {"convolution": 0, "gru": 1, "bag": 0}


def student(kind: str, pad: int = 0):
    torch.manual_seed(0)
    hidden = None if kind == "bag" else 32
    model = build_student(
        kind, vocab_size=50, num_labels=4, pad_token_id=pad, embedding_size=16, hidden_size=hidden, head_size=12
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 or "token_weights" in name:
                parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


def batch(lengths: list[int], pad: int, junk: bool = False):
    """Right-padded ids and mask; with `junk` masked positions hold any ids."""
    generator = np.random.default_rng(1)
    mask = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    ids = np.full_like(mask, pad)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
        ids[row, :length] = generator.integers(2, 50, length)
    if junk:
        ids = np.where(mask == 1, ids, generator.integers(2, 50, ids.shape))
    return ids, mask


@pytest.fixture(scope="module", params=SMALL)
def exported(request, tmp_path_factory):
    """(torch model, path of model.onnx, pad id), exported by Optimum."""
    kind = request.param
    model = student(kind, PAD[kind])
    folder = tmp_path_factory.mktemp(kind)
    onnx_export_from_model(model, folder, task="text-classification", do_validation=False)
    return model, folder / "model.onnx", PAD[kind]


def logits_of(model, ids, mask):
    with torch.no_grad():
        return model(torch.from_numpy(ids), torch.from_numpy(mask)).logits.numpy()


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("pad", [0, 1])
def test_a_text_gets_the_same_logits_alone_and_padded_whatever_ids_are_masked(kind, pad):
    model = student(kind, pad)
    lengths = [1, 7, 3, 2, 12]
    together = logits_of(model, *batch(lengths, pad, junk=True))
    ids, mask = batch(lengths, pad)
    for row, length in enumerate(lengths):
        alone = logits_of(model, ids[row : row + 1, :length], mask[row : row + 1, :length])
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["convolution", "gru"])
def test_the_order_of_words_matters(kind):
    model = student(kind)
    ids, mask = batch([6], 0)
    assert np.abs(logits_of(model, ids, mask) - logits_of(model, ids[:, ::-1].copy(), mask)).max() > 1e-3


@pytest.mark.parametrize("kind", SMALL)
def test_a_saved_student_comes_back_through_the_auto_classes(kind, tmp_path):
    model = student(kind)
    model.config.id2label = dict(enumerate("abcd"))
    model.save_pretrained(tmp_path)
    register()
    back = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(back) is type(model)
    assert AutoConfig.from_pretrained(tmp_path).id2label == {0: "a", 1: "b", 2: "c", 3: "d"}
    ids, mask = batch([3, 5], 0)
    np.testing.assert_array_equal(logits_of(back, ids, mask), logits_of(model, ids, mask))


@pytest.mark.parametrize("kind", SMALL)
def test_labels_give_the_usual_loss_and_states_have_one_row_a_token(kind):
    model = student(kind)
    ids, mask = (torch.from_numpy(array) for array in batch([3, 5], 0))
    labels = torch.tensor([1, 2])
    output = model(ids, mask, labels=labels, output_hidden_states=True)
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits, labels))
    assert output.hidden_states[0].shape[:2] == (2, 5)


@pytest.mark.parametrize("kind", SMALL)
def test_a_step_of_training_moves_every_parameter_but_the_padding_row(kind):
    model = student(kind).train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = torch.randint(1, 50, (64, 12))
    ids[:, -1] = 0
    model(ids, (ids > 0).long(), labels=torch.randint(0, 4, (64,))).loss.backward()
    optimizer.step()
    assert all(not torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert model.get_input_embeddings().weight[0].abs().max() == 0


def test_the_exported_graph_answers_as_torch_does_alone_and_in_padded_batches(exported):
    model, path, pad = exported
    run = session(path)
    for lengths in ([1], [9], [4, 11, 1, 30, 8]):
        ids, mask = batch(lengths, pad, junk=True)
        (logits,) = run.run(None, {"input_ids": ids, "attention_mask": mask})
        np.testing.assert_allclose(logits, logits_of(model, ids, mask), atol=1e-4)


def test_the_exported_graph_has_the_names_and_axes_of_optimum(exported):
    _, path, _ = exported
    run = session(path)
    assert [(i.name, i.shape) for i in run.get_inputs()] == [
        ("input_ids", ["batch_size", "sequence_length"]),
        ("attention_mask", ["batch_size", "sequence_length"]),
    ]
    assert [(o.name, o.shape) for o in run.get_outputs()] == [("logits", ["batch_size", 4])]


def test_the_exported_graph_has_fused_norms_and_no_convolution_or_shape_arithmetic(exported):
    model, path, _ = exported
    nodes = Counter(node.op_type for node in onnx.load(path).graph.node)
    norms = sum(isinstance(module, torch.nn.LayerNorm) for module in model.modules())
    assert nodes["LayerNormalization"] == norms
    assert nodes["Conv"] + nodes["Expand"] + nodes["ScatterND"] + nodes["Loop"] == 0
    if model.config.model_type != "tlx-gru":
        assert nodes["Shape"] == 0


def test_dynamic_quantization_makes_every_constant_matmul_and_embedding_integer(exported, tmp_path):
    model, path, pad = exported
    quantize_dynamic(path, tmp_path / "int8.onnx", weight_type=QuantType.QInt8)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    tables = {i.name: i for i in graph.initializer}
    for node in graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            assert node.input[1] not in tables
        if node.op_type == "Gather" and node.input[0] in tables:
            assert tables[node.input[0]].data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    ids, mask = batch([9, 4], pad)
    (logits,) = session(tmp_path / "int8.onnx").run(None, {"input_ids": ids, "attention_mask": mask})
    wanted = logits_of(model, ids, mask)
    assert np.abs(logits - wanted).max() < 0.1 * np.abs(wanted).max() + 0.05


def test_registering_twice_is_harmless():
    register()
    register()
    assert AutoConfig.for_model("tlx-bag").model_type == "tlx-bag"


def test_unknown_students_and_sizes_that_a_student_has_not_are_named():
    with pytest.raises(UsageError, match="unknown student 'lstm': choose one of convolution, gru, bag"):
        build_student("lstm", vocab_size=9, num_labels=2)
    with pytest.raises(UsageError, match="a bag student has no hidden_size: it has embedding_size"):
        build_student("bag", vocab_size=9, num_labels=2, hidden_size=8)


def test_importing_the_students_loads_neither_torch_nor_transformers():
    code = "import sys, tlx.train.students; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_embeddings_from_a_teacher_keep_its_geometry_its_scale_and_the_zero_padding():
    model = student("convolution")
    generator = np.random.default_rng(0)
    teacher = (generator.normal(size=(50, 8)) @ generator.normal(size=(8, 40)) + 3).astype(np.float32)
    spread = model.get_input_embeddings().weight.std().item()
    init_embeddings(model, teacher)
    weight = model.get_input_embeddings().weight.detach().numpy()
    centred = teacher - teacher.mean(0)
    own, wanted = weight[1:] @ weight[1:].T, centred[1:] @ centred[1:].T
    np.testing.assert_allclose(own / own.std(), wanted / wanted.std(), atol=0.1)
    assert weight.std() == pytest.approx(spread, rel=0.1)
    assert np.abs(weight[0]).max() == 0


def test_a_narrower_teacher_fills_the_columns_it_can():
    model = student("bag")
    before = model.get_input_embeddings().weight.detach().clone()
    init_embeddings(model, torch.randn(50, 6))
    after = model.get_input_embeddings().weight.detach()
    assert not torch.equal(after[1:, :6], before[1:, :6])
    assert torch.equal(after[:, 6:], before[:, 6:])


def test_teacher_embeddings_must_have_a_row_for_each_token():
    with pytest.raises(UsageError, match=r"\(49, 8\), the student has 50 tokens: wanted one row for each"):
        init_embeddings(student("bag"), np.zeros((49, 8), dtype=np.float32))
