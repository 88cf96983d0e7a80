"""Tiny token classifiers of random weights, as tlx folders with onnx/model.onnx, over three kinds of tokenizer."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlx.runtime.folder import MANIFEST, Folder, Manifest, Variant, file_record, write_atomically

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
CORPUS = [
    "Anna Schmidt flew from Berlin to Paris on Monday, and Bob stayed in New York",
    "the café in São Paulo didn't open until 10 o'clock",
    "北京大学在中国首都 東京タワー",
    "playing players played unbelievable international relationships",
]
SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SNIPPETS = (
    *" ".join(CORPUS).split(),
    *(
        "Zürich",
        "NAÏVE",
        "x",
        "1,000.50",
        "(ok)",
        "O'Neill's",
        "user@example.org",
        "--",
        "don't",
        "…",
        "##a",
        "[SEP]",
        "<unk>",
    ),
    *(
        "😀",
        "👩‍👩‍👧",
        "🏳️‍🌈",
        "e\u0301te\u0301",
        "I\u0307stanbul",
        "ﬁne",
        "ß",
        "\u200b",
        "مرحبا",
        "שלום",
        "नमस्ते",
        "한국어",
    ),
    *("北京", "东京都", "ひらがな", "，", "。", "「日本」", "𠀋", "\ufeff", "\u0301", "\u00ad"),
)
SPACES = (" ", " ", " ", " ", "  ", "\t", "\n", "\u3000", "", "\xa0")


def varied_texts(count: int, seed: int = 0, longest: int = 14) -> list[str]:
    """Texts of all sorts: words, emoji, combining marks, CJK, right to left, odd spaces, empty ones."""
    draw = random.Random(seed)
    texts = ["", " ", "\t\n", ".", "😀", "\u0301", "Anna", " Anna ", "北京大学"]
    while len(texts) < count:
        pieces = [draw.choice(SNIPPETS) + draw.choice(SPACES) for _ in range(draw.randint(1, longest))]
        texts.append("".join(pieces))
    return texts


def tokenizer_of(kind: str) -> Any:
    """wordpiece (uncased, without accents), bytes (RoBERTa's), unigram (XLM-R's); 64 tokens at most."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertTokenizerFast, PreTrainedTokenizerFast

    shown = False
    if kind == "wordpiece":
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.normalizer = normalizers.BertNormalizer(lowercase=True)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
        # The trainer breaks ties by a hash that is another one in every process, unless it begins with the letters in order.
        letters = sorted({c for text in CORPUS for c in backend.normalizer.normalize_str(text) if not c.isspace()})
        first = special + [prefix + letter for letter in letters for prefix in ("", "##")]
        trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=first, show_progress=shown)
        learnt = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        learnt.normalizer, learnt.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
        learnt.train_from_iterator(CORPUS, trainer)
        backend.model = models.WordPiece(learnt.get_vocab(), unk_token="[UNK]")
        backend.add_special_tokens(special)
        backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        return BertTokenizerFast(tokenizer_object=backend, model_max_length=64)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), special, strict=True))
    if kind == "bytes":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=380, special_tokens=special, initial_alphabet=alphabet, show_progress=shown
        )
        backend.train_from_iterator(CORPUS, trainer)
        backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    else:
        backend = Tokenizer(models.Unigram())
        backend.normalizer = normalizers.NFKC()
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=170, special_tokens=special, unk_token="<unk>", show_progress=shown
        )
        backend.train_from_iterator(CORPUS, trainer)
        # The pieces are the same in every process, their scores and order are not: sums are made in any order.
        pieces = sorted(piece for piece in backend.get_vocab() if piece not in special)
        scored = [(piece, 0.0) for piece in special] + [(piece, 0.5 * len(piece) - 8.0) for piece in pieces]
        backend.model = models.Unigram(scored, unk_id=special.index("<unk>"))
        backend.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=64, cls_token="<s>", sep_token="</s>", **names
    )


def tagger(tokenizer: Any, labels: Sequence[str] = TAGS, seed: int = 0) -> Any:
    """A BERT token classifier (2 layers, hidden 32) whose tags vary from token to token."""
    import torch
    from transformers import BertConfig, BertForTokenClassification

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=64,
        initializer_range=0.3,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        **SIZES,
    )
    return BertForTokenClassification(config).eval()


def save_tagger(
    model: Any, tokenizer: Any, folder: Path, *, task: str = "token-classification", max_tokens: int = 64
) -> Path:
    """The model as a tlx folder with variant fp32."""
    import torch

    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "onnx").mkdir()
    ids = torch.tensor([[5, 6, 7], [8, 9, 6]])
    names = ["input_ids", "attention_mask"]
    axes = {0: "batch_size", 1: "sequence_length"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the legacy exporter announces its end
        torch.onnx.export(
            model,
            (ids, torch.ones_like(ids)),
            folder / "onnx" / "model.onnx",
            input_names=names,
            output_names=["logits"],
            dynamic_axes={**dict.fromkeys(names, axes), "logits": axes},
            opset_version=18,
            dynamo=False,
        )
    manifest = Manifest(
        task=task,
        labels=tuple(model.config.id2label.values()),
        max_tokens=max_tokens,
        files={name: file_record(folder, name) for name in ("config.json", "tokenizer.json")},
        variants={"fp32": Variant(name="fp32", file=file_record(folder, "onnx/model.onnx"))},
        default={"cpu": "fp32", "cuda": "fp32"},
    )
    write_atomically(folder / MANIFEST, manifest.to_json())
    return Folder(path=folder, manifest=manifest).path
