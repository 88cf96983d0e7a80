"""The predictor against transformers.pipeline, and what it promises beyond it."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.runtime.varied import varied_texts

from tlx.runtime import Predictor, TruncationWarning, UsageError, engine, load
from tlx.runtime.tasks import TASKS, task_named

WORDS = "please cancel my card play some music unknownword turn off lights paris é 7 ! 🙂".split()  # noqa: SIM905


def make_texts(count: int, longest: int = 5) -> list[str]:
    chooser = random.Random(0)
    return [" ".join(chooser.choices(WORDS, k=chooser.randint(1, longest))) for _ in range(count)]


@pytest.fixture(scope="module")
def predictor(tiny_folder: Path) -> Predictor:
    return load(tiny_folder, threads=2)


@pytest.fixture(scope="module")
def multi_label(tiny_multi_label_folder: Path) -> Predictor:
    return load(tiny_multi_label_folder, threads=2)


@cache
def pipeline(folder: Path) -> Any:
    from transformers import pipeline as make

    return make("text-classification", model=str(folder), device="cpu")


def assert_same(answers: Any, expected: Any) -> None:
    """The same nesting, labels and order, scores within 1e-4."""
    assert type(answers) is type(expected)
    if isinstance(answers, dict):
        assert answers["label"] == expected["label"]
        assert answers["score"] == pytest.approx(expected["score"], abs=1e-4)
        return
    assert len(answers) == len(expected)
    for answer, other in zip(answers, expected, strict=True):
        assert_same(answer, other)


@pytest.mark.parametrize("options", [{}, {"top_k": 1}, {"top_k": 3}, {"top_k": 99}, {"top_k": None}])
@pytest.mark.parametrize("fixture", ["tiny_folder", "tiny_multi_label_folder"])
def test_answers_are_those_of_transformers_pipeline(
    fixture: str, options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(fixture)
    predictor, oracle = load(folder), pipeline(folder)
    texts = [*make_texts(15), "", "🙂🙂🙂", "play"]
    assert_same(predictor(texts, **options), oracle(texts, **options))
    assert_same(predictor(texts[0], **options), oracle(texts[0], **options))
    assert_same(list(predictor(iter(texts[:6]), **options)), list(oracle((text for text in texts[:6]), **options)))


@pytest.mark.parametrize("fixture", ["tiny_folder", "tiny_multi_label_folder"])
def test_answers_to_many_texts_of_all_kinds_are_the_pipelines(fixture: str, request: pytest.FixtureRequest) -> None:
    folder, texts = request.getfixturevalue(fixture), varied_texts(520)
    expected = pipeline(folder)(texts, truncation=True, top_k=None)
    with pytest.warns(TruncationWarning):
        answers = load(folder)(texts, truncation=True, top_k=None)
    assert_same(answers, expected)


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none", "SIGMOID"])
@pytest.mark.parametrize("top_k", [{}, {"top_k": None}])
@pytest.mark.parametrize("fixture", ["tiny_folder", "tiny_multi_label_folder"])
def test_function_to_apply_makes_the_scores_of_the_pipeline(
    fixture: str, top_k: dict[str, Any], function: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(fixture)
    predictor, oracle = load(folder), pipeline(folder)
    for texts in (make_texts(10), "play some music"):
        expected = oracle(texts, function_to_apply=function, **top_k)
        assert_same(predictor(texts, function_to_apply=function, **top_k), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"truncation": True, "max_length": 8},
        {"truncation": "longest_first", "max_length": 9, "padding": "max_length", "batch_size": 4},
        {"truncation": "only_first", "max_length": 5, "top_k": 2, "num_workers": 0},
        {"truncation": True, "padding": True},
    ],
)
def test_keywords_of_the_tokenizer_cut_as_in_the_pipeline(tiny_folder: Path, options: dict[str, Any]) -> None:
    predictor, oracle = load(tiny_folder), pipeline(tiny_folder)
    texts = make_texts(30, longest=20)
    assert_same(predictor(texts, **options), oracle(texts, **options))
    assert_same(predictor(texts[0], **options), oracle(texts[0], **options))
    assert_same(list(predictor(iter(texts), **options)), list(oracle((text for text in texts), **options)))
    assert (predictor.truncated > 20) == ("max_length" in options)
    assert_same(predictor(texts), oracle(texts))  # the other calls are cut as ever


def test_a_dict_gives_a_dict_as_in_the_pipeline(tiny_folder: Path) -> None:
    predictor, oracle = load(tiny_folder), pipeline(tiny_folder)
    assert_same(predictor({"text": "play"}), oracle({"text": "play"}))
    assert_same(predictor([{"text": "play"}]), oracle([{"text": "play"}]))
    assert_same(predictor({"text": "play"}, top_k=2), oracle({"text": "play"}, top_k=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truncation": False}, "truncation is False: wanted True or 'only_first'; what is longer"),
        ({"truncation": "only_second"}, "truncation is 'only_second': wanted True"),
        ({"max_length": 65}, "max_length is 65: the model reads 64 tokens; choose at most that"),
        ({"max_length": 0}, "max_length is 0: wanted a whole number from 1"),
        ({"max_length": 2}, "rows of 2 tokens leave no room beside the 2 special ones: allow more tokens"),
        ({"function_to_apply": "relu"}, "function_to_apply is 'relu': choose one of softmax, sigmoid, none"),
        ({"return_all_scores": True}, "has no option 'return_all_scores': say top_k=None"),
        ({"text_pair": "b"}, "has no option 'text_pair': give both texts, as a tuple or a dict, to a model that reads"),
    ],
)
def test_keywords_that_are_not_honoured_say_what_is(
    predictor: Predictor, options: dict[str, Any], message: str
) -> None:
    for texts in ("play", ["play"], {"text": "play"}):
        with pytest.raises(UsageError, match=message):
            predictor(texts, **options)


def test_calls_that_cut_otherwise_share_the_predictor_with_others(tiny_folder: Path) -> None:
    predictor, texts = load(tiny_folder), make_texts(60, longest=20)
    lengths = [*range(4, 12), 64] * 3
    expected = {length: predictor(texts, max_length=length) for length in set(lengths)}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda length: predictor(texts, max_length=length), lengths))
    assert found == [expected[length] for length in lengths]


def test_long_texts_are_cut_as_transformers_cuts_them(tiny_folder: Path) -> None:
    texts = ["music " * 500, "play " + "é" * 300, "short"]
    predictor = load(tiny_folder)
    with pytest.warns(TruncationWarning, match="64 tokens"):
        answers = predictor(texts)
    assert_same(answers, pipeline(tiny_folder)(texts, truncation=True))


def test_truncated_texts_are_counted_and_warned_about_once(tiny_folder: Path) -> None:
    predictor = load(tiny_folder)
    predictor("music " * 62)  # with [CLS] and [SEP] exactly the limit
    assert predictor.truncated == 0
    with pytest.warns(TruncationWarning):
        predictor("music " * 63)
    predictor(["music " * 100] * 3)  # a second warning would be an error here
    assert predictor.truncated == 4


def test_token_ids_are_those_of_transformers(tiny_folder: Path, predictor: Predictor) -> None:
    from transformers import AutoTokenizer

    texts = [*make_texts(50, longest=90), "", "[CLS] in the text", "a\tb\nc", "ﬁ ﷺ ½"]
    expected = AutoTokenizer.from_pretrained(tiny_folder)(texts, truncation=True, max_length=64)["input_ids"]
    ids, _ = predictor._engine.tokens.encode_many(texts)
    assert [row.tolist() for row in ids] == expected
    assert [ids.tolist() for text in texts for ids in predictor._engine.tokens.encode_many([text])[0]] == expected


def test_many_texts_on_workers_keep_the_callers_order(predictor: Predictor) -> None:
    texts = make_texts(5000)
    logits = predictor.logits(texts)
    assert predictor._engine._workers is not None
    rows = range(0, 5000, 97)
    alone = np.concatenate([predictor.logits([texts[row]]) for row in rows])
    np.testing.assert_allclose(logits[rows], alone, atol=1e-4)


def test_one_thread_gives_the_same_logits(tiny_folder: Path, predictor: Predictor) -> None:
    texts = make_texts(300)
    np.testing.assert_allclose(load(tiny_folder, threads=1).logits(texts), predictor.logits(texts), atol=1e-4)


def test_without_a_padding_token_only_equal_lengths_share_a_batch(tiny_folder: Path, predictor: Predictor) -> None:
    from dataclasses import replace

    texts = make_texts(200)
    other = load(tiny_folder)
    other._engine.tokens = replace(other._engine.tokens, pad_id=None)
    np.testing.assert_allclose(other.logits(texts), predictor.logits(texts), atol=1e-4)


def test_a_generator_gives_a_generator_that_reads_as_its_answers_are_taken(predictor: Predictor) -> None:
    read = 0

    def source() -> Iterator[str]:
        nonlocal read
        for text in make_texts(100_000, longest=1):
            read += 1
            yield text

    answers = predictor(source())
    assert read == 0
    first = next(answers)
    assert set(first) == {"label", "score"}
    assert read == 1
    for _ in range(20):
        next(answers)
    assert read == 21


def test_many_threads_get_the_answers_of_one(predictor: Predictor) -> None:
    texts = make_texts(200)
    expected = [predictor(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(predictor, texts)) == expected
        lists = list(pool.map(predictor, [texts] * 8))
    assert all(item == lists[0] for item in lists)


def test_a_megabyte_and_an_empty_list_are_answered(tiny_folder: Path) -> None:
    predictor = load(tiny_folder)
    with pytest.warns(TruncationWarning):
        assert len(predictor("x y " * 250_000)) == 1
    assert predictor([]) == []
    assert predictor.logits([]).shape == (0, 4)


def test_threshold_gives_the_labels_over_their_thresholds_best_first(multi_label: Predictor) -> None:
    thresholds = dict(zip(multi_label.manifest.labels, multi_label.manifest.settings["thresholds"], strict=True))
    texts = make_texts(100)
    chosen = multi_label(texts, top_k="threshold")
    for answer, every in zip(chosen, multi_label(texts, top_k=None), strict=True):
        assert answer == [item for item in every if item["score"] >= thresholds[item["label"]]]
    assert {len(answer) for answer in chosen} > {1, 2}
    assert_same(multi_label(texts[0], top_k="threshold"), chosen[0])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["fine", 3.5], r"input 1 \(from 0\): found a float: wanted str"),
        (["fine", None], r"input 1 \(from 0\): found a NoneType"),
        (b"bytes", "found a bytes: wanted str, a list"),
        ({"question": "a"}, "found 'question': this model reads 'text' alone"),
        (7, "found a int: wanted str"),
        ({"fine"}, "found a set: wanted str"),
        (np.array("fine"), "found a ndarray that holds no items"),
        (
            SimpleNamespace(columns=["text"]),
            r"found a SimpleNamespace: give one of its columns, as in model\(table\['text'\]\)",
        ),
        ("a lone \ud800 surrogate", "lone surrogate"),
        (["fine"] * 20 + ["\ud800"], "lone surrogate"),
    ],
)
def test_what_is_no_text_is_refused(predictor: Predictor, texts: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predictor(texts)


@pytest.mark.parametrize("top_k", [0, -1, 2.0, True, "all"])
def test_a_top_k_that_is_none_is_refused_at_the_call(predictor: Predictor, top_k: Any) -> None:
    for texts in ("play", ["play"], iter(["play"])):
        with pytest.raises(UsageError, match="top_k is .*: wanted a whole number from 1"):
            predictor(texts, top_k=top_k)


def test_numbers_of_numpy_are_numbers(predictor: Predictor) -> None:
    assert predictor("play", top_k=np.int64(2), max_length=np.int32(8)) == predictor("play", top_k=2, max_length=8)


def test_the_folder_is_found_whatever_the_current_one_is(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_folder.parent)
    texts = [f"play {n} songs" for n in range(600)]
    monkeypatch.setattr(engine, "SMALL_BYTES", 0)
    model = load(tiny_folder.name, threads=2)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(model(texts)) == len(texts)


def test_an_option_that_the_task_lacks_is_refused(predictor: Predictor) -> None:
    with pytest.raises(UsageError, match="has no option 'topk': say top_k"):
        predictor(["play"], topk=3)


@pytest.mark.parametrize("name", TASKS)
def test_the_page_of_the_tasks_names_every_keyword_of_a_call(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    table = page.partition("| task | keywords |")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines() if "|" in line]
    (keywords,) = [cells[2] for cells in rows if name in re.split("[ ,]+", cells[1])]
    task = task_named(name)
    assert {*(task.answers.__kwdefaults__ or {}), *(task.limited.__kwdefaults__ or {})} <= {
        *re.findall(r"`(\w+)", keywords)
    }


FORKED = """
import os, signal, sys
import tlx.runtime.engine
from tlx.runtime import UsageError, load
tlx.runtime.engine.SMALL_BYTES = int(sys.argv[2])
model = load(sys.argv[1], "fp32", "cpu", 2)
texts = ["play some music", "wake me up"] * 2000
expected = model(texts)
if os.fork() == 0:
    signal.alarm(60)
    try:
        print(model(texts) == expected, flush=True)
    except UsageError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize(
    ("small_bytes", "told"), [(4_000_000, "True"), (0, "was loaded before this process was forked")]
)
def test_a_forked_process_answers_or_says_why_not(small_bytes: int, told: str, tiny_folder: Path) -> None:
    command = [sys.executable, "-c", FORKED, str(tiny_folder), str(small_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert told in done.stdout
