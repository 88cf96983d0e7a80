"""Narrowed tables: a model answers the same before, within and after."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

from tlx.train.batches import TokenRows
from tlx.train.students import build_student
from tlx.train.trainable import UsedRows


def texts(vocabulary: int) -> TokenRows:
    """Three texts over a few ids; 1 is the padding."""
    ids = np.array([2, 40, 41, 3, 2, vocabulary - 1, 3, 2, 55, 40, 57, 3], dtype=np.int32)
    return TokenRows(ids=ids, starts=np.array([0, 4, 7, 12]), pad_id=1)


def answers(model: PreTrainedModel, encoded: TokenRows) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(**encoded.padded(np.arange(3))).logits
    return result


@pytest.mark.parametrize("kind", ["convolution", "gru", "bag", "transformer"])
def test_answers_are_the_same_before_within_and_after(kind: str) -> None:
    torch.manual_seed(0)
    model: PreTrainedModel
    if kind == "transformer":
        sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        model = BertForSequenceClassification(BertConfig(vocab_size=300, num_labels=3, pad_token_id=1, **sizes))
    else:
        model = build_student(kind, vocab_size=300, num_labels=3, pad_token_id=1)
    for name, parameter in model.named_parameters():
        if "token_weights" in name:
            torch.nn.init.normal_(parameter)
    model.eval()
    encoded = texts(300)
    before = answers(model, encoded)
    rows = UsedRows(model, [encoded], [1, 2, 3])
    assert model.get_input_embeddings().num_embeddings == 4 + 5
    assert torch.allclose(answers(model, rows.narrowed(encoded)), before, atol=1e-6)
    rows.restore()
    assert model.get_input_embeddings().num_embeddings == 300
    assert torch.allclose(answers(model, encoded), before, atol=1e-6)


def test_tables_stay_whole_where_special_tokens_have_high_ids() -> None:
    model = build_student("bag", vocab_size=3000, num_labels=2, pad_token_id=2999)
    encoded = texts(3000)
    rows = UsedRows(model, [encoded], [2999])
    assert rows.narrowed(encoded) is encoded
    assert model.get_input_embeddings().num_embeddings == 3000
