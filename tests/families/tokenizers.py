"""Tiny tokenizers of the three kinds, trained on the spot: WordPiece, byte-level BPE, SentencePiece's Unigram."""

from __future__ import annotations

from typing import Any

TEXTS = (
    "please cancel my card and send me a new one",
    "what is the weather in paris tomorrow",
    "turn off the lights in the kitchen, it's late!",
    "I don't have much money on my account; do you?",
    "Set an alarm at seven. Thanks a lot.",
    "这 是 一个 测试 请 帮 我 取消 信用卡",
    "明天 天气 怎么样",
    "naïve café, déjà vu: 12.50 or 3,000?",
)
WORD_PIECE = {
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
}
SENTENCES = {
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "bos_token": "<s>",
    "sep_token": "</s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}


def word_piece(kind: str = "BertTokenizerFast", *, lowercase: bool = True) -> Any:
    """As BERT's, [CLS] … [SEP], or MPNet's, <s> … </s>; Chinese characters stand alone."""
    import transformers
    from tokenizers import AddedToken, BertWordPieceTokenizer

    backend = BertWordPieceTokenizer(lowercase=lowercase, strip_accents=lowercase)
    mpnet = kind == "MPNetTokenizerFast"
    names = {**SENTENCES, "unk_token": "[UNK]"} if mpnet else dict(WORD_PIECE)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if mpnet:
        special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    backend.train_from_iterator(TEXTS, vocab_size=300, min_frequency=1, show_progress=False, special_tokens=special)
    _with_ends(backend._tokenizer, names["cls_token"], names["sep_token"])
    given: dict[str, Any] = dict(names)
    if mpnet:
        given["mask_token"] = AddedToken("<mask>", lstrip=True, special=True)
    made = getattr(transformers, kind)
    return made(tokenizer_object=backend._tokenizer, do_lower_case=lowercase, model_max_length=64, **given)


def byte_pairs() -> Any:
    """As RoBERTa's: <s> … </s>, the mask takes the space before it."""
    from tokenizers import AddedToken, ByteLevelBPETokenizer
    from transformers import RobertaTokenizerFast

    backend = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    backend.train_from_iterator(TEXTS, vocab_size=400, min_frequency=1, show_progress=False, special_tokens=special)
    mask = AddedToken("<mask>", lstrip=True, special=True)
    backend._tokenizer.add_special_tokens([mask])
    _with_ends(backend._tokenizer, "<s>", "</s>")
    given: dict[str, Any] = {**SENTENCES, "mask_token": mask}
    return RobertaTokenizerFast(tokenizer_object=backend._tokenizer, model_max_length=64, **given)


def unigram(kind: str = "XLMRobertaTokenizerFast") -> Any:
    """As XLM-R's, <s> … </s>, or DeBERTa-v3's, [CLS] … [SEP]; ▁ begins a word."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    names = SENTENCES if kind == "XLMRobertaTokenizerFast" else WORD_PIECE
    special = [names[f"{name}_token"] for name in ("cls", "pad", "sep", "unk")]
    trainer = trainers.UnigramTrainer(
        vocab_size=200, unk_token=special[3], special_tokens=special, show_progress=False, shrinking_factor=0.75
    )
    backend.train_from_iterator(TEXTS, trainer)
    mask = AddedToken(names["mask_token"], lstrip=kind == "XLMRobertaTokenizerFast", special=True)
    backend.add_special_tokens([mask])
    _with_ends(backend, names["cls_token"], names["sep_token"])
    given: dict[str, Any] = {**names, "mask_token": mask}
    return getattr(transformers, kind)(tokenizer_object=backend, model_max_length=64, **given)


def modern_pairs() -> Any:
    """As ModernBERT's: byte-level BPE with BERT's special tokens and no token types."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    backend = ByteLevelBPETokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(TEXTS, vocab_size=400, min_frequency=1, show_progress=False, special_tokens=special)
    _with_ends(backend._tokenizer, "[CLS]", "[SEP]", types=False)
    given: dict[str, Any] = {**WORD_PIECE, "model_input_names": ["input_ids", "attention_mask"]}
    return PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, model_max_length=64, **given)


def _with_ends(backend: Any, begin: str, end: str, *, types: bool = True) -> None:
    from tokenizers.processors import TemplateProcessing

    ids = [(token, backend.token_to_id(token)) for token in (begin, end)]
    pair = f"{begin} $A {end} {end} $B {end}"
    if begin == "[CLS]":
        pair = f"{begin} $A {end} $B:1 {end}:1" if types else f"{begin} $A {end} $B {end}"
    backend.post_processor = TemplateProcessing(single=f"{begin} $A {end}", pair=pair, special_tokens=ids)
