"""How many tokens a model takes: transformers' own models are asked at the limit, and one token beyond it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from tlx.runtime.limits import token_limit

SIZES: dict[str, Any] = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
}


@pytest.mark.parametrize("pad_token_id", [0, 1, 3])
@pytest.mark.parametrize(
    "kind",
    ["bert", "camembert", "data2vec-text", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl"],
)
def test_a_model_reads_as_many_tokens_as_the_limit_says_and_no_more(kind: str, pad_token_id: int) -> None:
    model = AutoModel.from_config(AutoConfig.for_model(kind, **SIZES, pad_token_id=pad_token_id)).eval()
    limit = token_limit(model_type=kind, positions=16, pad_token_id=pad_token_id, tokenizer_limit=None)
    model(input_ids=torch.full((1, limit), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, limit + 1), 5))


def test_the_tokenizer_may_take_fewer() -> None:
    assert token_limit(model_type="bert", positions=512, pad_token_id=0, tokenizer_limit=128) == 128
    assert token_limit(model_type="bert", positions=None, pad_token_id=0, tokenizer_limit=1e30) == 8192
