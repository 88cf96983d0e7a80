"""What embeddings learn from: every form of file, and every fault of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tlx.runtime import DataError
from tlx.runtime.examples import Examples
from tlx.runtime.tasks import guess_task, task_named
from tlx.runtime.tasks.embedding import FeatureExtraction
from tlx.runtime.tasks.task import Encoded, Outputs


def written(path: Path, *rows: object) -> Path:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read(path: Path, **columns: str) -> Examples:
    return FeatureExtraction.read(path, columns)


def test_two_texts_and_a_score_are_scored_pairs(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", "sentence1,sentence2,score,entailment", "a,b,3.5,neutral", "c,d,1,neutral")
    examples = read(path)
    assert (examples.inputs, examples.gold) == ([("a", "b"), ("c", "d")], [3.5, 1.0])
    assert read(path, label="score").gold == [3.5, 1.0]


def test_anchor_and_positive_are_pairs_and_with_negative_triplets(tmp_path: Path) -> None:
    row = {"anchor": "a", "positive": "b"}
    pairs = written(tmp_path / "pairs.jsonl", row)
    triplets = written(tmp_path / "triplets.jsonl", {**row, "negative": "c"})
    assert (read(pairs).inputs, read(pairs).gold) == ([("a", "b")], None)
    assert read(triplets).inputs == [("a", "b", "c")]
    assert guess_task(pairs) == guess_task(triplets) == "feature-extraction"


def test_named_columns_are_pairs_even_where_one_is_called_as_labels_are(tmp_path: Path) -> None:
    path = written(tmp_path / "x.jsonl", {"source": "A dog.", "target": "Ein Hund."})
    assert read(path, text="source", text_pair="target").inputs == [("A dog.", "Ein Hund.")]
    assert read(path, text="source", text_pair="target").gold is None


def test_text_and_label_are_labelled_and_texts_alone_plain(tmp_path: Path) -> None:
    labelled = written(tmp_path / "x.csv", "text,label", "a,1", "b,2")
    assert (read(labelled).inputs, read(labelled).gold) == (["a", "b"], ["1", "2"])
    plain = written(tmp_path / "x.txt", "one", "", "two")
    assert (read(plain).inputs, read(plain).gold) == (["one", "two"], None)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ({"anchor": "a", "positive": "b"}, {"anchor": "a", "positive": " "}),
            "line 2: column 'positive' is empty: give",
        ),
        (
            ({"anchor": "a", "positive": "b", "negative": "c"}, {"anchor": "a", "positive": "b"}),
            "line 2: column 'negative'",
        ),
        (
            ({"sentence1": "a", "sentence2": "b", "score": "high"},),
            "line 1: column 'score' holds 'high', wanted a number",
        ),
        (({"sentence1": "a", "sentence2": "b", "score": None},), "line 1: column 'score' holds None, wanted a number"),
        (({"sentence1": "a", "sentence2": "b", "score": True},), "line 1: column 'score' holds True, wanted a number"),
        (({"sentence1": "a", "sentence2": "b", "score": float("nan")},), "line 1: column 'score' holds nan"),
        (({"premise": "a", "hypothesis": "b", "label": "neutral"},), "column 'label' holds 'neutral', wanted a number"),
        (
            ({"text": "a", "label": "x"}, {"text": "b", "label": ""}),
            "line 2: column 'label' holds '': wanted one label",
        ),
        (
            ({"text": "a", "labels": ["x", "y"]},),
            r"line 1: column 'labels' holds \['x', 'y'\]: wanted one label a text",
        ),
        (({"text": "a", "label": "x"}, {"text": None, "label": "x"}), "line 2: column 'text' is empty"),
        (({"anchor": "a", "positive": "b"}, '{"anchor": '), "line 2 is not valid JSON"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, rows: tuple[object, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(written(tmp_path / "x.jsonl", *rows))


def outputs(examples: Examples, *rows: tuple[float, ...]) -> Outputs:
    return Outputs(examples.inputs, Encoded([]), np.array(rows, np.float32))


TASK = FeatureExtraction()


def test_scored_pairs_are_judged_by_rank_correlation_of_cosines() -> None:
    examples = Examples(source="x", inputs=[("a", "b"), ("c", "d"), ("e", "f")], gold=[1.0, 2.0, 9.0])
    figures = TASK.metrics(outputs(examples, (1, 0), (0, 1), (1, 0), (1, 1), (1, 0), (1, 0.1)), examples)
    assert figures["spearman"] == pytest.approx(1.0)
    assert 0 < figures["pearson"] < 1
    assert TASK.main_of(figures) == "spearman"


def test_pairs_are_judged_by_retrieval_in_which_a_text_has_all_its_partners() -> None:
    inputs = [("q", "right"), ("q", "right too"), ("r", "other"), ("right", "q")]
    examples = Examples(source="x", inputs=inputs)
    q, r, right, too = (1.0, 0.0), (0.0, 1.0), (0.9, 0.1), (0.9, -0.1)
    figures = TASK.metrics(outputs(examples, q, right, q, too, r, r, right, q), examples)
    assert figures == {"ndcg@10": 1.0, "accuracy@1": 1.0}
    assert TASK.main_of(figures) == "ndcg@10"


def test_triplets_put_their_negatives_into_the_pool() -> None:
    examples = Examples(source="x", inputs=[("q", "right", "wrong")])
    figures = TASK.metrics(outputs(examples, (1, 0), (0.5, 0.5), (0.9, 0.1)), examples)
    assert figures == {"ndcg@10": pytest.approx(1 / np.log2(3)), "accuracy@1": 0.0}


def test_labelled_texts_are_judged_by_their_neighbours() -> None:
    examples = Examples(source="x", inputs=["a", "b", "c", "d"], gold=["x", "x", "y", "y"])
    figures = TASK.metrics(outputs(examples, (1, 0), (0.9, 0.1), (0, 1), (0.8, 0.2)), examples)
    assert figures["accuracy@1"] == 0.75


def test_texts_alone_give_nothing_to_judge_by() -> None:
    examples = Examples(source="x", inputs=["a"])
    assert TASK.metrics(outputs(examples, (1, 0)), examples) == {}


def test_an_answer_flips_when_a_text_gets_another_neighbour() -> None:
    found = Examples(source="x", inputs=["a", "b", "c"])
    reference = outputs(found, (1, 0), (0.9, 0.1), (0, 1))
    assert TASK.flips(reference, reference) == 0.0
    assert TASK.flips(outputs(found, (1, 0), (0, 1), (0.9, 0.1)), reference) == 1.0
    assert TASK.flips(outputs(found, (1, 0), (0.1, 0.9), (0, 1)), reference) == pytest.approx(1 / 3)
    alone = outputs(Examples(source="x", inputs=["a"]), (1, 0))
    assert TASK.flips(alone, alone) == 0.0


def test_sentence_similarity_is_another_name() -> None:
    assert task_named("sentence-similarity") is FeatureExtraction


def test_classes_of_inference_are_no_scores(tmp_path: Path) -> None:
    rows = [{"premise": "a", "hypothesis": "b", "label": n} for n in (0, 1, 2, -1)]
    with pytest.raises(
        DataError, match=r"'label' holds the classes \[-1, 0, 1, 2\], wanted numbers that say how alike"
    ):
        read(written(tmp_path / "nli.jsonl", *rows))
    assert read(written(tmp_path / "two.jsonl", *rows[:2])).gold == [0.0, 1.0]


def test_queries_with_what_answers_them_are_pairs(tmp_path: Path) -> None:
    row = {"query": "a", "positive": "b", "negative": "c"}
    assert read(written(tmp_path / "x.jsonl", row)).inputs == [("a", "b", "c")]
    assert read(written(tmp_path / "y.jsonl", {"question": "a", "answer": "b"})).inputs == [("a", "b")]


def test_plain_texts_are_texts_and_blank_ones_counted(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a", "", "b")))
    with pytest.warns(UserWarning, match="have no text"):
        assert list(read(path).inputs) == ["a", "b"]
    path.write_text(json.dumps({"text": ["a", "b"]}) + "\n")
    with pytest.raises(DataError, match="holds a list: wanted a text"):
        read(path)


def test_inputs_of_pairs_are_their_texts_one_after_another(tmp_path: Path) -> None:
    path, half = tmp_path / "d.csv", FeatureExtraction()
    path.write_text("anchor,positive,negative\na,b,c\nd,e,f\n")
    assert half.inputs_of(path, {}) == ["a", "b", "c", "d", "e", "f"]
    assert half.inputs_of(path, {"text": "positive"}) == ["b", "e"]
    path.write_text("sentence1,sentence2,score\na,b,1\nd,e,0\n")
    assert half.inputs_of(path, {}) == ["a", "b", "d", "e"]
    path.write_text("text,label\na,x\nb,y\n")
    assert half.inputs_of(path, {}) == ["a", "b"]
