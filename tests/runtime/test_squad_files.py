"""Questions, contexts and answers from SQuAD JSON and from tables, and one clear line for each fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlx.runtime.errors import DataError
from tlx.runtime.tasks import guess_task
from tlx.runtime.tasks.answering import QuestionAnswering

CONTEXT = "It rains in Bergen. It seldom rains in Oslo. 下雨 in Bergen 😀 too."
read = QuestionAnswering.read


def squad(*qas: dict[str, Any], context: Any = CONTEXT) -> dict[str, Any]:
    return {"version": "2.0", "data": [{"title": "rain", "paragraphs": [{"context": context, "qas": list(qas)}]}]}


def asked(answers: Any = None, **more: Any) -> dict[str, Any]:
    return {"id": "q7", "question": "Where does it rain?", "answers": answers, **more}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(content: Any, name: str = "data.json", *, indent: int | None = None) -> Path:
        path = tmp_path / name
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=indent)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def lines(*rows: dict[str, Any]) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


@pytest.mark.parametrize("indent", [None, 2])
def test_squad_gives_every_answer_with_its_place(written: Callable[..., Path], indent: int | None) -> None:
    answers = [{"text": "Bergen", "answer_start": 12}, {"text": "in Bergen", "answer_start": 9}]
    path = written(squad(asked(answers), asked(answers[:1])), indent=indent)
    examples = read(path, {})
    assert examples.inputs[0] == ("Where does it rain?", CONTEXT)
    assert examples.gold == [((12, 18, "Bergen"), (9, 18, "in Bergen")), ((12, 18, "Bergen"),)]
    assert examples.settings == {"no_answer": False, "align_to_words": True}
    assert len(examples.sha256) == 64
    assert guess_task(path) == "question-answering"


def test_impossible_questions_have_no_answer_and_are_noted(written: Callable[..., Path]) -> None:
    plausible = asked([], is_impossible=True, plausible_answers=[{"text": "Oslo", "answer_start": 39}])
    examples = read(written(squad(asked([{"text": "Bergen", "answer_start": 12}]), plausible)), {})
    assert examples.gold == [((12, 18, "Bergen"),), ()]
    assert examples.settings["no_answer"] is True


@pytest.mark.parametrize(
    ("answers", "gold"),
    [
        ({"text": ["Bergen", "Oslo"], "answer_start": [12, 39]}, ((12, 18, "Bergen"), (39, 43, "Oslo"))),
        ({"text": [], "answer_start": []}, ()),
        ([{"text": "Oslo", "answer_start": 39}], ((39, 43, "Oslo"),)),
        (["Oslo"], ((39, 43, "Oslo"),)),
        ("Oslo", ((39, 43, "Oslo"),)),
        ({"text": ["😀"], "answer_start": [-1]}, ((58, 59, "😀"),)),
        (None, ()),
    ],
)
def test_answers_come_in_all_the_usual_forms(written: Callable[..., Path], answers: Any, gold: Any) -> None:
    row = {"question": "Where?", "context": CONTEXT, "answers": answers}
    path = written(lines(row), "data.jsonl")
    assert read(path, {}).gold == [gold]
    assert guess_task(path) == "question-answering"


def test_a_csv_has_an_answer_a_row_and_may_leave_out_where_it_is(written: Callable[..., Path]) -> None:
    rows = "question,context,answer,answer_start\nWhere?,It rains in Oslo,Oslo,12\nWhen?,It rains at noon,noon,\nWho?,It rains,,\n"
    assert read(written(rows, "data.csv"), {}).gold == [((12, 16, "Oslo"),), ((12, 16, "noon"),), ()]


def test_columns_of_other_names_can_be_named(written: Callable[..., Path]) -> None:
    path = written(lines({"q": "Where?", "passage": "In Oslo", "gold": "Oslo"}), "data.jsonl")
    columns = {"text": "q", "text_pair": "passage", "label": "gold"}
    assert read(path, columns).inputs == [("Where?", "In Oslo")]


def test_a_start_that_is_wrong_is_put_right_where_the_answer_stands_once(written: Callable[..., Path]) -> None:
    path = written(
        squad(asked([{"text": "Oslo", "answer_start": 37}]), asked([{"text": "seldom", "answer_start": 999}]))
    )
    with pytest.warns(
        UserWarning, match=r"data.json: 2 answers did not stand where .* \(the first is .* question q7\)"
    ):
        assert read(path, {}).gold == [((39, 43, "Oslo"),), ((23, 29, "seldom"),)]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            squad(asked([{"text": "Berlin", "answer_start": 12}])),
            r"question q7: the answer 'Berlin' is not in the context",
        ),
        (
            squad(asked([{"text": "Bergen", "answer_start": 13}])),
            r"question q7: the answer 'Bergen' is not at answer_start 13 \(there is 'ergen.'\) but at several",
        ),
        (
            squad(asked([{"text": "Bergen", "answer_start": "x"}])),
            r"question q7 has answer_start 'x': wanted a whole number",
        ),
        (squad(asked([{"text": " ", "answer_start": 2}])), r"question q7 has an answer without text"),
        (squad(asked([]), context="  "), r"question q7: the context is empty"),
        (squad(asked([]), context=None), r"question q7: the context is empty"),
        (squad({"id": "q8", "answers": []}), r"question q8 has no question"),
        (squad(), r"has no questions"),
        ({"data": []}, r"has no questions"),
        ({"data": [{"paragraphs": [{"context": "a"}]}]}, r"first paragraph has no list 'qas'"),
        ({"data": [{"paragraphs": {}}]}, r"data has no list 'paragraphs'"),
        (squad("why?"), r"question 1 is a str"),  # type: ignore[arg-type]
        ('{"version": "2.0",\n "data": [\n}', r"data.json line 3 is not valid JSON"),
    ],
)
def test_a_fault_in_squad_is_one_line_that_names_the_question(
    written: Callable[..., Path], document: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(written(document), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines({"question": "a", "context": "b", "answers": ["c"]}), r"line 1: the answer 'c' is not in the context"),
        (lines({"question": "a", "context": "b"}), r"no column that looks like a label \(it has: question, context\)"),
        (
            lines({"question": "a", "context": "b", "answers": {"text": ["b"], "answer_start": [0, 1]}}),
            r"line 1 has 1 answers and 2 answer_start",
        ),
        ('{"question": "a", "context": "b", "answers": []}\n{"question"', r"data.jsonl line 2 is not valid JSON"),
        (lines({"question": "a", "context": "", "answers": []}), r"line 1: the context is empty"),
    ],
)
def test_a_fault_in_a_table_is_one_line_that_names_the_row(
    written: Callable[..., Path], text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(written(text, "data.jsonl"), {})


def test_rows_without_a_question_are_left_out_and_counted(written: Callable[..., Path]) -> None:
    path = written(squad(asked([]), {"id": "q9", "question": "", "answers": []}))
    with pytest.warns(UserWarning, match=r"1 of 2 rows have an empty question and are left out \(the first is .* q9\)"):
        assert len(read(path, {})) == 1


def test_files_without_answers_give_inputs(written: Callable[..., Path]) -> None:
    task = QuestionAnswering()
    squad_file = written(squad({"id": "q1", "question": "Where?"}, asked([{"text": "nowhere", "answer_start": 0}])))
    assert task.inputs_of(squad_file, {}) == [("Where?", CONTEXT), ("Where does it rain?", CONTEXT)]
    assert task.inputs_of(written("question,context\nWho?,She.\n", "a.csv"), {}) == [("Who?", "She.")]


def test_texts_without_spaces_are_noted(written: Callable[..., Path]) -> None:
    row = {"question": "谁？", "context": "挪威国会于2008年6月11日通过法案。", "answers": ["挪威国会"]}
    assert read(written(lines(row), "zh.jsonl"), {}).settings == {"no_answer": False, "align_to_words": False}


def test_json_of_one_document_is_a_table(written: Callable[..., Path]) -> None:
    from tlx.runtime.tables import read_table

    assert read_table(written([{"text": "a"}, {"text": "b"}], indent=2)).columns == {"text": ["a", "b"]}
    assert read_table(written('{"text": "a"}\n{"text": "b"}\n', "lines.json")).columns == {"text": ["a", "b"]}
    with pytest.raises(DataError, match=r"row 2 is a str: wanted a JSON object"):
        read_table(written([{"text": "a"}, "b"]))


def test_a_start_may_be_written_as_data_frames_do_beside_empty_cells(written: Callable[..., Path]) -> None:
    rows = "question,context,answer,answer_start\nwhere,rain in Bergen,Bergen,8.0\nwho,rain in Bergen,,\n"
    examples = read(written(rows, "d.csv"), {})
    assert [len(gold) for gold in examples.gold or ()] == [1, 0]
    with pytest.raises(DataError, match=r"answer_start '8\.5': wanted a whole number"):
        read(written(rows.replace("8.0", "8.5"), "e.csv"), {})
