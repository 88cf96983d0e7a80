"""Vocabularies: pruned to what a student needs, or extended by what its base cannot write.

Both work on the `tokenizer.json` document of a fast tokenizer (WordPiece, Unigram, BPE), so that one code serves
every family; ids of a pruned tokenizer are dense and `kept[new_id]` is the old id.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any
from unicodedata import category, name

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tlx.runtime.errors import TrainingError

__all__ = ["count_tokens", "extend_tokenizer", "id_count", "prune_tokenizer", "rebuilt"]

Ints = NDArray[np.int64]
Pieces = tuple[str, ...]
SPELT_LETTERS = 4
"""Shorter words are often in single letters anyway: they do not tell that a script is unknown."""
SPELT_SHARE = 0.75
"""A word is spelt out when single letters are so many of its letters."""


def id_count(tokenizer: PreTrainedTokenizerFast) -> int:
    """One more than the greatest id: ids may have holes, where a vocab.txt has a line twice."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def count_tokens(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> Ints:
    """How often each id occurs in the texts, `(vocabulary,)` int64, special tokens left out."""
    counts = np.zeros(id_count(tokenizer), dtype=np.int64)
    for encodings in _encoded(tokenizer, texts):
        flat = np.fromiter((i for encoding in encodings for i in encoding.ids), dtype=np.int64)
        counts += np.bincount(flat, minlength=len(counts))
    return counts


def prune_tokenizer(
    tokenizer: PreTrainedTokenizerFast, counts: Ints, size: int
) -> tuple[PreTrainedTokenizerFast, Ints]:
    """A tokenizer of about `size` tokens, and the old id of each new one, `(size,)` int64.

    Kept, in this order until `size` is reached: special tokens; the bytes of byte-level and byte-fallback vocabularies, all of them,
    or what has none of its own could not be written; single characters (with their continuation forms) that occur, and an eighth
    of the room for others; tokens that occur, by count, in turn with tokens by old id when not all
    fit (vocabularies list frequent tokens first); then tokens by old id. Whatever a BPE token is merged from is kept with it. `size` or more tokens: the tokenizer as it is.
    """
    document = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab = _vocabulary(document)
    if size >= len(vocab):
        return tokenizer, np.arange(id_count(tokenizer), dtype=np.int64)
    special = {token["id"] for token in document["added_tokens"]} | set(tokenizer.all_special_ids)
    kept = sorted(special)
    seen = set(kept)
    parents = _merge_parents(document)

    def keep(index: int) -> None:
        for i in [*parents.get(index, ()), index]:
            if i not in seen:
                seen.add(i)
                kept.append(i)

    single = [i for token, i in vocab.items() if len(token.removeprefix("##").removeprefix("▁")) <= 1]
    rare = [i for i in single if counts[i] == 0][: size // 8]
    alphabet = list(dict.fromkeys([*_bytes_of(document), *(i for i in single if counts[i] > 0), *rare]))
    by_count = [i for i in sorted(vocab.values(), key=lambda i: (-int(counts[i]), i)) if counts[i] > 0]
    by_id = sorted(vocab.values())
    if (
        len(alphabet) + len(by_count) > size
    ):  # not all fit: what is frequent here, and what is frequent in general, in turn
        by_count = [i for pair in zip(by_count, by_id, strict=False) for i in pair]
    for index in alphabet + by_count + by_id:
        if len(kept) >= size:
            break
        keep(index)
    old = np.array(sorted(kept), dtype=np.int64)
    return rebuilt(tokenizer, _restricted(document, old)), old


def extend_tokenizer(
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    *,
    limit: int = 8000,
    tolerance: float = 0.005,
    spelt_tolerance: float = 0.02,
) -> tuple[PreTrainedTokenizerFast, int]:
    """The tokenizer with new tokens for the words of `texts` that it writes as unknown or letter by letter, and how many.

    Nothing is added for unknown words while unknown tokens are at most `tolerance` of all, and nothing for spelt ones while
    those of four letters and more are at most `spelt_tolerance` of all words (English, tweets too, and German under an
    English base: none; Russian, Greek, Arabic, Hindi: a quarter and more). New ids follow the old ones. WordPiece only:
    byte-level BPE and byte-fallback models can write any text.
    """
    document = json.loads(tokenizer.backend_tokenizer.to_str())
    if document["model"]["type"] != "WordPiece" or tokenizer.unk_token_id is None:
        return tokenizer, 0
    unknown, words = _census(tokenizer, texts)
    spelt = _spelt_out(words)
    long = sum(n for word, n in spelt.items() if len(word) >= SPELT_LETTERS)
    total = unknown.total() + sum(len(pieces) * n for pieces, n in words.items())
    wanted: Counter[str] = Counter()
    if unknown.total() > tolerance * max(total, 1):
        wanted += unknown
    if long > spelt_tolerance * (unknown.total() + words.total()):
        wanted += spelt
    if not wanted:
        return tokenizer, 0
    learnt = _learnt(wanted, tokenizer.unk_token, limit)
    vocab = document["model"]["vocab"]
    following = id_count(tokenizer)
    fresh = [token for token in learnt if token not in vocab][:limit]
    for offset, token in enumerate(fresh):
        vocab[token] = following + offset
    return rebuilt(tokenizer, document), len(fresh)


def _learnt(words: Counter[str], unknown: str, limit: int) -> list[str]:
    """WordPiece tokens for the words, letters first; the same in every run, so that a resumed one has the rows it had."""
    letters = sorted({word[0] for word in words if word} | {f"##{letter}" for word in words for letter in word[1:]})
    learner = Tokenizer(models.WordPiece(unk_token=unknown))
    # The trainer numbers letters in the order of a hash map, and breaks ties by number, unless they are given.
    trainer = trainers.WordPieceTrainer(vocab_size=limit, show_progress=False, special_tokens=[unknown, *letters])
    learner.train_from_iterator((word for word, n in words.items() for _ in range(min(n, 1000))), trainer)
    return [token for token, _ in sorted(learner.get_vocab().items(), key=lambda item: item[1])]


def _census(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> tuple[Counter[str], Counter[Pieces]]:
    """How often each unknown word occurs, normalised, and each of the others, as its pieces without `##`."""
    unknown: Counter[str] = Counter()
    words: Counter[Pieces] = Counter()
    normalizer = tokenizer.backend_tokenizer.normalizer
    for text, encoding in _pairs(tokenizer, texts):
        ids, offsets, tokens = encoding.ids, encoding.offsets, encoding.tokens
        for _, group in groupby(range(len(ids)), encoding.word_ids.__getitem__):
            word = list(group)
            start, end = offsets[word[0]]
            if ids[word[0]] != tokenizer.unk_token_id:
                words[tuple(tokens[i].removeprefix("##") for i in word)] += 1
            elif end > start:
                unknown[(normalizer.normalize_str(text[start:end]) if normalizer else text[start:end]).strip()] += 1
    return unknown, words


def _spelt_out(words: Counter[Pieces]) -> Counter[str]:
    """The words that are written letter by letter, in scripts of which that is the rule here.

    A script whose letters more often stand in longer pieces is one that the vocabulary knows: words spelt in it (html, xxxv)
    are its rare ones, and what is made of them would change how others are cut.
    """
    singly: Counter[str] = Counter()
    jointly: Counter[str] = Counter()
    spelt: Counter[str] = Counter()
    for pieces, n in words.items():
        word = "".join(pieces)
        if len(word) < 2 or not all(category(letter)[0] in "LM" for letter in word):
            continue
        single = sum(len(piece) == 1 for piece in pieces) >= SPELT_SHARE * len(word)
        for letter in word:
            (singly if single else jointly)[_script(letter)] += n
        if single:
            spelt[word] += n
    foreign = {script for script, n in singly.items() if n > jointly[script]}
    return Counter({word: n for word, n in spelt.items() if {_script(letter) for letter in word} <= foreign})


def _script(letter: str) -> str:
    """LATIN, CYRILLIC, …: Unicode's names of letters begin with their script."""
    return name(letter, "").partition(" ")[0]


def rebuilt(tokenizer: PreTrainedTokenizerFast, document: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A tokenizer of the same class and settings around another `tokenizer.json` document."""
    files = {"vocab_file", "merges_file", "tokenizer_file", "tokenizer_object", "name_or_path", "added_tokens_decoder"}
    settings = {key: value for key, value in tokenizer.init_kwargs.items() if key not in files}
    return type(tokenizer)(tokenizer_object=Tokenizer.from_str(json.dumps(document)), **settings)


def _vocabulary(document: dict[str, Any]) -> dict[str, int]:
    model = document["model"]
    if model["type"] in ("WordPiece", "BPE", "WordLevel"):
        return dict(model["vocab"])
    if model["type"] == "Unigram":
        return {piece: index for index, (piece, _) in enumerate(model["vocab"])}
    raise TrainingError(f"a {model['type']} tokenizer cannot be pruned: leave model.vocabulary out")


def _bytes_of(document: dict[str, Any]) -> list[int]:
    """The ids of single bytes: of a byte-level vocabulary its 256 characters, of one with byte fallback <0x00> to <0xFF>."""
    vocab, names = _vocabulary(document), [f"<0x{byte:02X}>" for byte in range(256)]
    if "ByteLevel" in json.dumps([document.get("pre_tokenizer"), document.get("decoder")]):
        names += sorted(pre_tokenizers.ByteLevel.alphabet())
    return [vocab[name] for name in names if name in vocab]


def _restricted(document: dict[str, Any], old: Ints) -> dict[str, Any]:
    result = copy.deepcopy(document)
    new_id = {int(o): n for n, o in enumerate(old)}
    model = result["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [entry for index, entry in enumerate(model["vocab"]) if index in new_id]
        model["unk_id"] = new_id[model["unk_id"]]
    else:
        model["vocab"] = {token: new_id[i] for token, i in model["vocab"].items() if i in new_id}
        if model["type"] == "BPE":
            pairs = [pair if isinstance(pair, list) else pair.split(" ", 1) for pair in model["merges"]]
            there = model["vocab"]
            model["merges"] = [p for p in pairs if p[0] in there and p[1] in there and p[0] + p[1] in there]
    for token in result["added_tokens"]:
        token["id"] = new_id[token["id"]]
    _renumber(result.get("post_processor"), new_id)
    return result


def _renumber(processor: Any, new_id: dict[int, int]) -> None:
    """Maps the ids inside a post-processor: TemplateProcessing's, BertProcessing's, or those of a sequence of them."""
    if not processor:
        return
    for inner in processor.get("processors", ()):
        _renumber(inner, new_id)
    for entry in (processor.get("special_tokens") or {}).values():
        entry["ids"] = [new_id[i] for i in entry["ids"]]
    for side in ("cls", "sep"):
        if side in processor:
            processor[side] = [processor[side][0], new_id[processor[side][1]]]


def _merge_parents(document: dict[str, Any]) -> dict[int, list[int]]:
    """For BPE: what each token was merged from, all the way down."""
    model = document["model"]
    parents: dict[int, list[int]] = {}
    if model["type"] != "BPE":
        return parents
    vocab = model["vocab"]
    for pair in model["merges"]:
        left, right = pair if isinstance(pair, list) else pair.split(" ", 1)
        merged = vocab.get(left + right)
        if merged is not None and merged not in parents:
            a, b = vocab[left], vocab[right]
            parents[merged] = [*parents.get(a, ()), a, *parents.get(b, ()), b]
    return parents


def _encoded(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str], chunk: int = 4096) -> Iterable[list[Any]]:
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    block: list[str] = []
    for text in texts:
        block.append(text)
        if len(block) == chunk:
            yield backend.encode_batch(block, add_special_tokens=False)
            block = []
    if block:
        yield backend.encode_batch(block, add_special_tokens=False)


def _pairs(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Iterable[tuple[str, Any]]:
    encodings = (encoding for block in _encoded(tokenizer, texts) for encoding in block)
    return zip(texts, encodings, strict=True)
