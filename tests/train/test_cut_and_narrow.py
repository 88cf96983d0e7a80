"""Students made of their teacher: fewer of its layers, or fewer of its dimensions."""

from __future__ import annotations

import pytest
import torch
import transformers

from tlx.runtime.errors import UsageError
from tlx.train.students.cut import cut_layers, evenly_spaced, layer_list
from tlx.train.students.narrow import narrow

SIZES = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
CONFIGS = {
    "bert": transformers.BertConfig(vocab_size=40, **SIZES),
    "roberta": transformers.RobertaConfig(vocab_size=40, **SIZES),
    "distilbert": transformers.DistilBertConfig(vocab_size=40, dim=32, n_layers=4, n_heads=4, hidden_dim=64),
    "electra": transformers.ElectraConfig(vocab_size=40, embedding_size=16, **SIZES),
    "mpnet": transformers.MPNetConfig(vocab_size=40, **SIZES),
    "deberta-v2": transformers.DebertaV2Config(
        vocab_size=40, relative_attention=True, pos_att_type=["p2c", "c2p"], **SIZES
    ),
    "modernbert": transformers.ModernBertConfig(
        vocab_size=40, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, **SIZES
    ),
    "albert": transformers.AlbertConfig(vocab_size=40, embedding_size=16, **SIZES),
}
NARROW = ("bert", "roberta", "distilbert", "electra")


def teacher(family: str):
    torch.manual_seed(0)
    return transformers.AutoModelForSequenceClassification.from_config(CONFIGS[family]).eval()


IDS = torch.arange(5, 15).reshape(2, 5)


@pytest.mark.parametrize(
    ("count", "total", "kept"),
    [(3, 6, (0, 2, 5)), (2, 6, (0, 5)), (1, 6, (0,)), (6, 6, (0, 1, 2, 3, 4, 5)), (4, 12, (0, 3, 7, 11))],
)
def test_layers_are_spaced_evenly_with_the_first_and_the_last(count, total, kept):
    assert evenly_spaced(count, total) == kept


def test_more_layers_than_there_are_cannot_be_kept():
    with pytest.raises(UsageError, match="7 layers asked for, the teacher has 6: wanted 1 to 6"):
        evenly_spaced(7, 6)


@pytest.mark.parametrize("family", [family for family in CONFIGS if family != "albert"])
def test_a_cut_student_has_the_layers_kept_and_reloads_as_it_was(family, tmp_path):
    model = teacher(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    student = cut_layers(model, (0, 3))
    assert student.config.num_hidden_layers == 2
    assert model.config.num_hidden_layers == 4
    for kept, layer in zip((0, 3), layer_list(student)[1], strict=True):
        for name, value in layer_list(model)[1][kept].state_dict().items():
            assert torch.equal(layer.state_dict()[name], value)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 1.0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    student.save_pretrained(tmp_path)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(IDS).logits, student(IDS).logits)


def test_keeping_every_layer_keeps_the_answers():
    model = teacher("bert")
    with torch.no_grad():
        assert torch.equal(cut_layers(model, (0, 1, 2, 3))(IDS).logits, model(IDS).logits)


def test_lists_with_one_value_a_layer_are_cut_along():
    model = teacher("bert")
    model.config.layer_types = ["full", "local", "local", "full"]
    assert cut_layers(model, (0, 1)).config.layer_types == ["full", "local"]


@pytest.mark.parametrize("keep", [(), (0, 4), (2, 1), (1, 1)])
def test_layers_that_are_not_there_or_not_ascending_are_refused(keep):
    with pytest.raises(UsageError, match="the teacher has 0 to 3: name some once, ascending"):
        cut_layers(teacher("bert"), keep)


def test_models_whose_layers_are_not_one_list_are_refused():
    with pytest.raises(UsageError, match="albert has 0 lists of 4 layers"):
        cut_layers(teacher("albert"), (0,))


def test_a_first_layer_of_another_kind_must_be_kept_first():
    with pytest.raises(
        UsageError, match="layers \\[1, 2\\] of modernbert do not fit the places they would take: keep layer 0 first"
    ):
        cut_layers(teacher("modernbert"), (1, 2))


@pytest.mark.parametrize("family", NARROW)
def test_a_narrow_student_has_fewer_heads_of_the_same_size_and_reloads_as_it_was(family, tmp_path):
    model = teacher(family)
    student = narrow(model, 16)
    assert (student.config.hidden_size, student.config.num_attention_heads) == (16, 2)
    assert sum(p.numel() for p in student.parameters()) < 0.6 * sum(p.numel() for p in model.parameters())
    student.save_pretrained(tmp_path)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(IDS).logits, student(IDS).logits)
    assert model.config.hidden_size == 32


def test_narrowing_to_the_teachers_own_width_keeps_the_answers():
    model = teacher("bert")
    with torch.no_grad():
        torch.testing.assert_close(narrow(model, 32)(IDS).logits, model(IDS).logits)


def test_dimensions_heads_and_neurons_that_do_nothing_go_first():
    """A teacher that only uses half of itself answers nearly the same without the other half."""
    model = teacher("bert")
    dead, rows = torch.arange(1, 32, 2), torch.arange(8, 24)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.mul_(20 if value.ndim == 2 and "layer." in name else 1)
            if "LayerNorm" in name:
                value[dead] = 0
            elif ".self." in name or "intermediate" in name:
                value[rows] = 0
                if "intermediate" in name:
                    value[32:] = 0
        for layer in model.bert.encoder.layer:
            layer.intermediate.dense.weight[8:40].normal_()
            layer.intermediate.dense.weight[40:] = 0
            layer.intermediate.dense.weight[:8] = 0
    student = narrow(model, 16)
    whole, part = model.bert.encoder.layer[0], student.bert.encoder.layer[0]
    alive = torch.arange(0, 32, 2)
    heads = torch.cat([torch.arange(0, 8), torch.arange(24, 32)])
    assert torch.equal(part.attention.self.value.weight, whole.attention.self.value.weight[heads][:, alive])
    assert torch.equal(part.attention.output.dense.weight, whole.attention.output.dense.weight[alive][:, heads])
    assert torch.equal(part.intermediate.dense.weight, whole.intermediate.dense.weight[8:40][:, alive])
    assert torch.equal(part.output.dense.weight, whole.output.dense.weight[alive][:, 8:40])


def test_widths_that_heads_do_not_fill_and_other_families_are_refused():
    with pytest.raises(
        UsageError, match="hidden size 20 asked for: wanted a multiple of 8 .* at most the teacher's 32"
    ):
        narrow(teacher("bert"), 20)
    with pytest.raises(UsageError, match="a modernbert cannot be made narrower: that works for bert, "):
        narrow(teacher("modernbert"), 16)
