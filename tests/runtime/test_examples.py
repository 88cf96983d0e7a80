"""Data files: what is read, and how a faulty one is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tlx.runtime.columns import trained_columns
from tlx.runtime.errors import DataError
from tlx.runtime.examples import Examples
from tlx.runtime.folder import Manifest
from tlx.runtime.tables import iterate_texts, read_table
from tlx.runtime.tasks import guess_task, task_named
from tlx.runtime.tasks.classification import TextClassification


def parse(path: Path, **columns: str) -> Examples:
    return TextClassification.read(path, columns)


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", 'text,label\n"one, two",x\nthree,y\n'),
        ("d.csv", '\ufefftext,label\r\n"one, two",x\r\nthree,y\r\n'),
        ("d.tsv", "sentence\tintent\none, two\tx\nthree\ty\n"),
        ("d.jsonl", '{"text": "one, two", "label": "x"}\n\n{"text": "three", "label": "y"}\n'),
    ],
)
def test_the_usual_forms_give_the_same_examples(name: str, content: str, tmp_path: Path) -> None:
    examples = parse(write(tmp_path, name, content))
    assert list(examples.texts) == ["one, two", "three"]
    assert examples.gold == ["x", "y"]
    assert examples.labels == ("x", "y")


def test_parquet_gives_the_same_examples(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": ["one", "two"], "label": [1, 10]}), tmp_path / "d.parquet")
    examples = parse(tmp_path / "d.parquet")
    assert examples.gold == ["1", "10"]
    assert examples.labels == ("1", "10")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", 'text,labels\na,"[""x"", ""y""]"\nb,[]\n'),
        ("d.jsonl", '{"text": "a", "labels": ["x", "y"]}\n{"text": "b", "labels": []}\n'),
    ],
)
def test_lists_of_labels_make_the_task_multi_label(name: str, content: str, tmp_path: Path) -> None:
    examples = parse(write(tmp_path, name, content))
    assert examples.gold == [("x", "y"), ()]
    assert examples.settings == {"multi_label": True, "pair": False}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", b"", r"d\.csv is empty: wanted a header and rows"),
        ("d.csv", b"\xef\xbb\xbf\r\n", r"d\.csv is empty: wanted a header and rows"),
        ("d.csv", b"text,label\n", "d.csv has a header but no rows: wanted at least one"),
        ("d.csv", b"text,label\na,x\nb\xff,y\n", r"d\.csv line 3 is not UTF-8 \(byte 0xff\): save the file as UTF-8"),
        (
            "d.csv",
            b"text,kind\na,x\n",
            r"has no column that looks like a label \(it has: text, kind\): name it with --label",
        ),
        ("d.csv", b"text,label\na,x\nb\n", r"d\.csv line 3 has 1 fields, the header has 2"),
        ("d.csv", b'text,label\n"a\nb",x\nc,d,e\n', r"d\.csv line 4 has 3 fields, the header has 2"),
        ("d.csv", b"text,text\na,x\n", "line 1 names column 'text' twice"),
        ("d.csv", b"text,label\na,x\nb,nan\n", r"d\.csv line 3: column 'label' has no label"),
        ("d.csv", b"text,label\na,x\nb,\n", r"d\.csv line 3: column 'label' has no label"),
        ("d.csv", b"text,label\n ,x\n", r"d\.csv line 2: column 'text' is empty"),
        (
            "d.jsonl",
            b'{"text": "a", "label": "x"}\n{"text": \n',
            r"d\.jsonl line 2 is not valid JSON: .*one object a line",
        ),
        ("d.jsonl", b"[" * 100_000 + b"\n", r"d\.jsonl line 1 is not valid JSON: nested too deep"),
        ("d.json", b'[{"a": ' + b"9" * 5000 + b"}]", r"d\.json is not valid JSON: a number of thousands of digits"),
        ("d.jsonl", b"[1, 2]\n", r"d\.jsonl line 1 holds a list: wanted one JSON object a line"),
        ("d.jsonl", b'{"text": "a", "label": NaN}\n', r"d\.jsonl line 1: column 'label' has no label"),
        (
            "d.jsonl",
            b'{"text": "a", "label": "x"}\n\n{"text": "hi \\uD83D", "label": "x"}\n',
            r"d\.jsonl line 3: column 'text' holds \\ud83d alone \(after 'hi '\)",
        ),
        (
            "d.json",
            b'[{"text": "a", "label": ["\\udc00", "x"]}]',
            r"d\.json row 1: column 'label' holds \\udc00 alone",
        ),
        ("d.xlsx", b"x", r"d\.xlsx ends in \.xlsx: wanted \.csv"),
        ("d.parquet", b"not parquet at all", r"d\.parquet is not a readable Parquet file"),
    ],
)
def test_a_faulty_file_is_told_with_its_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        parse(write(tmp_path, name, content))


def test_escapes_that_make_a_whole_character_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "d.jsonl", r'{"text": "hi \ud83d\ude00", "label": "x"}' + "\n")
    assert parse(path).texts == ["hi \N{GRINNING FACE}"]


def test_a_missing_file_and_a_missing_column_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv does not exist"):
        read_table(tmp_path / "none.csv")
    path = write(tmp_path, "d.csv", "text,label\na,x\n")
    with pytest.raises(DataError, match=r"has no column 'gold' \(it has: text, label\): name one with --label"):
        parse(path, label="gold")


def test_integer_labels_are_in_numeric_order(tmp_path: Path) -> None:
    rows = "".join(f"t{n},{n}\n" for n in (10, 2, 1))
    assert parse(write(tmp_path, "d.csv", "text,label\n" + rows)).labels == ("1", "2", "10")


@pytest.mark.parametrize("lines", [["a\n", "\n", "b"], ["a\r\n", "\r\n", "b\r\n"]])
def test_every_line_of_a_stream_is_a_text_even_an_empty_one(lines: Sequence[str]) -> None:
    assert list(iterate_texts(lines, "stdin")) == ["a", "", "b"]


@pytest.mark.parametrize(
    ("name", "content", "gold"),
    [
        ("d.csv", "text,label\na,0.0\nb,1.0\n", ["0", "1"]),
        ("d.jsonl", '{"text": "a", "label": 0.0}\n{"text": "b", "label": 1}\n', ["0", "1"]),
        ("d.csv", "text,label\na,1.5\nb,²\n", ["1.5", "²"]),
        ("d.csv", "text,label\na,true\nb,false\n", ["true", "false"]),
        ("d.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": false}\n', ["true", "false"]),
        ("d.csv", "text,label,label_text\na,0,no\nb,1,yes\n", ["no", "yes"]),
    ],
)
def test_labels_are_the_same_whatever_the_format(name: str, content: str, gold: list[str], tmp_path: Path) -> None:
    examples = parse(write(tmp_path, name, content))
    assert examples.gold == gold
    assert set(examples.labels) == set(gold)


@pytest.mark.parametrize(
    ("content", "gold"),
    [
        ('text,labels\na,"joy,love"\nb,joy\nc,love\n', [("joy", "love"), ("joy",), ("love",)]),
        ("text,labels\na,3|10\nb,3\nc,10\n", [("3", "10"), ("3",), ("10",)]),
        ("text,labels\na,\"['x', 'y']\"\nb,[]\n", [("x", "y"), ()]),
        ('text,labels\na,"Boston, MA"\nb,"Austin, TX"\n', ["Boston, MA", "Austin, TX"]),
        ('text,label\na,"joy,love"\nb,joy\nc,love\n', ["joy,love", "joy", "love"]),
    ],
)
def test_labels_between_separators_are_several(content: str, gold: list[object], tmp_path: Path) -> None:
    assert parse(write(tmp_path, "d.csv", content)).gold == gold


@pytest.mark.parametrize(
    ("cells", "gold"),
    [
        (([1, 1, 0], [0, 0, 1], [0, 0, 0]), [("0", "1"), ("2",), ()]),
        (([1.0, 1.0], [0.0, 1.0]), [("0", "1"), ("1",)]),
        (([0, 1], [1, 0]), [("0", "1"), ("1", "0")]),  # may be the labels 0 and 1
        ((["0", "0"], ["1", "0"]), [("0",), ("1", "0")]),
    ],
)
def test_vectors_of_zeros_and_ones_name_labels_by_their_place(
    cells: Sequence[Sequence[object]], gold: list[tuple[str, ...]], tmp_path: Path
) -> None:
    lines = "".join(json.dumps({"text": "a", "labels": cell}) + "\n" for cell in cells)
    assert parse(write(tmp_path, "d.jsonl", lines)).gold == gold


@pytest.mark.parametrize(("text", "encoding"), [("太态价格很好，推荐", "gb18030"), ("café crème brûlée", "cp1252")])
def test_an_encoding_is_named_that_the_file_may_have(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(f"text,label\n{text},x\n".encode(encoding))
    with pytest.raises(DataError, match=f"is not UTF-8 .*iconv -f {encoding} -t utf-8"):
        parse(tmp_path / "d.csv")


def test_a_column_for_each_label_is_multi_label(tmp_path: Path) -> None:
    path = write(tmp_path, "d.csv", "comment,toxic,threat\na,1,0\nb,0,0\nc,1,1.0\n")
    examples = parse(path, label="toxic, threat")
    assert examples.gold == [("toxic",), (), ("toxic", "threat")]
    assert examples.labels == ("threat", "toxic")
    assert examples.told == "'toxic', 'threat' from 'comment'"
    with pytest.raises(DataError, match="line 2: column 'comment' holds 'a': wanted 1 or 0"):
        parse(path, text="toxic", label="comment,toxic")
    with pytest.raises(DataError, match="no column 'insult'"):
        parse(path, label="toxic,insult")


def test_what_was_read_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "d.csv", "title,body,id,label\na,b,1,x\nc,d,2,y\n")
    assert parse(path).told == "'label' from 'body' (not read: 'title', 'id')"
    assert parse(path, text="title", text_pair="body").told == "'label' from 'title', 'body' (not read: 'id')"


@pytest.mark.parametrize("row", ['{"text": {"body": "a"}, "label": "x"}', '{"text": "a", "label": {"id": 1}}'])
def test_nested_cells_are_refused_with_their_line(row: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: column '(text|label)' holds"):
        parse(write(tmp_path, "d.jsonl", row + "\n"))


def test_rows_marked_as_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    snli = [{"sentence1": "a", "sentence2": "b", "gold_label": label} for label in ("neutral", "-", "entailment", "-")]
    path = write(tmp_path, "d.jsonl", "\n".join(map(json.dumps, snli)))
    with pytest.warns(UserWarning, match=r"2 of 4 rows have no label \('-'\) and are left out \(the first: .*line 2\)"):
        examples = parse(path)
    assert (len(examples), examples.labels) == (2, ("entailment", "neutral"))
    classes = "".join(f"text {n},{n % 3}\n" for n in range(21))
    with pytest.warns(UserWarning, match="1 of 22 rows have no label"):
        assert parse(write(tmp_path, "d.csv", f"text,label\nc,-1\n{classes}")).labels == ("0", "1", "2")
    several = parse(write(tmp_path, "f.csv", f"text,label\nb,-1\nc,-1\n{classes}"))
    assert several.labels == ("-1", "0", "1", "2")
    assert parse(write(tmp_path, "e.csv", "text,label\na,0\nb,1\nc,-1\n")).gold == ["0", "1", "-1"]


def test_a_first_row_that_is_data_and_every_empty_row_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="put a row of names first: this one seems to be data"):
        parse(write(tmp_path, "d.csv", "world,Stocks fell on Monday as oil prices reached a new high\nb,b\n"))
    with pytest.raises(DataError, match=r"line 3: column 'text' is empty \(2 rows in all\)"):
        parse(write(tmp_path, "e.csv", "text,label\na,x\n,y\n ,x\n"))


@pytest.mark.parametrize("header", ["text,label", "sentence1,sentence2,score", "anchor,positive"])
def test_few_rows_without_a_text_are_left_out_and_counted(tmp_path: Path, header: str) -> None:
    first, *others = header.split(",")
    task = {"text": "text-classification", "sentence1": "regression", "anchor": "feature-extraction"}[first]
    rows = [",".join([f"a{i % 2}", *(str(i % 2) for _ in others)]) for i in range(198)]
    one = [*rows, ",".join(["", *("1" for _ in others)]), ",".join([" ", *("0" for _ in others)])]
    path = write(tmp_path, "d.csv", "\n".join([header, *one]) + "\n")
    with pytest.warns(
        UserWarning, match=rf"2 of 200 rows have no text \('{first}'.*left out \(the first: .*line 200\)"
    ):
        examples = task_named(task).read(path, {})
    assert len(examples.inputs) == 198
    assert examples.gold is None or len(examples.gold) == 198
    path = write(tmp_path, "d.csv", "\n".join([header, *one[100:]]) + "\n")
    with pytest.raises(DataError, match=rf"line 100: column '{first}' is empty \(2 rows in all\): give a text"):
        task_named(task).read(path, {})


TWEET = "0,{id},Mon Apr 06 22:{d}:45 PDT 2009,NO_QUERY,user{id},it is the {id}th time that somebody said so\n"


@pytest.mark.parametrize(
    "rows",
    [
        [TWEET.format(id=1000 + i, d=10 + i).replace("0,", f"{i % 2 * 4},", 1) for i in range(40)],
        [f"{i % 3},{'很好吃的面条也很便宜'[i % 7 :]}第{i}次来店里\n" for i in range(40)],
        [f"said number {chr(97 + i)} is what they say {i};{'ab'[i % 2]};{i}\n" for i in range(26)],
    ],
    ids=["tweets with dates and names", "Chinese", "label behind the text"],
)
def test_columns_without_names_are_told_by_what_they_hold(tmp_path: Path, rows: list[str]) -> None:
    path = write(tmp_path, "d.csv", "".join(rows))
    with pytest.warns(UserWarning, match="the first row is data"):
        examples = parse(path)
    assert all("time" in text or "said" in text or "次" in text for text in examples.inputs)
    assert set(examples.labels) in ({"0", "4"}, {"0", "1", "2"}, {"a", "b"})


def test_several_texts_without_names_are_for_the_user_to_choose(tmp_path: Path) -> None:
    rows = "".join(f"{i % 4},title of {chr(97 + i)},the text below the title {chr(97 + i)}\n" for i in range(26))
    wanted = "--text 'column 2' --text-pair 'column 3' --label 'column 1' would"
    path = write(tmp_path, "d.csv", rows)
    with pytest.warns(UserWarning, match="the first row is data"), pytest.raises(DataError, match=wanted):
        parse(path)


def test_which_of_several_labels_without_names_is_meant_is_left_to_the_user(tmp_path: Path) -> None:
    rows = "".join(f"{('gj04', 'bc01')[i % 2]},{i % 3 % 2},our friend {chr(97 + i)} bought it\n" for i in range(26))
    wanted = r"--text 'column 3' and --label with one of 'column 1' \(gj04, bc01\); 'column 2' \(0, 1\) would"
    with pytest.warns(UserWarning, match="the first row is data"), pytest.raises(DataError, match=wanted):
        parse(write(tmp_path, "d.csv", rows))


def test_columns_told_to_training_serve_where_the_file_has_them(tmp_path: Path) -> None:
    told_then = {"recipe": {"data": {"text": "v2", "text_pair": None, "label": "toxic,threat"}}}
    manifest = Manifest(task="text-classification", labels=("a", "b"), max_tokens=9, lineage=told_then)
    path = write(tmp_path, "d.csv", "v2,toxic,threat,body\na,1,0,b\n")
    assert trained_columns(manifest, path, {}) == {"text": "v2", "label": "toxic,threat"}
    assert trained_columns(manifest, path, {"text": "body"}) == {"text": "body", "label": "toxic,threat"}
    assert trained_columns(manifest, write(tmp_path, "e.csv", "text,label\na,x\n"), {}) == {}
    assert trained_columns(manifest, write(tmp_path, "f.conll", "a O\n"), {}) == {}
    numbered = manifest._replace(lineage={"recipe": {"data": {"text": "2", "label": "4"}}})
    assert trained_columns(numbered, tmp_path / "f.conll", {"label": "3"}) == {"text": "2", "label": "3"}


@pytest.mark.parametrize(
    ("name", "content", "gold", "told"),
    [
        (
            "d.jsonl",
            '{"text": "a", "label": "x", "answer": "accept"}\n{"text": "b", "label": "y", "answer": "reject"}\n',
            ["x"],
            r"1 of 2 rows were rejected or ignored and are left out \(the first: .*d\.jsonl line 2\)",
        ),
        (
            "d.tsv",
            "sentence1\tsentence2\tlabel\na\tb\tneutral\na\tc\t-\na\td\tentailment\n",
            ["neutral", "entailment"],
            r"1 of 3 rows have no label \('-'\) and are left out",
        ),
    ],
)
def test_rows_that_annotators_did_not_settle_are_left_out(
    name: str, content: str, gold: list[str], told: str, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match=told):
        assert parse(write(tmp_path, name, content)).gold == gold


def test_minus_is_a_label_beside_plus(tmp_path: Path) -> None:
    assert parse(write(tmp_path, "d.csv", "text,label\na,+\nb,-\nc,0\n")).gold == ["+", "-", "0"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.json", '[{"id": 1, "annotations": [], "data": {"text": "a"}}]', "whole export: export it as JSON-MIN"),
        ("d.csv", "comment_text,id,toxic,threat\na,1,0,1\nb,1,1,0\n", r"or several of 1 and 0: --label toxic,threat$"),
        (
            "d.csv",
            ",".join(f"c{n}" for n in range(30)) + "\n" + ",".join("x" * 30) + "\n",
            r"c19, …\): name it with --t",
        ),
    ],
)
def test_a_refusal_says_the_fix(name: str, content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        parse(write(tmp_path, name, content))


def test_the_column_of_labels_is_no_text_of_a_pair(tmp_path: Path) -> None:
    rows = "".join(f"what is {n},{'yes' if n % 2 else 'no'}\n" for n in range(4))
    asked = write(tmp_path, "d.csv", "question,answer\n" + rows)
    examples = parse(asked, label="answer")
    assert list(examples.inputs)[:2] == ["what is 0", "what is 1"]
    assert list(examples.gold or ()) == ["no", "yes", "no", "yes"]
    marked = write(tmp_path, "m.csv", "query,document,spam\na,1,0\nb,0,1\n")
    assert list(parse(marked, label="document,spam").inputs) == ["a", "b"]


def test_several_labels_stay_several_in_a_file_too_small_to_tell(tmp_path: Path) -> None:
    model = TextClassification(labels=("a", "b", "c"), multi_label=True)
    few = write(tmp_path, "few.csv", "text,labels\nx,a|b\ny,c|a\nz,b\n")
    assert list(model.examples_of(few, {}).gold or ()) == [("a", "b"), ("c", "a"), ("b",)]
    whole = Examples(
        source="train", inputs=["x"], labels=("a", "b", "c"), settings={"multi_label": True, "pair": False}
    )
    beside = TextClassification.read_beside(few, {}, whole, split="validation")
    assert beside.labels == ("a", "b", "c")
    assert beside.settings["multi_label"]
    strange = write(tmp_path, "strange.csv", "text,labels\nx,a|b\ny,c|d\n")
    assert list(model.examples_of(strange, {}).gold or ()) == ["a|b", "c|d"]


@pytest.mark.parametrize("name", ["text-classification", "regression"])
def test_validation_rows_have_the_form_of_the_training_rows(name: str, tmp_path: Path) -> None:
    single = write(tmp_path, "train.csv", "query,score\na,1\nb,2\n")
    pairs = write(tmp_path, "validation.csv", "query,document,score\nc,d,1\ne,f,2\n")
    columns = {"label": "score"}
    half = task_named(name)
    for train, other, wanted in ((single, pairs, ["c", "e"]), (pairs, pairs, [("c", "d"), ("e", "f")])):
        examples = half.read(train, columns)
        assert list(half.read_beside(other, columns, examples, split="validation").inputs) == wanted
    with pytest.raises(DataError, match="no two columns that look like pairs of texts .*--text-pair"):
        half.read_beside(single, columns, half.read(pairs, columns), split="validation")


def test_several_named_columns_of_labels_are_no_regression(tmp_path: Path) -> None:
    table = write(tmp_path, "d.csv", "text,rating,toxic,obscene\na,1,0,1\nb,5,1,0\n")
    assert guess_task(table, {"label": "toxic, obscene"}) == "text-classification"
    assert guess_task(table, {"label": "rating"}) == "regression"


@pytest.mark.parametrize("seed", ["0", "1", "2", "3"])
def test_labels_of_equal_numbers_have_one_order_in_every_process(seed: str) -> None:
    program = (
        "from tlx.runtime.tasks.labels import ordered_labels; print(*ordered_labels({'10', '01', '1', '001', '2'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["001", "01", "1", "2", "10"]


def test_python_writes_true_and_json_true_for_the_same_label(tmp_path: Path) -> None:
    found = [
        parse(write(tmp_path, "d.csv", "text,label\na,True\nb,False\n")),
        parse(write(tmp_path, "d.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": false}\n')),
    ]
    assert [examples.gold for examples in found] == [["true", "false"]] * 2


def test_a_label_in_brackets_is_a_label(tmp_path: Path) -> None:
    examples = parse(write(tmp_path, "d.csv", "text,label\na,[URGENT]\nb,later\n"))
    assert examples.gold == ["[URGENT]", "later"]


@pytest.mark.parametrize("cell", ["['joy' 'a b']", "['joy'\n 'a b']", '["joy", "a b"]', "['joy', 'a b']"])
def test_lists_that_numpy_writes_are_lists(cell: str, tmp_path: Path) -> None:
    examples = parse(
        write(tmp_path, "d.csv", f'text,label\nx,"{cell.replace(chr(34), chr(34) * 2)}"\ny,[]\nz,"[\'joy\']"\n')
    )
    assert examples.gold == [("joy", "a b"), (), ("joy",)]
    numbers = parse(write(tmp_path, "e.csv", "text,label\nx,[ 2 17]\ny,[2]\n"))
    assert numbers.gold == [("2", "17"), ("2",)]


def test_separators_are_evident_where_the_labels_stand_alone_too(tmp_path: Path) -> None:
    found = parse(write(tmp_path, "d.csv", 'text,label\na,"3,5"\nb,3\nc,5\n'))
    assert found.gold == [("3", "5"), ("3",), ("5",)]
    found = parse(write(tmp_path, "e.csv", "text,genre\na,Action|Drama\nb,Drama\nc,Action\n"), label="genre")
    assert found.gold == [("Action", "Drama"), ("Drama",), ("Action",)]
    found = parse(write(tmp_path, "f.csv", 'text,label\na,"Health, Beauty"\nb,Health\nc,Beauty\n'))
    assert found.gold == ["Health, Beauty", "Health", "Beauty"]
