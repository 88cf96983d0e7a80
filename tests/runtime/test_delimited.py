"""CSV and TSV as they are found in public."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlx.runtime.delimited import read_delimited
from tlx.runtime.errors import DataError

HERE = Path("data.csv")
# Where a field holds a tab and a line break, and its lines happen to have the header's fields, a TSV has two readings.
FIELD = st.text(st.sampled_from('ab,"\n;é中 '), max_size=8) | st.text(st.sampled_from('ab,"\t;é中 '), max_size=8)


def read(text: str, delimiter: str = ",") -> tuple[dict[str, list[str]], list[int]]:
    return read_delimited(HERE, text, delimiter)


def test_marks_in_a_tsv_are_part_of_the_text() -> None:
    text = 'text\tlabel\n"Hello there\tpos\nshe said "hi"\tneg\n"hi"\tpos\n"Great movie," he said\tneg\n'
    columns, lines = read(text, "\t")
    assert columns == {
        "text": ['"Hello there', 'she said "hi"', '"hi"', '"Great movie," he said'],
        "label": ["pos", "neg", "pos", "neg"],
    }
    assert lines == [2, 3, 4, 5]


@pytest.mark.parametrize(("mark", "delimiter"), [("'", ";"), ('"', ";"), ("'", "|")])
def test_texts_with_commas_between_other_delimiters_without_a_row_of_names(mark: str, delimiter: str) -> None:
    texts = ["Well, that" + " and that" * 30, f"one{delimiter} two, three", "four"]
    text = "".join(f"news{delimiter}{mark}{item}{mark}\n" for item in texts)
    with pytest.warns(UserWarning, match="columns are called column 1 to column 2"):
        columns, lines = read(text)
    assert columns == {"column 1": ["news"] * 3, "column 2": texts}
    assert lines == [1, 2, 3]


def test_a_tsv_that_needs_its_quotation_has_it_taken_off() -> None:
    text = 'text\tlabel\r\n"two\r\nlines"\tpos\r\n"a\ttab"\tneg\r\nplain\tneg\r\n'
    assert read(text, "\t") == (
        {"text": ["two\r\nlines", "a\ttab", "plain"], "label": ["pos", "neg", "neg"]},
        [2, 4, 5],
    )


@given(
    rows=st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=5),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_csv_writes_is_read_back(rows: list[tuple[str, str]], quoting: int, delimiter: str) -> None:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerows([("text", "label"), *rows])
    columns, _ = read(stream.getvalue(), "\t" if delimiter == "\t" else ",")
    assert list(zip(columns["text"], columns["label"], strict=True)) == rows


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('text,label\n"open,pos\nb,neg\n', 2),
        ('text,label\na,pos\n"b" c,neg\nd,pos\n', 3),
    ],
)
def test_a_quotation_that_does_not_close_its_field_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(DataError, match=f"line {line} is not valid"):
        read(text, "\t" if "\t" in text else ",")


def test_a_row_of_another_length_is_refused_with_its_line() -> None:
    with pytest.raises(DataError, match="line 3 has 3 fields, the header has 2"):
        read("text,label\na,pos\nb,c,neg\n")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_found_in_the_header(delimiter: str) -> None:
    columns, _ = read(f"text{delimiter}label\none, two{delimiter}pos\n")
    assert columns == {"text": ["one, two"], "label": ["pos"]}


def test_names_lose_their_space_and_nameless_columns_get_one() -> None:
    columns, _ = read("label, text,,\nspam,free,,\nham,hello,more,\n")
    assert list(columns) == ["label", "text", "column 3", "column 4"]
    assert columns["text"] == ["free", "hello"]


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(DataError, match="names column 'a' twice"):
        read("a,a\n1,2\n")


def test_a_single_column_needs_no_delimiter() -> None:
    assert read("text\nhello; you\n") == ({"text": ["hello; you"]}, [2])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sep=;\r\ntext;label\r\na, b;pos\r\n", 3),
        ("sep=\t\ntext\tlabel\na\tpos\n", 3),
        ('"text, raw";label\n"a;b";pos\n', 2),
    ],
)
def test_excels_first_line_and_quoted_names_do_not_hide_the_delimiter(text: str, line: int) -> None:
    columns, lines = read(text)
    assert list(columns.values())[1] == ["pos"]
    assert lines == [line]


@pytest.mark.parametrize(
    "text",
    [
        "3,Wall St. Bears Claw Back,x\n4,two,y\n",
        "她今天在哪里学习中文呢,她在哪里,0\na,b,1\n",
        '"0","1467810369","Mon Apr 06 22:19:45","x"\n4,1,d,y\n',
    ],
)
def test_a_first_row_that_is_evidently_data_is_read_as_such(text: str) -> None:
    with pytest.warns(UserWarning, match=r"the first row is data, not names: columns are called column 1 to column \d"):
        columns, lines = read(text)
    assert all(len(values) == 2 for values in columns.values())
    assert list(columns)[:2] == ["column 1", "column 2"]
    assert lines == [1, 2]


@pytest.mark.parametrize("header", ["0,1", "text,2019", "What did you like about it,label", "#1 ID,#1 String"])
def test_names_with_numbers_or_long_ones_stay_names(header: str) -> None:
    assert list(read(f"{header}\na,b\n")[0]) == header.split(",")


def test_the_line_without_a_tab_is_named_and_not_a_quotation_before_it() -> None:
    with pytest.raises(DataError, match="line 4 has 1 fields, the header has 2: part the fields by tabs"):
        read('text\tlabel\n"Hello" she said\tpos\nb\tneg\nno tab here\n', "\t")


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_file_of_nothing_but_line_ends_is_empty(delimiter: str) -> None:
    for text in ("", "\n\r\n", "sep=;\n"):
        with pytest.raises(DataError, match="is empty: wanted a header and rows"):
            read(text, delimiter)
