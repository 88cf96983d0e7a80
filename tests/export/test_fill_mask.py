"""fill-mask from checkpoint to answer: transformers.pipeline and ORTModelForMaskedLM are the oracles."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.families.tokenizers import TEXTS, byte_pairs, unigram, word_piece

from tlx.runtime.errors import DataError, FolderError, UsageError

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
ODD = [
    "😀🎉 🏳️‍🌈 👩‍👩‍👧",
    "请帮我取消信用卡",
    "Ünïcödé naïve café — “quotes”",
    "e\u0301 n\u0303 combining \u0301",
    "مرحبا بالعالم",
    "line one\nline two\ttab\r\n",
    "http://example.org/?q=1&r=2 user@example.org",
    "don't  won't ' s , . ? ! can ' t he 's",
    "   ",
    "",
    "\u200b\u00a0\ufeff",
    "ＦＵＬＬ　ｗｉｄｔｈ ﬁne",
    "[PAD] [CLS] <s> </s> <pad> [UNK] <unk> ##ing ▁a Ġb",
]


def checkpoint(kind: str, path: Path) -> Path:
    import torch
    from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

    torch.manual_seed(3)
    if kind == "word pieces":
        tokenizer = word_piece()
        tokenizer.clean_up_tokenization_spaces = True
        config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.3, **SIZES)
        model: Any = BertForMaskedLM(config)
    else:
        tokenizer = byte_pairs() if kind == "byte pairs" else unigram()
        places: dict[str, Any] = {"max_position_embeddings": 66, "pad_token_id": 1, "initializer_range": 0.3}
        model = RobertaForMaskedLM(RobertaConfig(vocab_size=len(tokenizer), **places, **SIZES))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Exported folders (fp32 and int8) of tiny random models, one a kind of tokenizer."""
    from tlx.export.config import ExportConfig
    from tlx.export.export import export

    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            path = checkpoint(kind, tmp_path_factory.mktemp("filling") / "model")
            lines = path.parent / "lines.txt"
            lines.write_text("\n".join(TEXTS), encoding="utf-8")
            export(path, config=ExportConfig(data=lines, precisions=("int8",), seconds=0, max_drop=1.0, out=None))
            made[kind] = path
        return made[kind]

    return make


KINDS = ("word pieces", "byte pairs", "unigram")


def masked_texts(mask: str, count: int) -> list[str]:
    """Texts with one to three masks, some glued to words, of real words and odd characters."""
    draw = random.Random(7)
    texts = []
    for number in range(count):
        parts = [draw.choice([*TEXTS, *ODD]) for _ in range(draw.randint(1, 2))]
        words = " ".join(parts).split(" ")
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            words.insert(draw.randint(0, len(words)), draw.choice([mask, mask, f"{mask}.", f"un{mask}", f"\n{mask}"]))
        texts.append(" ".join(words) if number % 7 else mask + " ".join(words) * 4)
    return texts


def pipeline(folder: Path) -> Any:
    import transformers

    return transformers.pipeline("fill-mask", model=str(folder), device="cpu")


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected[0], list):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_same(ours, theirs)
        return
    assert [fill["score"] for fill in found] == pytest.approx([fill["score"] for fill in expected], abs=1e-4)
    near = any(abs(a["score"] - b["score"]) < 1e-6 for a, b in zip(expected, expected[1:], strict=False))
    if not near:
        for name in ("token", "token_str", "sequence"):
            assert [fill[name] for fill in found] == [fill[name] for fill in expected]


@pytest.mark.parametrize(("kind", "count"), [("word pieces", 300), ("byte pairs", 250), ("unigram", 250)])
def test_answers_are_those_of_the_pipeline(folders: Callable[[str], Path], kind: str, count: int) -> None:
    from tlx.runtime import load

    folder = folders(kind)
    oracle, model = pipeline(folder), load(folder, "fp32", "cpu", 1)
    inputs = masked_texts(model.task.mask_token, count)
    ids = [len(oracle.tokenizer(text)["input_ids"]) for text in inputs]
    inputs = [text for text, length in zip(inputs, ids, strict=True) if length <= 64]
    assert len(inputs) > 0.75 * count
    for text, answer in zip(inputs, model(inputs), strict=True):
        assert_same(answer, oracle(text))


def test_one_text_and_a_stream_answer_as_many_do(folders: Callable[[str], Path]) -> None:
    from tlx.runtime import load

    model = load(folders("word pieces"), "fp32", "cpu", 1)
    inputs = masked_texts("[MASK]", 12)[1:7]
    many = model(inputs, top_k=3)
    for text, answer in zip(inputs, many, strict=True):
        assert_same(model(text, top_k=3), answer)
    for streamed, answer in zip(model(iter(inputs), top_k=3), many, strict=True):
        assert_same(streamed, answer)


@pytest.mark.parametrize("targets", ["card", ["card", "money", "zzz"], ["card", "the", "[MASK]", "card"]])
@pytest.mark.filterwarnings("ignore:the target")
def test_targets_limit_the_answer_as_in_the_pipeline(folders: Callable[[str], Path], targets: Any) -> None:
    from tlx.runtime import load

    folder = folders("word pieces")
    oracle, model = pipeline(folder), load(folder, "fp32", "cpu", 1)
    for text in ("my [MASK] is in paris", "[MASK] and [MASK]"):
        assert_same(model(text, targets=targets), oracle(text, targets=targets))
        assert_same(model(text, targets=targets, top_k=1), oracle(text, targets=targets, top_k=1))


def test_tokenizer_kwargs_cut_as_in_the_pipeline(folders: Callable[[str], Path]) -> None:
    from tlx.runtime import load

    folder = folders("word pieces")
    oracle, model = pipeline(folder), load(folder, "fp32", "cpu", 1)
    text = "my [MASK] is in paris " + "play some music " * 30
    for kwargs in ({"truncation": True}, {"truncation": True, "max_length": 12, "padding": "max_length"}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is cut, and said once
            assert_same(model(text, tokenizer_kwargs=kwargs), oracle(text, tokenizer_kwargs=kwargs))
            (many,) = model([text], tokenizer_kwargs=kwargs, top_k=2)
        assert_same(many, oracle(text, tokenizer_kwargs=kwargs, top_k=2))


def test_a_target_that_is_no_token_is_told(folders: Callable[[str], Path]) -> None:
    from tlx.runtime import load

    model = load(folders("word pieces"), "fp32", "cpu", 1)
    with pytest.warns(UserWarning, match="'cards' is no token: 'card' stands for it"):
        model("my [MASK]", targets=["cards"])
    with pytest.warns(UserWarning, match="gives no token"), pytest.raises(UsageError, match="no word gives a token"):
        model("my [MASK]", targets=[""])


def test_the_folder_runs_in_optimum_unchanged(folders: Callable[[str], Path]) -> None:
    import transformers
    from optimum.onnxruntime import ORTModelForMaskedLM

    from tlx.runtime import load

    folder = folders("byte pairs")
    ort = ORTModelForMaskedLM.from_pretrained(folder, subfolder="onnx", file_name="model.onnx")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    oracle = transformers.pipeline("fill-mask", model=ort, tokenizer=tokenizer)
    model = load(folder, "fp32", "cpu", 1)
    for text in ("please <mask> my card", "<mask> is <mask>!"):
        assert_same(model(text), oracle(text))


@pytest.mark.parametrize("place", [0, 40, 99, 160, 199])
def test_a_long_text_is_read_around_its_mask(folders: Callable[[str], Path], place: int) -> None:
    from tlx.runtime import load
    from tlx.runtime.engine import TruncationWarning

    model = load(folders("word pieces"), "fp32", "cpu", 1)
    words = ["card"] * place + ["[MASK]"] + ["money"] * (200 - place)
    with pytest.warns(TruncationWarning):
        answer = model(" ".join(words))
    text = answer[0]["sequence"].split(" ")
    assert len(text) >= 60
    inside = min(place, 60)
    assert text.count("card") >= min(inside, 29)
    if place <= 40:  # as the pipeline with truncation
        expected = pipeline(folders("word pieces"))(" ".join(words), tokenizer_kwargs={"truncation": True})
        assert_same(answer, expected)


@pytest.mark.filterwarnings("ignore::tlx.runtime.engine.TruncationWarning")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 299), min_size=1, max_size=12, unique=True), st.integers(100, 300))
def test_windows_hold_every_mask_once(folders: Callable[[str], Path], places: Sequence[int], length: int) -> None:
    tokens, task, mask = opened(folders("word pieces"))
    words = ["[MASK]" if i in places else "card" for i in range(length)]
    count = words.count("[MASK]")
    if not count:
        return
    encoded = task.encode(tokens, [" ".join(words)])
    assert sum(len(note.at) for note in encoded.notes) == count
    for row, note in zip(encoded.rows, encoded.notes, strict=True):
        assert len(row) == 64
        assert (row[note.at] == mask).all()
        assert row[0] == 2
        assert row[-1] == 3
    assert encoded.truncated == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.text(max_size=5), st.sampled_from(KINDS))
def test_any_unicode_is_answered(folders: Callable[[str], Path], before: str, after: str, kind: str) -> None:
    from tlx.runtime import load

    if any("\ud800" <= c <= "\udfff" for c in after):
        return
    model = _loaded.setdefault(kind, load(folders(kind), "fp32", "cpu", 1))
    answer = model(f"{before} {model.task.mask_token} {after}")
    fills = answer if isinstance(answer[0], dict) else answer[0]
    scores = [fill["score"] for fill in fills]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0
    assert max(scores) <= 1.0001


_loaded: dict[str, Any] = {}


def opened(folder: Path) -> tuple[Any, Any, int]:
    from tlx.runtime.folder import open_folder
    from tlx.runtime.tasks import task_named
    from tlx.runtime.tokens import open_tokens

    manifest = open_folder(folder).manifest
    task: Any = task_named("fill-mask").from_manifest(manifest)
    tokens = open_tokens((folder / "tokenizer.json").read_bytes(), manifest.max_tokens, "tokenizer.json", task)
    return tokens, task, int(tokens.tokenizer.token_to_id(task.mask_token))


def test_figures_are_torchs_cross_entropy_of_the_masked_tokens(folders: Callable[[str], Path], tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForMaskedLM

    from tlx.runtime import load
    from tlx.runtime.evaluate import evaluate
    from tlx.runtime.tasks.filling import FillMask

    folder = folders("unigram")
    lines = tmp_path / "lines.txt"
    lines.write_text("\n\n".join([*TEXTS, " ".join(TEXTS * 3)]), encoding="utf-8")
    examples = FillMask.read(lines, {})
    found = evaluate(load(folder, "fp32", "cpu", 1), examples)["metrics"]
    tokens, task, mask = opened(folder)
    encoded = task.encode(tokens, examples.inputs)
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    logits, gold = [], []
    for row, note in zip(encoded.rows, encoded.notes, strict=True):
        with torch.inference_mode():
            logits.append(model(torch.from_numpy(row)[None]).logits[0][row == mask])
        gold.append(torch.from_numpy(note.gold))
    every, target = torch.cat(logits), torch.cat(gold)
    loss = torch.nn.functional.cross_entropy(every, target)
    assert found["pseudo_perplexity"] == pytest.approx(float(loss.exp()), rel=1e-3)
    assert found["token_accuracy"] == pytest.approx(float((every.argmax(-1) == target).float().mean()))


def test_masks_do_not_depend_on_the_other_texts(folders: Callable[[str], Path]) -> None:
    tokens, task, _ = opened(folders("word pieces"))
    inputs = [(text,) for text in TEXTS]
    whole = task.encode(tokens, inputs).rows
    alone = [task.encode(tokens, [item]).rows[0] for item in reversed(inputs)]
    for one, other in zip(whole, reversed(alone), strict=True):
        assert np.array_equal(one, other)


def test_a_mask_that_the_scored_text_itself_holds_is_not_counted(folders: Callable[[str], Path]) -> None:
    tokens, task, _ = opened(folders("word pieces"))
    note = task.encode(tokens, [("cancel [MASK] card please",)]).notes[0]
    assert len(note.at) == 2
    assert (note.gold == -100).sum() == 1


def test_texts_to_be_timed_have_a_mask() -> None:
    from tlx.runtime.tasks.filling import FillMask

    assert FillMask(mask_token="[MASK]").asked([("a b",), "a [MASK]", "c"]) == ["[MASK] a b", "a [MASK]", "[MASK] c"]


def test_a_text_without_mask_names_the_mask_token(folders: Callable[[str], Path]) -> None:
    from tlx.runtime import load

    model = load(folders("byte pairs"), "fp32", "cpu", 1)
    with pytest.raises(UsageError, match="'no mask' has no mask token: write <mask> where a word is wanted"):
        model("no mask")
    with pytest.raises(UsageError, match="found a int: wanted str with the mask token <mask>"):
        model([3])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"top_k": 0}, "top_k is 0: wanted a whole number from 1"),
        ({"top_k": None}, "top_k is None"),
        ({"topk": 1}, "fill-mask has no option 'topk': say top_k"),
        (
            {"tokenizer_kwargs": {"stride": 1}},
            "tokenizer_kwargs holds 'stride': it may hold truncation, max_length and",
        ),
        ({"tokenizer_kwargs": {"truncation": False}}, "truncation is False: wanted True"),
        ({"targets": []}, "wanted a word or a list of words"),
        ({"targets": [1]}, "wanted a word or a list of words"),
        ({"top": 1}, "fill-mask has no option 'top': it has top_k, targets, tokenizer_kwargs"),
    ],
)
def test_wrong_options_are_named(folders: Callable[[str], Path], options: dict[str, Any], told: str) -> None:
    from tlx.runtime import load

    model = load(folders("word pieces"), "fp32", "cpu", 1)
    with pytest.raises(UsageError, match=told):
        model(["a [MASK]"], **options)


def test_faults_of_data_name_file_and_line(tmp_path: Path) -> None:
    from tlx.runtime.tasks.filling import FillMask

    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "good"}\n{"text": 5}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"data.jsonl line 2: column 'text' holds a int: wanted a text"):
        FillMask.read(path, {})
    path.write_text('{"text": "good"}\n{"text": \n', encoding="utf-8")
    with pytest.raises(DataError, match=r"data.jsonl line 2 is not valid JSON"):
        FillMask.read(path, {})
    path.write_text('{"text": " "}\n', encoding="utf-8")
    with pytest.raises(DataError, match="holds no text: wanted at least one"):
        FillMask.read(path, {})


def test_a_model_without_mask_token_is_refused(folders: Callable[[str], Path]) -> None:

    from tlx.runtime.folder import open_folder
    from tlx.runtime.tasks.filling import FillMask

    manifest = open_folder(folders("unigram")).manifest
    with pytest.raises(FolderError, match="names no mask token: it cannot fill masks"):
        FillMask.from_manifest(manifest._replace(settings={}))
