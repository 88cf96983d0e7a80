"""Every backbone family as a tiny encoder of random weights: two layers, width 32, a tokenizer of its kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.families.tokenizers import byte_pairs, modern_pairs, unigram, word_piece

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SPREAD: dict[str, Any] = {"initializer_range": 0.2}
# These count positions from the padding index on, which is 1.
OFFSET: dict[str, Any] = {"max_position_embeddings": 66, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


FAMILIES: dict[str, tuple[str, Callable[[], Any], dict[str, Any]]] = {
    "bert": ("bert", word_piece, {**SIZES, "max_position_embeddings": 64}),
    "bert-cased": ("bert", lambda: word_piece(lowercase=False), {**SIZES, "max_position_embeddings": 64}),
    "roberta": ("roberta", byte_pairs, {**SIZES, **OFFSET}),
    "distilbert": (
        "distilbert",
        lambda: word_piece("DistilBertTokenizerFast"),
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64},
    ),
    "albert": ("albert", word_piece, {**SIZES, "embedding_size": 16, "max_position_embeddings": 64}),
    "electra": ("electra", word_piece, {**SIZES, "embedding_size": 16, "max_position_embeddings": 64}),
    "deberta-v3": (
        "deberta-v2",
        lambda: unigram("DebertaV2TokenizerFast"),
        {
            **SIZES,
            "max_position_embeddings": 64,
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "mpnet": ("mpnet", lambda: word_piece("MPNetTokenizerFast"), {**SIZES, **OFFSET}),
    "xlm-roberta": ("xlm-roberta", unigram, {**SIZES, **OFFSET}),
    "modernbert": (
        "modernbert",
        modern_pairs,
        {**SIZES, "max_position_embeddings": 64, "global_attn_every_n_layers": 2, "local_attention": 16},
    ),
}


def config_of(family: str, tokenizer: Any) -> Any:
    from transformers import AutoConfig

    kind, _, sizes = FAMILIES[family]
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep", "bos", "eos")}
    known = {name: value for name, value in ids.items() if value is not None}
    return AutoConfig.for_model(kind, **{"vocab_size": len(tokenizer), **SPREAD, **known, **sizes})


def save_base(family: str, folder: Path) -> Path:
    """An encoder without a head, as a pretrained base would lie there."""
    import torch
    from transformers import AutoModel

    tokenizer = FAMILIES[family][1]()
    torch.manual_seed(0)
    AutoModel.from_config(config_of(family, tokenizer)).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def language_model(family: str) -> tuple[Any, Any]:
    """(a masked language model, its tokenizer); the same one at every call."""
    import torch
    from transformers import AutoModelForMaskedLM

    tokenizer = FAMILIES[family][1]()
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config_of(family, tokenizer)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model, tokenizer
