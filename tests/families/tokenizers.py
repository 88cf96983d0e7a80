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


def word_piece(*, lowercase: bool = True, size: int = 300) -> Any:
    """As BERT's: [CLS] … [SEP]; Chinese characters stand alone."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    backend = BertWordPieceTokenizer(lowercase=lowercase, strip_accents=lowercase)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(TEXTS, vocab_size=size, min_frequency=1, show_progress=False, special_tokens=special)
    _with_ends(backend._tokenizer, "[CLS]", "[SEP]")
    return BertTokenizerFast(tokenizer_object=backend._tokenizer, do_lower_case=lowercase, model_max_length=64)


def byte_pairs(kind: str = "RobertaTokenizerFast") -> Any:
    """As RoBERTa's: <s> … </s>, the mask takes the space before it."""
    import transformers
    from tokenizers import AddedToken, ByteLevelBPETokenizer

    backend = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    backend.train_from_iterator(TEXTS, vocab_size=400, min_frequency=1, show_progress=False, special_tokens=special)
    backend._tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    _with_ends(backend._tokenizer, "<s>", "</s>")
    made = getattr(transformers, kind)
    mask = AddedToken("<mask>", lstrip=True, special=True)
    return made(tokenizer_object=backend._tokenizer, model_max_length=64, **{**SENTENCES, "mask_token": mask})


def unigram(kind: str = "XLMRobertaTokenizerFast") -> Any:
    """As XLM-R's: ▁ begins a word."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=200, unk_token="<unk>", special_tokens=special, show_progress=False, shrinking_factor=0.75
    )
    backend.train_from_iterator(TEXTS, trainer)
    mask = AddedToken("<mask>", lstrip=True, special=True)
    backend.add_special_tokens([mask])
    _with_ends(backend, "<s>", "</s>")
    return getattr(transformers, kind)(
        tokenizer_object=backend, model_max_length=64, **{**SENTENCES, "mask_token": mask}
    )


def _with_ends(backend: Any, begin: str, end: str) -> None:
    from tokenizers.processors import TemplateProcessing

    ids = [(token, backend.token_to_id(token)) for token in (begin, end)]
    pair = f"{begin} $A {end} $B:1 {end}:1" if begin == "[CLS]" else f"{begin} $A {end} {end} $B {end}"
    backend.post_processor = TemplateProcessing(single=f"{begin} $A {end}", pair=pair, special_tokens=ids)
