"""Scores of texts and pairs: against transformers.pipeline, their files, their metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.conftest import save_folder, tiny_classifier
from tests.runtime.varied import varied_pairs, varied_texts

from tlx.runtime import DataError, UsageError, load
from tlx.runtime.examples import Examples
from tlx.runtime.folder import MANIFEST, write_atomically
from tlx.runtime.metrics import average_ranks, pearson, spearman
from tlx.runtime.tasks import guess_task, task_named
from tlx.runtime.tasks.classification import TextClassification
from tlx.runtime.tasks.regression import Regression
from tlx.runtime.tasks.task import Encoded, Outputs

pytestmark = pytest.mark.filterwarnings("ignore::tlx.runtime.TruncationWarning")


def given_values(*values: float) -> Outputs:
    return Outputs([""] * len(values), Encoded([]), np.array(values, dtype=np.float32)[:, None])


def gold(*scores: float) -> Examples:
    return Examples(source="test.csv", inputs=[""] * len(scores), gold=list(scores))


def save_regression(folder: Path, *, pair: bool, problem_type: str | None = "regression") -> Path:
    model = tiny_classifier(("LABEL_0",), seed=3)
    model.config.problem_type = problem_type
    saved = save_folder(model, folder, pair=pair, sigmoid=problem_type != "regression")
    write_atomically(folder / MANIFEST, saved.manifest._replace(task="regression", labels=()).to_json())
    return folder


def pipeline(folder: Path) -> Any:
    from transformers import pipeline as make

    return make("text-classification", model=str(folder), device="cpu")


def as_pipeline_inputs(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"text": a, "text_pair": b} for a, b in pairs]


@pytest.mark.parametrize("problem_type", ["regression", None])
def test_scores_of_500_pairs_are_those_of_transformers_pipeline(tmp_path: Path, problem_type: str | None) -> None:
    folder = save_regression(tmp_path / "model", pair=True, problem_type=problem_type)
    pairs = varied_pairs(500)
    answers, expected = load(folder)(pairs), pipeline(folder)(as_pipeline_inputs(pairs), truncation=True)
    np.testing.assert_allclose([a["score"] for a in answers], [e["score"] for e in expected], atol=1e-4)


def test_scores_of_500_texts_are_those_of_transformers_pipeline(tmp_path: Path) -> None:
    folder = save_regression(tmp_path / "model", pair=False)
    texts = ["", *varied_texts(500)]
    predictor, oracle = load(folder), pipeline(folder)
    expected = [item["score"] for item in oracle(texts, truncation=True, function_to_apply="none")]
    np.testing.assert_allclose([a["score"] for a in predictor(texts)], expected, atol=1e-4)
    assert predictor(texts[9]) == {"score": pytest.approx(expected[9], abs=1e-4)}


def test_labels_of_500_pairs_are_those_of_transformers_pipeline(tmp_path: Path) -> None:
    folder = save_folder(tiny_classifier(seed=4), tmp_path / "model", pair=True).path
    pairs = varied_pairs(500)
    answers, expected = (
        load(folder)(pairs, top_k=None),
        pipeline(folder)(as_pipeline_inputs(pairs), truncation=True, top_k=None),
    )
    assert [[one["label"] for one in answer] for answer in answers] == [[one["label"] for one in e] for e in expected]
    scores, others = ([[one["score"] for one in answer] for answer in found] for found in (answers, expected))
    np.testing.assert_allclose(scores, others, atol=1e-4)


@pytest.mark.parametrize("function", ["none", "sigmoid"])
def test_function_to_apply_makes_the_scores_of_the_pipeline(tmp_path: Path, function: str) -> None:
    folder = save_regression(tmp_path / "model", pair=False)
    texts = varied_texts(20)[8:]
    expected = pipeline(folder)(texts, truncation=True, function_to_apply=function)
    answers = load(folder)(texts, function_to_apply=function)
    np.testing.assert_allclose([a["score"] for a in answers], [e["score"] for e in expected], atol=1e-4)


@pytest.mark.parametrize("truncation", [True, "longest_first", "only_first", "only_second"])
def test_pairs_are_cut_as_the_pipeline_cuts_them(tmp_path: Path, truncation: Any) -> None:
    folder = save_regression(tmp_path / "model", pair=True)
    texts = ["play some music", "thanks a lot very much", "what is the weather in paris tomorrow and the day"]
    pairs = [(a, b) for a in texts for b in texts]
    keywords = {"truncation": truncation, "max_length": 18}
    expected = pipeline(folder)(as_pipeline_inputs(pairs), **keywords)
    predictor = load(folder)
    np.testing.assert_allclose(
        [a["score"] for a in predictor(pairs, **keywords)], [e["score"] for e in expected], atol=1e-4
    )
    assert predictor.truncated > 2


def test_a_first_text_that_fills_the_row_alone_is_one_clear_line(tmp_path: Path) -> None:
    predictor = load(save_regression(tmp_path / "model", pair=True))
    with pytest.raises(UsageError, match="an input does not fit 8 tokens .* leave truncation out"):
        predictor(("play some music " * 5, "thanks"), truncation="only_second", max_length=8)


def test_an_empty_second_text_still_makes_a_pair(tmp_path: Path) -> None:
    """transformers.pipeline forgets it (`text_pair` is falsy), and answers as for the first text alone; in a batch of pairs
    its own tokenizer keeps it."""
    from transformers import AutoTokenizer

    folder = save_regression(tmp_path / "model", pair=True)
    encoded = AutoTokenizer.from_pretrained(folder)(["play music"], [""])
    predictor = load(folder)
    rows = predictor.task.encode(predictor._engine.tokens, [("play music", "")])
    assert rows.rows[0].tolist() == encoded["input_ids"][0]
    assert rows.types is not None
    assert rows.types[0].tolist() == encoded["token_type_ids"][0]


def test_a_pair_may_be_a_tuple_a_dict_or_keywords(tmp_path: Path) -> None:
    predictor = load(save_regression(tmp_path / "model", pair=True))
    expected = predictor([("play music", "thanks")])[0]
    assert predictor(("play music", "thanks")) == expected
    assert predictor({"text": "play music", "text_pair": "thanks"}) == expected
    assert predictor(text="play music", text_pair="thanks") == expected
    assert predictor(text=["play music", "stop"], text_pair="thanks") == predictor(
        [("play music", "thanks"), ("stop", "thanks")]
    )
    with pytest.raises(UsageError, match="found 2 text and 1 text_pair: wanted as many of each"):
        predictor(text=["a", "b"], text_pair=["c"])
    with pytest.raises(UsageError, match=r"wanted a tuple \(text, text_pair\) of str"):
        predictor("play music")
    with pytest.raises(UsageError, match="regression has no option 'top_k': an answer is one score"):
        predictor([("a", "b")], top_k=2)


@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_those_of_scipy_also_with_ties(seed: int) -> None:
    from scipy.stats import pearsonr, rankdata, spearmanr

    chooser = np.random.default_rng(seed)
    a, b = chooser.integers(0, 7, size=50) / 2, chooser.normal(size=50).round(1)
    np.testing.assert_allclose(average_ranks(a), rankdata(a))
    assert pearson(a, b) == pytest.approx(pearsonr(a, b).statistic)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)


floats = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(*[arrays(np.float32, n, elements=floats)] * 2)))
def test_correlations_lie_between_minus_one_and_one(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert -1.0 <= pearson(*pair) <= 1.0
    assert -1.0 <= spearman(*pair) <= 1.0


def test_metrics_are_on_the_scale_of_the_answers() -> None:
    metrics = Regression().metrics(given_values(1.0, 2.0, 4.0), gold(1.0, 3.0, 4.0))
    assert metrics["spearman"] == pytest.approx(1.0)
    assert metrics["mse"] == pytest.approx(1 / 3)


def test_a_model_that_gives_one_score_for_all_correlates_with_nothing() -> None:
    metrics = Regression().metrics(given_values(0.1, 0.1, 0.1), gold(1.0, 2.0, 3.0))
    assert (metrics["spearman"], metrics["pearson"]) == (0.0, 0.0)


def test_gold_that_never_changes_is_refused() -> None:
    with pytest.raises(DataError, match=r"test\.csv: every score is 2 \(3 rows\): wanted two different ones"):
        Regression().metrics(given_values(1.0, 2.0, 3.0), gold(2.0, 2.0, 2.0))


def test_a_score_that_moves_by_more_than_a_twentieth_of_the_range_is_a_flip() -> None:
    reference = given_values(0.0, 5.0, 10.0)
    assert Regression().flips(given_values(0.4, 5.6, 10.0), reference) == pytest.approx(1 / 3)
    assert Regression().flips(reference, reference) == 0.0
    assert Regression().flips(given_values(7.0), given_values(7.0)) == 0.0


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_pairs_and_scores_are_read_from_csv_jsonl_and_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"sentence1": "a", "sentence2": "b", "score": 1.5}, {"sentence1": "c", "sentence2": "d", "score": -2.0}]
    sources = [
        written(tmp_path / "x.csv", "sentence1,sentence2,score\na,b,1.5\nc,d,-2\n"),
        written(tmp_path / "x.jsonl", "\n".join(map(json.dumps, rows))),
        tmp_path / "x.parquet",
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sources[2])
    for source in sources:
        examples = Regression.read(source, {})
        assert list(examples.inputs) == [("a", "b"), ("c", "d")]
        assert examples.gold == [1.5, -2.0]
        assert examples.settings == {"pair": True}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("good", r"x\.csv line 3: column 'score' holds 'good': wanted a finite number"),
        ("nan", r"line 3: column 'score' holds 'nan'"),
        ("-inf", r"line 3: column 'score' holds '-inf'"),
        ("1e39", r"line 3: column 'score' holds '1e39'"),
        ("", r"line 3: column 'score' has no score"),
        ("[1]", r"line 3: column 'score' holds '\[1\]'"),
    ],
)
def test_a_score_that_is_no_finite_number_is_refused(tmp_path: Path, cell: str, message: str) -> None:
    source = written(tmp_path / "x.csv", f"text,score\na,1\nb,{cell}\n")
    with pytest.raises(DataError, match=message):
        Regression.read(source, {})


@pytest.mark.parametrize("value", ["true", "null", "[1]", '{"a": 1}', "NaN", "1" + "0" * 400])
def test_a_json_value_that_is_no_finite_number_is_refused(tmp_path: Path, value: str) -> None:
    source = written(tmp_path / "x.jsonl", f'{{"text": "a", "score": 1}}\n{{"text": "b", "score": {value}}}\n')
    with pytest.raises(DataError, match=r"x\.jsonl line 2: column 'score'"):
        Regression.read(source, {})


@pytest.mark.parametrize("task", [Regression, TextClassification])
def test_a_pair_with_one_side_empty_is_refused_with_file_and_row(tmp_path: Path, task: Any) -> None:
    source = written(tmp_path / "x.csv", "sentence1,sentence2,label\na,b,1\nc, ,2\n")
    with pytest.raises(DataError, match=r"x\.csv line 3: column 'sentence2' is empty: give a text or remove the row"):
        task.read(source, {})


@pytest.mark.parametrize("task", [Regression, TextClassification])
def test_rows_of_single_texts_among_pairs_are_refused(tmp_path: Path, task: Any) -> None:
    source = written(tmp_path / "x.jsonl", '{"text": "a", "text_pair": "b", "label": 1}\n{"text": "c", "label": 2}\n')
    with pytest.raises(DataError, match=r"x\.jsonl line 2: column 'text_pair' is empty"):
        task.read(source, {})


def test_a_file_of_numbers_is_guessed_to_be_for_regression(tmp_path: Path) -> None:
    def guess(text: str) -> str:
        return guess_task(written(tmp_path / "x.csv", text))

    assert guess("sentence1,sentence2,score\na,b,1.5\n") == "regression"
    assert guess("text,Rating\na,4\n") == "regression"
    assert guess("text,rating\na,good\nb,bad\n".replace("rating", "label")) == "text-classification"
    assert guess("sentence1,sentence2,score,entailment\na,b,1.5,neutral\n") == "text-classification"
    assert task_named("text-regression") is Regression
    assert task_named("ner") is task_named("token-classification")


def test_a_label_that_is_no_whole_number_is_a_score_and_one_that_was_asked_for_rules_out_the_others(
    tmp_path: Path,
) -> None:
    def guess(text: str, **columns: str) -> str:
        return guess_task(written(tmp_path / "x.csv", text), columns)

    assert guess("sentence1,sentence2,label\na,b,5\nc,d,4.75\n") == "regression"
    assert guess("sentence1,sentence2,label\na,b,1\nc,d,0.0\n") == "text-classification"
    assert guess("text,subreddit,score\na,python,4.5\n", label="subreddit") == "text-classification"
    assert guess("text,subreddit,score\na,python,4.5\n", label="score") == "regression"
    assert guess("text,stars,label\na,4.5,pos\n", label="stars") == "regression"
    assert guess("text,stars,label\na,4.5,pos\n") == "text-classification"


def test_plain_checkpoints_of_one_output_are_for_regression() -> None:
    names, one = ["BertForSequenceClassification"], {"id2label": {"0": "LABEL_0"}}
    regression = {**one, "problem_type": "regression"}
    assert Regression.made(names, regression)
    assert not TextClassification.made(names, regression)
    assert Regression.made(names, one)
    assert not TextClassification.made(names, one)
    assert not Regression.made(names, {})
    assert TextClassification.made(names, {})
    assert not Regression.made(["BertForTokenClassification"], regression)
    assert Regression.settings_of(regression, Path()) == {"pair": False, "sigmoid": False}
    assert Regression.settings_of({**one, "sentence_transformers": {}}, Path()) == {"pair": True, "sigmoid": True}
