"""question-answering from checkpoint to answer: transformers.pipeline and ORTModelForQuestionAnswering are the oracles."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.families.tokenizers import TEXTS, byte_pairs, unigram, word_piece
from tests.marks import with_marks

from tlx.runtime.errors import UsageError

pytestmark = [
    pytest.mark.filterwarnings("ignore::tlx.runtime.engine.TruncationWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # transformers' pipeline
]
SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
KINDS: dict[str, Callable[[], Any]] = {"word pieces": word_piece, "byte pairs": byte_pairs, "unigram": unigram}
PIECES = [
    *(word for text in TEXTS for word in text.split()),
    *(
        "😀",
        "🏳️‍🌈",
        "👩‍👩‍👧",
        "e\u0301",
        "n\u0303o\u0304",
        "\u0301",
        "中文",
        "信用卡",
        "請",
        "مرحبا",
        "بالعالم",
        "שלום",
        "\t",
    ),
    *(
        "\n",
        "\r\n",
        "\u200b",
        "\u00a0",
        "İstanbul",
        "ﬁne",
        "ＦＵＬＬ",
        "don't",
        "e-mail",
        "(US$",
        "12.50)",
        "Card",
        "CARD",
        "[SEP]",
    ),
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"top_k": 4},
    {"align_to_words": False},
    {"handle_impossible_answer": True, "top_k": 2},
    {"max_answer_len": 3, "top_k": 2, "align_to_words": False},
]


def checkpoint(kind: str, path: Path) -> Path:
    import torch
    from transformers import BertConfig, BertForQuestionAnswering, RobertaConfig, RobertaForQuestionAnswering

    torch.manual_seed(5)
    tokenizer = KINDS[kind]()
    shared: dict[str, Any] = {"vocab_size": len(tokenizer), "initializer_range": 0.3, **SIZES}
    model: Any
    if kind == "word pieces":
        model = BertForQuestionAnswering(BertConfig(max_position_embeddings=64, **shared))
    else:
        model = RobertaForQuestionAnswering(RobertaConfig(max_position_embeddings=66, pad_token_id=1, **shared))
    model.eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Exported folders (fp32 and int8) of tiny random models with windows of 64 tokens, one a kind of tokenizer."""
    from tlx.export.config import ExportConfig
    from tlx.export.export import export

    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            path = checkpoint(kind, tmp_path_factory.mktemp("answering") / "model")
            export(path, config=ExportConfig(precisions=("int8",), seconds=0, max_drop=1.0, out=None))
            made[kind] = path
        return made[kind]

    return make


def pairs(tokenizer: Any, count: int, seed: int) -> list[tuple[str, str]]:
    """Short questions (the pipeline panics where they leave no window), contexts of 1 to 70 pieces."""
    chance = random.Random(seed)
    found: list[tuple[str, str]] = []
    while len(found) < count:
        question = " ".join(chance.choices(PIECES, k=chance.randint(1, 3)))
        context = " ".join(chance.choices(PIECES, k=chance.choice([1, 2, 5, 5, 10, 10, 20, 70])))
        if question.strip() and len(tokenizer(question, add_special_tokens=False)["input_ids"]) < 10:
            found.append((question, context))
    return found


def marked(answers: Any, context: str, tokenizer: Any) -> list[Any]:
    """The pipeline's answers with the combining marks that it cuts off; it gives a lone answer without its list."""
    offsets = tokenizer(context, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    begins, found = {start for start, _ in offsets}, []
    for answer in [answers] if isinstance(answers, dict) else answers:
        end = with_marks(context, answer["end"], begins) if answer["answer"] else answer["end"]
        found.append({**answer, "end": end, "answer": context[answer["start"] : end]})
    return found


def mixes(answers: Any, context: str) -> bool:
    """Whether the pipeline may have added up spans that are not the same: it cuts the mark off "e\u0301", which then is an "e"."""
    for answer in [answers] if isinstance(answers, dict) else answers:
        text, found = answer["answer"].lower(), context.lower()
        ends = [at + len(text) for at in range(len(found)) if text and found.startswith(text, at)]
        if len(ends) > 1 and any(unicodedata.category(found[end : end + 1] or " ").startswith("M") for end in ends):
            return True
    return False


def same(mine: Any, theirs: Any) -> bool:
    """Equal up to the spans of score 0 that the pipeline makes of special tokens and reversed ends where there are few
    candidates; and it gives a lone answer without its list."""
    mine = [mine] if isinstance(mine, dict) else mine
    theirs = [theirs] if isinstance(theirs, dict) else theirs
    mine, theirs = ([answer for answer in answers if answer["score"] > 0] for answers in (mine, theirs))
    return len(mine) == len(theirs) and all(
        a["score"] == pytest.approx(b["score"], abs=1e-4)
        and (a["answer"], a["start"], a["end"]) == (b["answer"], b["start"], b["end"])
        for a, b in zip(mine, theirs, strict=True)
    )


def assert_answers_are_the_pipelines(model: Any, oracle: Any, asked: list[tuple[str, str]]) -> None:
    """Each of OPTIONS is asked about a share of the pairs."""
    for number, options in enumerate(OPTIONS):
        part = asked[number :: len(OPTIONS)]
        for pair, answer in zip(part, model(part, **options), strict=True):
            raw = oracle(question=pair[0], context=pair[1], **options)
            theirs = marked(raw, pair[1], oracle.tokenizer)
            assert mixes(raw, pair[1]) or same(answer, theirs), (pair, options, answer, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_the_pipeline(folders: Callable[[str], Path], kind: str) -> None:
    import transformers

    from tlx.runtime import load

    path = folders(kind)
    oracle = transformers.pipeline("question-answering", model=str(path), device="cpu")
    model = load(path, "fp32", "cpu", 1)
    asked = pairs(oracle.tokenizer, 170, seed=2)
    assert sum(len(model.run([pair]).encoded.rows) > 2 for pair in asked) > 20
    assert_answers_are_the_pipelines(model, oracle, asked)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_folder_answers_in_optimum_as_here(folders: Callable[[str], Path], kind: str) -> None:
    import transformers
    from optimum.onnxruntime import ORTModelForQuestionAnswering

    from tlx.runtime import load

    path = folders(kind)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    asked = pairs(tokenizer, 12, seed=3)
    for variant, file in (("fp32", "model.onnx"), ("int8", "model_quantized.onnx")):
        ort = ORTModelForQuestionAnswering.from_pretrained(path, subfolder="onnx", file_name=file)
        oracle = transformers.pipeline("question-answering", model=ort, tokenizer=tokenizer)
        model = load(path, variant, "cpu", 1)
        for question, context in asked:
            # int8 activations are scaled over the batch, and the pipeline runs windows one by one.
            if variant == "fp32" or len(model.run([(question, context)]).encoded.rows) == 1:
                raw = oracle(question=question, context=context)
                theirs = marked(raw, context, tokenizer)
                assert mixes(raw, context) or same(model(question=question, context=context), theirs)


@pytest.mark.parametrize(
    "options",
    [
        {"max_seq_len": 32},
        {"max_seq_len": 40, "doc_stride": 4, "top_k": 3},
        {"doc_stride": 0, "padding": True, "max_question_len": 8, "batch_size": 2},
        {"doc_stride": 40, "handle_impossible_answer": True},
    ],
)
def test_windows_are_cut_as_the_pipeline_cuts_them(folders: Callable[[str], Path], options: dict[str, Any]) -> None:
    import transformers

    from tlx.runtime import load

    path = folders("word pieces")
    oracle = transformers.pipeline("question-answering", model=str(path), device="cpu")
    model = load(path, "fp32", "cpu", 1)
    asked = [pair for pair in pairs(oracle.tokenizer, 60, seed=7) if len(pair[1]) > 40][:15]
    assert len(model.run(asked).encoded.rows) > len(asked)
    for pair, answer in zip(asked, model(asked, **options), strict=True):
        raw = oracle(question=pair[0], context=pair[1], **options)
        if mixes(raw, pair[1]):
            continue
        theirs = marked(raw, pair[1], oracle.tokenizer)
        assert same(answer, theirs), (pair, options, answer, theirs)
        alone = model({"question": pair[0], "context": pair[1]}, **options)
        assert same(alone, theirs), (pair, options, alone, theirs)


ANY_TEXT = st.text(max_size=120)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=ANY_TEXT, context=ANY_TEXT | ANY_TEXT.map(lambda text: text * 4), align=st.booleans())
@pytest.mark.parametrize("kind", KINDS)
def test_offsets_are_of_the_callers_own_context(
    folders: Callable[[str], Path], predictors: dict[str, Any], kind: str, question: str, context: str, align: bool
) -> None:
    from tlx.runtime import load

    if kind not in predictors:
        predictors[kind] = load(folders(kind), "fp32", "cpu", 1)
    for answer in predictors[kind]((question, context), top_k=6, align_to_words=align):
        assert 0 <= answer["start"] <= answer["end"] <= len(context)
        assert answer["answer"] == context[answer["start"] : answer["end"]]
        assert answer["score"] >= 0


@pytest.fixture(scope="session")
def predictors() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("options", [{}, {"align_to_words": False}, {"max_answer_len": 1}])
def test_an_answer_does_not_end_before_the_accent_of_its_last_letter(
    folders: Callable[[str], Path], options: dict[str, Any]
) -> None:
    """transformers cuts the accent off, where the tokenizer strips accents: its answer for "Jose\u0301" is "Jose"."""
    import transformers

    from tlx.runtime import load

    path, pair = folders("word pieces"), ("Who?", "cafe\u0301\u0323 cafe\u0301")
    model = load(path, "fp32", "cpu", 1)
    oracle = transformers.pipeline("question-answering", model=str(path), device="cpu")
    theirs = oracle(question=pair[0], context=pair[1], top_k=3, **options)
    assert any(answer["end"] in (4, 11) for answer in theirs)
    for answer in model(pair, top_k=3, **options):
        assert answer["end"] in (6, 12)
        assert answer["answer"] == pair[1][answer["start"] : answer["end"]]


def test_a_question_that_leaves_no_room_is_cut_and_counted(folders: Callable[[str], Path]) -> None:
    from tlx.runtime import load

    model = load(folders("word pieces"), "fp32", "cpu", 1)
    fits = ("what is the weather " * 7, "in paris")
    assert model(fits)["answer"]
    assert model.truncated == 0
    for question in ("what is the weather " * 40, "信用卡" * 40):
        outputs = model.run([(question, "turn off the lights in the kitchen " * 20)])
        assert max(map(len, outputs.encoded.rows)) <= 64
        assert len(outputs.encoded.rows) > 2
    assert model.truncated == 2


def test_a_context_without_words_has_no_answer(folders: Callable[[str], Path]) -> None:
    from tlx.runtime import load

    model = load(folders("word pieces"), "fp32", "cpu", 1)
    nothing = {"score": 0.0, "start": 0, "end": 0, "answer": ""}
    assert model([("why?", ""), ("why?", " \t"), ("", "")]) == [nothing] * 3
    assert model(("why?", ""), top_k=3) == []


def test_no_token_of_the_question_is_an_answer(folders: Callable[[str], Path]) -> None:
    """The pipeline unmasks a <s> that stands in the question, and may give its place there as one in the context."""
    from tlx.runtime import load

    model = load(folders("byte pairs"), "fp32", "cpu", 1)
    window = (model.run([("why <s> not", "in paris")]).encoded.notes or [])[0]
    tokens = len(model.run([("", "in paris")]).encoded.rows[0]) - 4
    assert len(window.spans) == tokens
    assert window.spans.tolist()[0][0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k is 0: wanted a whole number from 1"),
        ({"top_k": None}, "top_k is None"),
        ({"max_answer_len": -1}, "max_answer_len is -1"),
        ({"topk": 2}, "question-answering has no option 'topk': say top_k"),
        ({"max_seq_len": 65}, "max_seq_len is 65: the model reads 64 tokens; choose at most that"),
        (
            {"max_seq_len": 20, "doc_stride": 18},
            "leave no room beside the 3 special ones and the 18 that windows share",
        ),
        ({"doc_stride": -1}, "doc_stride is -1: wanted a whole number from 0"),
        ({"stride": 5}, "question-answering has no option 'stride': it has top_k, max_answer_len"),
    ],
)
def test_wrong_options_are_refused(folders: Callable[[str], Path], options: dict[str, Any], message: str) -> None:
    from tlx.runtime import load

    model = load(folders("word pieces"), "fp32", "cpu", 1)
    for given_ in (("who", "me"), [("who", "me")]):
        with pytest.raises(UsageError, match=message):
            model(given_, **options)


def test_the_threshold_moves_the_choice_of_no_answer(folders: Callable[[str], Path]) -> None:
    from dataclasses import replace

    from tlx.runtime import load

    model = load(folders("word pieces"), "fp32", "cpu", 1)
    outputs = model.run([("what weather", "the weather in paris")])
    task = replace(model.task, no_answer=True)
    ranked = task.answer(outputs, top_k=12)
    never, always = (replace(task, null_threshold=t).answer(outputs) for t in (50.0, -50.0))
    assert [a["score"] for a in ranked] == sorted((a["score"] for a in ranked), reverse=True)
    assert never == next(a for a in ranked if a["answer"])
    assert always == next(a for a in ranked if not a["answer"])
    assert replace(task, null_threshold=-50.0).answer(outputs, handle_impossible_answer=False) == never
