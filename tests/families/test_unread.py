"""Classifiers that read a text's first token leave the others out of the last layer; answers and gradients stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.families.models import FAMILIES, config_of
from tests.families.tokenizers import TEXTS

from tlx.runtime.tasks.task import Encoded
from tlx.train.batches import TokenRows, token_rows
from tlx.train.unread import unread_skipped

SHARED_LAYERS = ("albert",)  # its last layer is its first one, too


class Outputs:
    """What a task gives of a model: a line a text, or a line a token."""

    def __init__(self, mean: bool = False) -> None:
        self.mean = mean

    def outputs(self, model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, Any]:
        result = model(**inputs)
        if self.mean:
            return result.last_hidden_state.mean(dim=1), result
        logits = result.logits
        return (logits[inputs["attention_mask"].bool()] if logits.ndim == 3 else logits), result


def _made(family: str, kind: str) -> tuple[Any, TokenRows]:
    import transformers

    tokenizer = FAMILIES[family][1]()
    config = config_of(family, tokenizer)
    config.num_labels = 3
    torch.manual_seed(0)
    model = getattr(transformers, kind).from_config(config).eval()
    rows = [
        np.array(ids, dtype=np.int64) for ids in tokenizer([*TEXTS[:4]], truncation=True, max_length=60)["input_ids"]
    ]
    return model, token_rows(Encoded(rows), tokenizer.pad_token_id, types=False)


def _pass(task: Any, model: Any, rows: TokenRows) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    model.zero_grad()
    found = task.outputs(model, rows.padded(np.arange(len(rows.lengths))))[0]
    found.square().sum().backward()
    return found.detach(), [None if p.grad is None else p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_computes_its_first_token_and_learns_the_same(family: str) -> None:
    model, rows = _made(family, "AutoModelForSequenceClassification")
    task: Any = Outputs()
    expected, gradients = _pass(task, model, rows)
    with unread_skipped(task, model, rows) as skipped:
        found, own = _pass(task, model, rows)
    assert skipped == (family not in SHARED_LAYERS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for one, other in zip(own, gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * max(float(other.abs().max()), 1.0))


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet", "modernbert"])
def test_the_last_layer_is_whole_again_afterwards(family: str) -> None:
    model, rows = _made(family, "AutoModelForSequenceClassification")
    task: Any = Outputs()
    with unread_skipped(task, model, rows):
        pass
    inputs = rows.padded(np.arange(len(rows.lengths)))
    states = model(**inputs, output_hidden_states=True).hidden_states
    assert states[-1].shape[:2] == inputs["input_ids"].shape


@pytest.mark.parametrize(
    ("kind", "mean"), [("AutoModelForTokenClassification", False), ("AutoModel", True)], ids=["tags", "mean of tokens"]
)
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "mpnet", "modernbert"])
def test_what_reads_every_token_gets_every_token(family: str, kind: str, mean: bool) -> None:
    model, rows = _made(family, kind)
    task: Any = Outputs(mean)
    expected, _ = _pass(task, model, rows)
    with unread_skipped(task, model, rows) as skipped:
        found, _ = _pass(task, model, rows)
    assert not skipped
    assert torch.equal(found, expected)


def test_texts_of_one_token_tell_nothing() -> None:
    model, _ = _made("bert", "AutoModelForSequenceClassification")
    rows = token_rows(Encoded([np.array([5])]), 0, types=False)
    task: Any = Outputs()
    with unread_skipped(task, model, rows) as skipped:
        assert not skipped


@pytest.mark.parametrize("family", ["longformer", "chunks"])
def test_code_that_counts_tokens_behind_the_layer_finds_them(family: str) -> None:
    """Longformer cuts its own padding off again, and feed-forwards in chunks want a multiple of their size."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        LongformerConfig,
        LongformerForSequenceClassification,
    )

    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    sizes |= {"vocab_size": 50, "num_labels": 3, "initializer_range": 0.3}
    torch.manual_seed(0)
    model: Any
    if family == "longformer":
        places = {"max_position_embeddings": 66, "pad_token_id": 1}
        model = LongformerForSequenceClassification(LongformerConfig(attention_window=16, **places, **sizes)).eval()
    else:
        model = BertForSequenceClassification(BertConfig(chunk_size_feed_forward=2, **sizes)).eval()
    rows = token_rows(Encoded([np.arange(5, 5 + length) for length in (32, 12, 12)]), 1, types=False)
    task: Any = Outputs()
    for chosen in ([0], [1, 2]):
        inputs = rows.padded(np.array(chosen))
        expected = task.outputs(model, inputs)[0]
        with unread_skipped(task, model, rows) as skipped:
            found = task.outputs(model, inputs)[0]
            with unread_skipped(task, model, rows):  # as an evaluation within training is
                within = task.outputs(model, inputs)[0]
        assert skipped == (family == "longformer")
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(within, found)
