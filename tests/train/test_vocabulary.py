"""Pruned and extended tokenizers, over WordPiece, BPE and Unigram."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tlx.train.pretrained import load_tokenizer
from tlx.train.vocabulary import count_tokens, extend_tokenizer, prune_tokenizer

TEXTS = ["play some music now", "turn off the lights please", "cancel my lost card", "a new song, louder!"] * 5


def trained(kind: str) -> PreTrainedTokenizerFast:
    """A real tokenizer of the kind, learnt from TEXTS, with special tokens around every text."""
    special = ["<s>", "</s>", "<pad>", "<unk>"]
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=340, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_a_pruned_tokenizer_writes_known_texts_with_the_same_pieces(kind: str, base: Path) -> None:
    tokenizer = load_tokenizer(str(base)) if kind == "wordpiece" else trained(kind)
    used = int((count_tokens(tokenizer, TEXTS[:2]) > 0).sum())
    pruned, kept = prune_tokenizer(tokenizer, count_tokens(tokenizer, TEXTS[:2]), len(tokenizer) - 2)
    assert used < len(kept) < len(tokenizer)
    for text in TEXTS[:2]:
        ids = pruned(text)["input_ids"]
        assert kept[ids].tolist() == tokenizer(text)["input_ids"]
    assert pruned.pad_token == tokenizer.pad_token
    assert kept[pruned.pad_token_id] == tokenizer.pad_token_id
    assert pruned.decode(pruned(TEXTS[0])["input_ids"]) == tokenizer.decode(tokenizer(TEXTS[0])["input_ids"])


def test_a_size_over_the_vocabulary_changes_nothing(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    same, kept = prune_tokenizer(tokenizer, count_tokens(tokenizer, TEXTS), 10_000)
    assert same is tokenizer
    assert kept.tolist() == list(range(len(tokenizer)))


def test_words_that_the_base_cannot_write_get_tokens_behind_the_old_ones(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    texts = ["天気はどうですか", "天气怎么样", "play music"]
    before = tokenizer.tokenize("play music")
    longer, fresh = extend_tokenizer(tokenizer, texts)
    assert fresh > 0
    assert len(longer) == len(tokenizer) + fresh
    for text in texts:
        assert tokenizer.unk_token_id not in longer(text)["input_ids"]
    assert longer.tokenize("play music") == before


def test_a_base_that_can_write_the_texts_is_left_alone(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    same, fresh = extend_tokenizer(tokenizer, TEXTS[:2])
    assert same is tokenizer
    assert fresh == 0
