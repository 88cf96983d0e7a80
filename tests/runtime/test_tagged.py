"""Tagged data: every form gives the same words, and each fault is told with its line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlx.runtime.errors import DataError
from tlx.runtime.tables import read_table
from tlx.runtime.tagged import _words_of_spans, find_words, holds_tags, join_words, ordered_tags, read_tagged
from tlx.runtime.tasks import guess_task, task_named

WORDS = [("Anna", "B-PER"), ("Lee", "I-PER"), ("sees", "O"), ("Rome", "B-LOC")]
GOLD = ((0, 4, "B-PER"), (5, 8, "I-PER"), (9, 13, "O"), (14, 18, "B-LOC"))


def write(path: Path, content: str | list[Any]) -> Path:
    if not isinstance(content, str):
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
    path.write_text(content, encoding="utf-8", newline="")
    return path


def conll(tags: list[str]) -> str:
    return "".join(f"w{i}\t{tag}\n" for i, tag in enumerate(tags))


FORMS: dict[str, tuple[str, str | list[Any]]] = {
    "tabs": ("d.conll", "".join(f"{w}\t{t}\n" for w, t in WORDS)),
    "spaces and more columns": ("d.bio", "-DOCSTART- -X- O\n\n" + "".join(f"{w} NN x {t}\n" for w, t in WORDS)),
    "carriage returns": ("d.iob", "\ufeff\r\n" + "".join(f"{w}\t{t}\r\n" for w, t in WORDS) + "\r\n\r\n"),
    "tokens and tags": ("d.jsonl", [{"tokens": [w for w, _ in WORDS], "ner_tags": [t for _, t in WORDS]}]),
    "spans as objects": (
        "d.jsonl",
        [
            {
                "text": "Anna Lee sees Rome",
                "entities": [
                    {"start": 14, "end": 18, "label": "LOC"},
                    {"start": 0, "end": 8, "label": "PER"},
                ],
            }
        ],
    ),
    "spans as lists": ("d.jsonl", [{"text": "Anna Lee sees Rome", "labels": [[0, 8, "PER"], [14, 18, "LOC"]]}]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_text_and_words(form: str, tmp_path: Path) -> None:
    name, content = FORMS[form]
    path = write(tmp_path / name, content)
    found = read_tagged(path, {})
    assert found.texts == ["Anna Lee sees Rome"]
    assert found.words == [GOLD]
    assert guess_task(path) == "token-classification"
    assert len(found.sha256) == 64


def test_sentences_end_at_empty_lines_and_at_document_starts(tmp_path: Path) -> None:
    found = read_tagged(write(tmp_path / "d.conll", "a\tO\n\n\nb\tO\nc\tO\n-DOCSTART-\tO\nd\tO\n"), {})
    assert found.texts == ["a", "b c", "d"]
    assert found.where[1].endswith("d.conll line 4")


def test_chinese_characters_become_plain_text_and_other_words_keep_their_spaces() -> None:
    assert join_words(["我", "在", "New", "York", "，", "好"]) == (
        "我在 New York ，好",
        [(0, 1), (1, 2), (3, 6), (7, 11), (12, 13), (13, 14)],
    )


def test_each_chinese_character_of_a_spanned_text_is_a_word(tmp_path: Path) -> None:
    found = read_tagged(write(tmp_path / "d.jsonl", [{"text": "我在北京 ok", "spans": [[2, 4, "LOC"]]}]), {})
    assert found.words[0] == ((0, 1, "O"), (1, 2, "O"), (2, 3, "B-LOC"), (3, 4, "I-LOC"), (5, 7, "O"))


def test_words_are_cut_at_the_borders_of_spans(tmp_path: Path) -> None:
    found = read_tagged(write(tmp_path / "d.jsonl", [{"text": "in Rome.", "entities": [[3, 7, "LOC"]]}]), {})
    assert found.words[0] == ((0, 2, "O"), (3, 7, "B-LOC"), (7, 8, "O"))


@pytest.mark.parametrize(
    ("tags", "bio"),
    [
        (["B-A", "E-A", "S-B", "O"], ["B-A", "I-A", "B-B", "O"]),
        (["B-A", "I-A", "L-A", "U-A"], ["B-A", "I-A", "I-A", "B-A"]),
        (["B-A", "M-A", "E-A", "S-A", "O"], ["B-A", "I-A", "I-A", "B-A", "O"]),
        (["B", "I", "O", "B"], ["B-ENTITY", "I-ENTITY", "O", "B-ENTITY"]),
        (["ADJ", "B", "O"], ["ADJ", "B", "O"]),
    ],
)
def test_other_schemes_become_bio(tags: list[str], bio: list[str], tmp_path: Path) -> None:
    found = read_tagged(write(tmp_path / "d.conll", conll(tags)), {})
    assert [tag for _, _, tag in found.words[0]] == bio


def test_tags_that_go_on_with_nothing_are_repaired_and_counted_once(tmp_path: Path) -> None:
    path = write(tmp_path / "d.conll", conll(["I-A", "I-A", "I-B", "O", "I-B", "B-A", "E-A", "I-A"]))
    with pytest.warns(UserWarning, match=r"4 tags go on .* \(the first: .*d.conll line 1\): each was read as B-"):
        found = read_tagged(path, {})
    assert [tag for _, _, tag in found.words[0]] == ["B-A", "I-A", "B-B", "O", "B-B", "B-A", "I-A", "B-A"]


def test_a_sentence_never_goes_on_with_the_one_before(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 tags go on"):
        found = read_tagged(write(tmp_path / "d.conll", "a\tB-A\n\nb\tI-A\n"), {})
    assert found.words[1] == ((0, 1, "B-A"),)


def test_tags_without_prefixes_are_taken_as_they_are(tmp_path: Path) -> None:
    found = read_tagged(write(tmp_path / "d.conll", "a\tDET\nb\tNOUN\n)\t-RRB-\n"), {})
    assert ordered_tags(found.words) == ("-RRB-", "DET", "NOUN")


def test_outside_comes_first_among_the_labels(tmp_path: Path) -> None:
    assert ordered_tags(read_tagged(write(tmp_path / "d.conll", conll(["B-A", "O", "B-Z"])), {}).words) == (
        "O",
        "B-A",
        "B-Z",
    )


FAULTS: dict[str, tuple[str, str | list[Any], str]] = {
    "no tag": ("d.conll", "a\tO\nb\n", r"d\.conll line 2 has no tag behind 'b'"),
    "an empty tag": ("d.conll", "a\tO\nb\t\n", r"d\.conll line 2 has no tag behind 'b'"),
    "no token": ("d.conll", "a\tO\n\tO\n", r"d\.conll line 2 has a tag but no token"),
    "an unknown prefix": ("d.conll", "a\tB-X\n\nb\tQ-X\n", r"d\.conll line 3: the tag 'Q-X' is neither O nor begins"),
    "a tag without its prefix": ("d.conll", "a\tB-X\nb\tX\n", r"d\.conll line 2: the tag 'X' is neither O nor begins"),
    "an empty file": ("d.conll", "\n \n", r"d\.conll is empty"),
    "only document starts": ("d.conll", "-DOCSTART-\tO\n", r"d\.conll holds no sentence"),
    "too many tags": (
        "d.jsonl",
        [{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["a", "b"], "tags": ["O", "O", "O"]}],
        r"d\.jsonl line 2 has 2 tokens but 3 tags: wanted one tag for each token",
    ),
    "too few tags": ("d.jsonl", [{"tokens": ["a", "b"], "tags": ["O"]}], "has 2 tokens but 1 tags"),
    "tags that are no list": ("d.jsonl", [{"tokens": ["a"], "tags": "O"}], "'tags' holds 'O': wanted a list"),
    "tokens that are no words": ("d.jsonl", [{"tokens": ["a", 3], "tags": ["O", "O"]}], "something that is no word"),
    "an empty tag in a list": ("d.jsonl", [{"tokens": ["a"], "tags": [" "]}], "'tags' has no tag for a token: give one"),
    "no column of tags": ("d.jsonl", [{"tokens": ["a"], "x": 1}], r"no column that looks like a label"),
    "a span outside": ("d.jsonl", [{"text": "ab", "spans": [[0, 3, "X"]]}], "the span 0 to 3 lies outside the text's 2"),
    "a span that ends early": ("d.jsonl", [{"text": "ab", "spans": [[1, 1, "X"]]}], "the span 1 to 1 lies outside"),
    "a negative span": ("d.jsonl", [{"text": "ab", "spans": [[-1, 1, "X"]]}], "the span -1 to 1 lies outside"),
    "spans that overlap": (
        "d.jsonl",
        [{"text": "x", "spans": []}, {"text": "abc", "spans": [[1, 3, "Y"], [0, 2, "X"]]}],
        r"d\.jsonl line 2: the spans 0 to 2 and 1 to 3 overlap",
    ),
    "a span with its last character": ("d.jsonl", [{"text": "浙商银行的", "spans": [{"start": 0, "end": 3, "label": "X", "text": "浙商银行"}]}], "holds '浙商银' but says that it is '浙商银行': an end .*: add 1 to each"),
    "a span counted from 1": ("d.jsonl", [{"text": "Maria L", "spans": [{"start": 1, "end": 5, "label": "X", "text": "Maria"}]}], "holds 'aria' but says that it is 'Maria': .*: take 1"),
    "a span of another text": ("d.jsonl", [{"text": "Maria L", "spans": [{"start": 0, "end": 5, "label": "X", "text": "Anna"}]}], "says that it is 'Anna': correct its start and end"),
    "a span of white space": ("d.jsonl", [{"text": "a  b", "spans": [[1, 3, "X"]]}], "holds only white space"),
    "a span without a label": ("d.jsonl", [{"text": "ab", "spans": [{"start": 0, "end": 1}]}], "has no label"),
    "a span that is none": ("d.jsonl", [{"text": "ab", "spans": [[0, "1", "X"]]}], "is no span: wanted"),
    "spans that are no list": ("d.jsonl", [{"text": "ab", "spans": [[0, 1, "X"]]}, {"text": "a", "spans": 7}], "wanted a list of spans"),
    "a text of white space": ("d.jsonl", [{"text": "ab", "spans": []}, {"text": "  ", "spans": []}], "is empty"),
    "a line of other columns": ("d.conll", "a\tNN\tO\n\nb\tX\tO\nc\tO\n", r"d\.conll line 4 has 2 columns, the sentence's first line has 3"),
    "rows of two forms": ("d.jsonl", [{"tokens": ["a"], "tags": ["O"]}, {"text": "a", "spans": []}], r"line 2 has no 'tokens', which other rows have \(it has: text, spans\)"),
    "a document's row": ("d.json", '[{"text": "ab", "spans": []},\n\n{"text": "a", "spans": [[0, 3, "X"]]}]', r"d\.json row 2: the span 0 to 3 lies outside"),
    "a broken line": ("d.jsonl", '{"tokens": ["a"], "tags": ["O"]}\n{"tokens": [\n', r"d\.jsonl line 2 is not valid JSON"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_in_one_line_with_its_place(fault: str, tmp_path: Path) -> None:
    name, content, message = FAULTS[fault]
    with pytest.raises(DataError, match=message) as caught:
        read_tagged(write(tmp_path / name, content), {})
    assert "\n" not in str(caught.value)


def test_plain_classification_data_are_not_taken_for_tagged_ones() -> None:
    assert not holds_tags({"text": "a", "labels": ["x", "y"]})
    assert not holds_tags({"text": "a", "labels": []})
    assert not holds_tags({"text": "a", "label": "x"})
    assert not holds_tags({"tokens": ["a"]})


@pytest.mark.parametrize("column", ["label", "labels", "entities", "spans"])
def test_rows_without_a_span_may_come_first(column: str, tmp_path: Path) -> None:
    rows = [{"text": "none", column: []}, {"text": "none", column: []}, {"text": "in Rome", column: [[3, 7, "LOC"]]}]
    path = write(tmp_path / "d.jsonl", rows)
    assert guess_task(path) == "token-classification"
    assert read_tagged(path, {}).words[2] == ((0, 2, "O"), (3, 7, "B-LOC"))
    half = task_named("token-classification")(labels=("O", "B-LOC"))  # type: ignore[call-arg]
    assert half.inputs_of(path, {}) == ["none", "none", "in Rome"]


def test_sets_of_labels_stay_classification_where_the_first_is_empty(tmp_path: Path) -> None:
    rows = [{"text": "a", "labels": []}, {"text": "b", "labels": ["x", "y"]}]
    assert guess_task(write(tmp_path / "d.jsonl", rows)) == "text-classification"
    assert guess_task(write(tmp_path / "e.jsonl", rows[:1])) == "text-classification"


def test_a_first_row_without_tokens_is_told_by_the_others(tmp_path: Path) -> None:
    rows = [{"tokens": None, "tags": None}, {"tokens": ["a"], "tags": ["O"]}]
    assert guess_task(write(tmp_path / "d.jsonl", rows)) == "token-classification"


def test_rows_without_tokens_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        {"tokens": [], "tags": [], "intent": "x"},
        {"tokens": ["Anna"], "tags": ["B-PER"], "intent": "y"},
        {"tokens": ["", "\u00a0"], "tags": ["O", "O"], "intent": "z"},
    ]
    path = write(tmp_path / "d.jsonl", rows)
    with pytest.warns(UserWarning, match="left out") as caught:
        found = read_tagged(path, {})
    assert [str(warning.message).removeprefix(f"{path}: ") for warning in caught] == [
        f"2 tokens are white space and are left out with their tags (the first: {path} line 3)",
        f"2 of 3 rows have no tokens and are left out (the first: {path} line 1)",
    ]
    assert (found.texts, found.where) == (["Anna"], [f"{path} line 2"])
    assert found.table is not None
    assert found.table.columns["intent"] == ["y"]
    with pytest.warns(UserWarning, match="left out"):
        assert task_named("intent-slots").read(path, {}).gold == [("y", ((0, 4, "B-PER"),))]


@pytest.mark.filterwarnings("ignore:.*white space")
def test_rows_without_tokens_are_answered_too(tmp_path: Path) -> None:
    rows = [
        {"tokens": [], "tags": []},
        {"tokens": ["a", " "], "tags": ["O", "O"]},
        {"tokens": ["\u3000"], "tags": ["O"]},
    ]
    half = task_named("token-classification")(labels=("O", "B-X"))  # type: ignore[call-arg]
    assert half.inputs_of(write(tmp_path / "d.jsonl", rows), {}) == ["", "a", ""]


def test_a_file_without_any_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"d\.jsonl: all 1 rows have no tokens: wanted one at least"):
        read_tagged(write(tmp_path / "d.jsonl", [{"tokens": [], "tags": []}]), {})


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u2003"])
@pytest.mark.parametrize("between", ["\t", " "])
def test_a_token_of_white_space_stops_no_sentence(space: str, between: str, tmp_path: Path) -> None:
    content = f"我{between}B-X\n{space}{between}I-X\n你{between}I-X\n\na{between}O\n"
    with pytest.warns(UserWarning, match=r"1 tokens are white space .* \(the first: .*d\.conll line 2\)"):
        found = read_tagged(write(tmp_path / "d.conll", content), {})
    assert found.texts == ["我你", "a"]
    assert found.words[0] == ((0, 1, "B-X"), (1, 2, "I-X"))


def prodigy(text: str, spans: list[Any] | None, **more: Any) -> dict[str, Any]:
    starts = [0, *(i + 1 for i, c in enumerate(text) if c == " ")]
    tokens = [
        {"text": word, "start": start, "end": start + len(word), "id": i, "ws": True}
        for i, (word, start) in enumerate(zip(text.split(" "), starts, strict=True))
    ]
    return {"text": text, "tokens": tokens, **({} if spans is None else {"spans": spans}), **more}


def test_prodigys_spans_are_spans_of_the_text(tmp_path: Path) -> None:
    span = {"start": 3, "end": 7, "token_start": 1, "token_end": 1, "label": "LOC"}
    path = write(tmp_path / "d.jsonl", [prodigy("a b", []), prodigy("a", None), prodigy("in Rome", [span])])
    assert guess_task(path) == "token-classification"
    found = read_tagged(path, {})
    assert found.texts == ["a b", "a", "in Rome"]
    assert found.words == [((0, 1, "O"), (2, 3, "O")), ((0, 1, "O"),), ((0, 2, "O"), (3, 7, "B-LOC"))]


def test_what_prodigys_annotator_rejected_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [prodigy(text, [], answer=answer) for text, answer in (("a", "reject"), ("b", "accept"), ("c", "ignore"))]
    path = write(tmp_path / "d.jsonl", rows)
    with pytest.warns(
        UserWarning, match=r"2 of 3 rows were rejected or ignored and are left out \(the first: .* line 1\)"
    ):
        assert read_tagged(path, {}).texts == ["b"]
    assert read_tagged(path, {}, every_row=True).texts == ["a", "b", "c"]


WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).map(str.strip).filter(bool)


@given(st.lists(WORD, max_size=8))
def test_words_stand_in_the_joined_text_where_they_are_said_to(words: list[str]) -> None:
    text, spans = join_words(words)
    assert [text[start:end] for start, end in spans] == words
    assert find_words(text, words) == spans
    assert len(text) == max((end for _, end in spans), default=0)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), st.data())
def test_spanned_words_stay_within_their_text_and_its_spans(text: str, data: st.DataObject) -> None:
    borders = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = [(a, b, "X") for a, b in zip(borders[::2], borders[1::2], strict=False) if text[a:b].strip()]
    if not text.strip():
        return
    words = _words_of_spans(text, spans, "here")
    assert all(0 <= start < end <= len(text) and text[start:end].strip() for start, end, _ in words)
    assert [word[:2] for word in words] == sorted(word[:2] for word in words)
    inside = {i for a, b, _ in spans for i in range(a, b)}
    assert all((tag != "O") == set(range(start, end)).issubset(inside) for start, end, tag in words)
    assert sum(tag == "B-X" for _, _, tag in words) == len(spans)


NER = {"names": ["O", "B-PER"], "_type": "ClassLabel"}
SHAPES = {
    "older": {"feature": NER, "_type": "Sequence"},
    "newer": {"feature": NER, "length": -1, "_type": "List"},
    "oldest": [NER],
}


def write_parquet(path: Path, columns: dict[str, list[Any]], features: dict[str, Any]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if features else {}
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize("shape", SHAPES)
def test_class_numbers_of_parquet_become_the_names_in_its_metadata(shape: str, tmp_path: Path) -> None:
    columns = {"tokens": [["Anna", "sees"], ["it"]], "ner_tags": [[1, 0], [0]]}
    path = write_parquet(tmp_path / "d.parquet", columns, {"ner_tags": SHAPES[shape]})
    assert guess_task(path) == "token-classification"
    assert [[tag for _, _, tag in words] for words in read_tagged(path, {}).words] == [["B-PER", "O"], ["O"]]


def test_a_hub_data_set_written_as_parquet_has_the_names_that_it_has_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["O", "B-PER"])
    features = datasets.Features(
        {"ner_tags": datasets.Sequence(names), "label": names, "tokens": datasets.Sequence(datasets.Value("string"))}
    )
    rows = {"ner_tags": [[0, 1], None, [-1]], "label": [1, -1, None], "tokens": [["a"], [], ["b"]]}
    data = datasets.Dataset.from_dict(rows, features=features)
    data.to_parquet(tmp_path / "d.parquet")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    for source in (tmp_path / "d.parquet", "some/set"):
        assert read_table(source).columns == {
            "ner_tags": [["O", "B-PER"], None, [None]],
            "label": ["B-PER", "-1", None],
            "tokens": [["a"], [], ["b"]],
        }


def test_minus_one_is_no_label(tmp_path: Path) -> None:
    rows = {"text": ["a", "b", "c"], "label": [1, -1, 0]}
    path = write_parquet(tmp_path / "d.parquet", rows, {"label": NER})
    with pytest.warns(UserWarning, match=r"1 of 3 rows have no label \('-1'\) and are left out"):
        assert task_named("text-classification").read(path, {}).gold == ["B-PER", "O"]
    path = write_parquet(tmp_path / "d.parquet", {"text": ["a", "b"], "label": [-1, -1]}, {"label": NER})
    assert read_table(path).columns["label"] == [None, None]
    with pytest.raises(DataError, match=r"d\.parquet row 1: column 'label' has no label: give one or remove the row"):
        task_named("text-classification").read(path, {})


def test_numbers_without_names_are_refused_as_tags(tmp_path: Path) -> None:
    rows = {"tokens": [["a"], ["b"]], "ner_tags": [[0], [1]]}
    for path in (
        write_parquet(tmp_path / "d.parquet", rows, {}),
        write(tmp_path / "d.jsonl", [{"tokens": ["a"], "ner_tags": [0]}]),
    ):
        with pytest.raises(
            DataError, match=r"(row|line) 1: column 'ner_tags' holds 0: wanted names of tags, as in \"B-PER\"; wr"
        ):
            read_tagged(path, {})
    path = write_parquet(tmp_path / "d.parquet", {"tokens": [["a"]], "ner_tags": [[-1]]}, {"ner_tags": SHAPES["newer"]})
    with pytest.raises(
        DataError, match=r"(row|line) 1: column 'ner_tags' has no tag for a token: give one or remove the row"
    ):
        read_tagged(path, {})


def test_a_number_that_the_metadata_do_not_name_is_told(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d.parquet", {"text": ["a"], "label": [2]}, {"label": NER})
    with pytest.raises(
        DataError, match=r"d\.parquet: column 'label' holds the class 2, but its metadata name 2: write"
    ):
        read_table(path)


@pytest.mark.parametrize("written", [b"no json", b"[]", b'{"info": {"features": 3}}', b'{"info": {}}'])
def test_metadata_that_say_nothing_change_nothing(written: bytes, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": ["a"], "label": [7]}).replace_schema_metadata({b"huggingface": written})
    parquet.write_table(table, tmp_path / "d.parquet")
    assert read_table(tmp_path / "d.parquet").columns["label"] == [7]


def test_no_warning_where_nothing_was_repaired(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_tagged(write(tmp_path / "d.conll", conll(["B-A", "I-A", "O", "B-B"])), {})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.json", [["Anna sees", {"entities": [[0, 4, "PER"]]}]]),
        ("d.json", [{"text": "Anna sees", "label": [{"start": 0, "end": 4, "text": "Anna", "labels": ["PER"]}]}]),
        (
            "d.json",
            [{"text": "Anna sees", "entities": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 4}]}],
        ),
    ],
)
def test_spans_of_spacy_label_studio_and_doccano_are_read(name: str, content: Any, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    assert guess_task(tmp_path / name) == "token-classification"
    assert read_tagged(tmp_path / name, {}).words == [((0, 4, "B-PER"), (5, 9, "O"))]


def test_spans_whose_ends_are_inclusive_are_told(tmp_path: Path) -> None:
    rows = [{"text": "Anna flew", "entities": [{"start": 0, "end": 3, "type": "PER"}]}] * 12
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.warns(
        UserWarning, match="12 of 12 spans end inside a word: an end is the number of the first character behind"
    ):
        read_tagged(path, {})
    rows = [{"text": "Anna flew", "entities": [{"start": 0, "end": 4, "type": "PER"}]}] * 12
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_tagged(path, {}).words[0] == ((0, 4, "B-PER"), (5, 9, "O"))


def test_label_studio_leaves_the_spans_out_where_there_are_none(tmp_path: Path) -> None:
    rows = [
        {"text": "Anna flew", "label": [{"start": 0, "end": 4, "labels": ["PER"]}], "annotation_id": 1},
        {"text": "it rains", "annotation_id": 2},
    ]
    path = tmp_path / "d.json"
    path.write_text(json.dumps(rows))
    assert [len(words) for words in read_tagged(path, {}).words] == [2, 2]
