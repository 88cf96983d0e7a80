"""How many tokens a model takes, as its config and its tokenizer tell."""

from __future__ import annotations

__all__ = ["MOST_TOKENS", "token_limit"]

MOST_TOKENS = 8192
"""The limit of models that have none, and more than any is given."""

# Positions are counted from the padding index on: the first token's is that of the padding token, plus 1.
COUNTED_FROM_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
PADDING_INDEX = {"mpnet": 1}  # of architectures that have one whatever the config says


def token_limit(
    *, model_type: str | None, positions: int | None, pad_token_id: int | None, tokenizer_limit: float | None
) -> int:
    """The most tokens that both can take, special ones included.

    The first three are those of transformers' config (`positions`: max_position_embeddings), where it has them.
    """
    limit = positions or MOST_TOKENS
    if model_type in COUNTED_FROM_PADDING:
        limit -= PADDING_INDEX.get(model_type, pad_token_id or 0) + 1
    return int(min(limit, tokenizer_limit or MOST_TOKENS, MOST_TOKENS))
