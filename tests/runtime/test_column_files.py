"""Files of columns: told from plain text by what they hold, and read as their publishers distribute them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlx.runtime.column_files import COLUMNS, _are_columns, file_format, read_sentences
from tlx.runtime.errors import DataError, UsageError
from tlx.runtime.predictions import read_file
from tlx.runtime.tables import read_table
from tlx.runtime.tagged import read_tagged
from tlx.runtime.tasks import guess_task, task_named

CONLL2003 = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC
call NN I-NP O
. . O O

# SYM O O
1 CD B-NP O
"""
CONLLU = """# newdoc id = weblog
# sent_id = weblog-1
# text = Let's go 20 000
1-2\tLet's\t_\t_\t_\t_\t_\t_\t_\t_
1\tLet\tlet\tVERB\tVB\t_\t0\troot\t_\t_
2\t's\tus\tPRON\tPRP\t_\t1\tobj\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t1\txcomp\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_
4\t20 000\t20000\tNUM\tCD\t_\t3\tobj\t_\t_

# sent_id = weblog-2
# text = #
1\t#\t#\tSYM\tNN\t_\t0\troot\t_\t_

"""
CONLLU_GOLD = [
    [("Let", "VERB"), ("'s", "PRON"), ("go", "VERB"), ("20 000", "NUM")],
    [("#", "SYM")],
]


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8", newline="")
    return path


def tagged(path: Path, **columns: str) -> list[list[tuple[str, str]]]:
    found = read_tagged(path, columns)
    return [
        [(text[start:end], tag) for start, end, tag in words]
        for text, words in zip(found.texts, found.words, strict=True)
    ]


def test_conll2003_as_it_is_distributed_is_tagged_text(tmp_path: Path) -> None:
    path = write(tmp_path / "train.txt", CONLL2003)
    assert file_format(path) == ".conll"
    assert guess_task(path) == "token-classification"
    assert tagged(path) == [
        [("EU", "B-ORG"), ("rejects", "O"), ("German", "B-MISC"), ("call", "O"), (".", "O")],
        [("#", "O"), ("1", "O")],
    ]
    task = task_named("token-classification")
    assert task.read(path, {}).labels == ("O", "B-MISC", "B-ORG")
    half = task(labels=("O", "B-ORG"))  # type: ignore[call-arg]
    assert read_file(path, half, {}) == half.inputs_of(path, {}) == ["EU rejects German call .", "# 1"]


def test_a_column_is_chosen_by_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "train.txt", CONLL2003)
    assert tagged(path, label="3")[0] == [
        ("EU", "B-NP"), ("rejects", "B-VP"), ("German", "B-NP"), ("call", "I-NP"), (".", "O")
    ]  # fmt: skip
    assert tagged(path, text="2", label="4")[0][:2] == [("NNP", "B-ORG"), ("VBZ", "O")]
    path = write(tmp_path / "d.conllu", CONLLU)
    assert tagged(path, label="5")[0][0] == ("Let", "VB")
    assert tagged(path, text="3")[0][1] == ("us", "PRON")


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"label": "ner"}, UsageError, r"--label is 'ner', but the columns of .*d\.conll have no names: give a column's"),
        ({"label": "0"}, UsageError, r"--label is '0', .* number, from 1"),
        ({"text": "-1"}, UsageError, r"--text is '-1', "),
        ({"label": "5"}, DataError, r"d\.conll line 3 has nothing in column 5 of 4: name another with --label"),
        ({"text": "7"}, DataError, r"d\.conll line 3 has nothing in column 7 of 4: name another with --text"),
    ],
)  # fmt: skip
def test_a_column_that_is_not_there_is_told(
    columns: dict[str, str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message) as caught:
        read_tagged(write(tmp_path / "d.conll", CONLL2003), columns)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["d.conllu", "d.conll", "d.txt"])
def test_conllu_gives_its_words_and_parts_of_speech(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, CONLLU)
    assert tagged(path) == CONLLU_GOLD
    assert guess_task(path) == "token-classification"


@pytest.mark.parametrize("suffix", [".conll", ".conllu", ".bio", ".iob", ".iob2", ".IOB2"])
def test_suffixes_of_column_files(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"d{suffix}", CONLLU)
    assert guess_task(path) == "token-classification"
    assert tagged(path) == CONLLU_GOLD
    with pytest.raises(
        DataError, match=r"wanted .csv, .* \(words with tags: .conll, .conllu, .bio, .iob or .iob2, and"
    ):
        read_table(path)


@pytest.mark.parametrize(
    ("content", "gold"),
    [
        ("# sent_id = 1\n# text = a #\na\tO\n#\tB-X\n\n#\tO\nb\tO\n", [["a", "#"], ["#", "b"]]),
        ("# sent_id = 1\n# text = a #\na O\n# B-X\n\n# O\nb O\n", [["a", "#"], ["#", "b"]]),
        ("# id 12\tdomain=en\na _ _ O\n\n#id\n# _ _ O\n", [["a"], ["#"]]),
        ("# sent_id = 1\na x y O\n# x y O\n", [["a", "#"]]),
        ("# only = this\n\na O\nb O\n\n# id 1\n", [["a", "b"]]),
        ("# O\n\n#tag B-X\n", [["#"], ["#tag"]]),
    ],
)
def test_comments_are_no_words_but_a_sharp_is(content: str, gold: list[list[str]], tmp_path: Path) -> None:
    found = tagged(write(tmp_path / "d.conll", content))
    assert [[word for word, _ in sentence] for sentence in found] == gold


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.conllu", "1\tA\tO\n", r"d\.conllu line 1 has 3 columns: wanted CoNLL-U's ten between tabs, the first a num"),
        ("d.conllu", CONLLU.replace("\t", " "), r"d\.conllu line 4 has 10 columns: wanted CoNLL-U's ten between tabs"),
        ("d.conllu", CONLLU.replace("3\tgo", "c\tgo"), r"line 7 has 10 columns: wanted CoNLL-U's ten .*first a number"),
        ("d.txt", "a O\nb B-X\nc\n", r"d\.txt line 3 has 1 columns, most lines have 2: wanted a word a line, with its tag"),
        ("d.txt", "The parser reads.\nIt is.\nA nice day.\n", r"d\.txt line 2 has 2 columns, most lines have 3"),
        ("d.txt", "a\nb\n", r"d\.txt line 1 has no tag behind 'a'"),
        ("d.conll", "# text = a\n", r"d\.conll holds no sentence"),
    ],
)  # fmt: skip
def test_a_line_that_has_not_the_columns_is_told(name: str, content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_tagged(write(tmp_path / name, content), {})
    assert "\n" not in str(caught.value)


def test_a_txt_is_read_as_columns_where_the_task_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "pos.txt", "a DET\nday NOUN\n")
    assert guess_task(path) == "fill-mask"
    assert tagged(path) == [[("a", "DET"), ("day", "NOUN")]]


PLAIN = {
    "a poem": "O Captain my Captain\nour fearful trip is done\n\nThe ship has weathered\nevery rack\n",
    "two words a line": "vitamin B-12\nvitamin B-6\n\nvitamin O\nvitamin E\n",
    "blood groups": "He has O\nShe has A\n\nThey have B\nWe have O\n",
    "one tag, spoken of": "a word O\nthe tag B-PER\nis not enough\n\nof a corpus O\n",
    "lists of words with parts of speech": "a DET\nday NOUN\n\nthe DET\nsun NOUN\n",
    "a table": "name\tscore\tgroup\nA\t1\tO\n\nB\t2\tAB\n",
    "tags alone": "O\nB-PER\n\nO\nI-PER\n",
    "one paragraph": "a O\nb B-PER\n",
    "numbers between tabs": "\t".join("1234567890") + "\n\n" + "\t".join("2234567890") + "\n",
    "nothing": " \n\n",
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_text_is_never_taken_for_columns(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "d.txt", PLAIN[name])
    assert file_format(path) == ".txt"
    half = task_named("token-classification")(labels=("O", "B-X"))  # type: ignore[call-arg]
    assert read_file(path, half, {}) == PLAIN[name].split("\n")[:-1]


LINE = st.lists(st.sampled_from(["O", "B-12", "I-95", "the", "a", "U-boat", "S-Bahn", ".", "# x", "1"]), max_size=4)


@given(st.lists(LINE.map(" ".join), max_size=12))
def test_what_is_taken_for_columns_has_tags_in_its_last_one(lines: list[str]) -> None:
    if _are_columns(lines):
        ends = [line.split()[-1] for line in lines if line and not line.startswith("#")]
        assert sum(end == "O" or re.match("[US]-", end) is not None for end in ends) >= 0.9 * len(ends)


def test_only_the_beginning_of_a_large_txt_is_looked_at(tmp_path: Path) -> None:
    assert file_format(write(tmp_path / "d.txt", CONLL2003 + "é B-X B-X B-X\n" * 30000)) == ".conll"
    assert file_format(write(tmp_path / "p.txt", "Two words, é.\n\n" * 30000)) == ".txt"


def test_spaces_that_are_no_plain_ones_belong_to_words(tmp_path: Path) -> None:
    path = write(tmp_path / "d.conll", "20\u00a0000 B-NUM\n\u3000x O\n")
    assert tagged(path) == [[("20\u00a0000", "B-NUM"), ("x", "O")]]


def test_the_columns_of_a_table_keep_their_names(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", json.dumps({"w": ["a"], "t": ["B-X"]}) + "\n")
    assert tagged(path, text="w", label="t") == [[("a", "B-X")]]


def test_a_tsv_of_words_in_columns_with_their_numbers_is_tagged_words(tmp_path: Path) -> None:
    path = tmp_path / "d.tsv"
    path.write_text("# source [2010]\n1\tAnna\tB-PER\tO\n2\tsagt\tO\tO\n\n# source\n1\tDas\tO\tO\n\n1\tJa\tO\tB-X\n")
    assert file_format(path) == ".conll"
    sentences, _ = read_sentences(path, {})
    assert [sentence.words for sentence in sentences] == [["Anna", "sagt"], ["Das"], ["Ja"]]
    assert read_sentences(path, {"label": "3"})[0][0].tags == ["B-PER", "O"]
    path.write_text("text\tlabel\nO\tB-X\n\na\tO\n")
    assert file_format(path) == ".tsv"


def test_numbers_of_two_columns_are_words(tmp_path: Path) -> None:
    path = tmp_path / "d.conll"
    path.write_text("1 B-N\n2 I-N\n\n1 O\n")
    assert read_sentences(path, {})[0][0].words == ["1", "2"]


def read_pairs(path: Path, **columns: str) -> list[tuple[list[str], list[str]]]:
    return [(found.words, found.tags) for found in read_sentences(path, columns)[0]]


def test_words_may_be_counted_from_0_and_tags_stand_first(tmp_path: Path) -> None:
    expected = [(["Anna", "flew"], ["B-PER", "O"]), (["it", "rains"], ["O", "O"])]
    counted = "0\tAnna\tB-PER\n1\tflew\tO\n\n0\tit\tO\n1\trains\tO\n"
    assert read_pairs(write(tmp_path / "d.tsv", counted)) == expected
    first = "B-PER\tAnna\nO\tflew\n\nO\tit\nO\trains\n"
    assert read_pairs(write(tmp_path / "d.bio", first)) == expected
    assert read_pairs(write(tmp_path / "d.bio", first), text="1", label="2")[0][0] == ["B-PER", "O"]


def test_prefixes_alone_are_tags(tmp_path: Path) -> None:
    path = write(tmp_path / "d.tsv", "BRCA1\tB\ngene\tI\n.\tO\n\nno\tO\n")
    assert file_format(path) == ".conll"
    assert read_pairs(path)[0] == (["BRCA1", "gene", "."], ["B", "I", "O"])


def test_ontonotes_has_its_names_in_brackets(tmp_path: Path) -> None:
    rows = [("Anna", "(PERSON*"), ("Lee", "*)"), ("left", "*"), ("Rome", "(GPE)")]
    lines = [f"bc/x/00/x_0000 0 {n} {word} NN * - - - - {tag} * -" for n, (word, tag) in enumerate(rows)]
    content = "#begin document (bc/x/00/x_0000); part 000\n" + "\n".join(lines) + "\n\n#end document\n"
    expected = [(["Anna", "Lee", "left", "Rome"], ["B-PERSON", "I-PERSON", "O", "B-GPE"])]
    for name in ("x.gold_conll", "x.conll", "x.txt"):
        path = write(tmp_path / name, content)
        assert file_format(path) in COLUMNS
        assert read_pairs(path) == expected
    assert read_pairs(path, text="4", label="5")[0][1] == ["NN"] * 4


def test_outer_spans_are_read_where_inner_ones_stand_beside_them(tmp_path: Path) -> None:
    lines = "1\tBank\tB-ORG\tO\n2\tof\tI-ORG\tO\n3\tSpain\tI-ORG\tB-ORG\n4\twarns\tO\tO\n\n"
    path = tmp_path / "d.tsv"
    path.write_text(lines * 3)
    with pytest.warns(UserWarning, match=r"columns 3 and 4 hold tags of the same kinds: 3 is read \(--label 4"):
        assert read_sentences(path, {})[0][0].tags == ["B-ORG", "I-ORG", "I-ORG", "O"]
    assert read_sentences(path, {"label": "4"})[0][0].tags == ["O", "O", "B-ORG", "O"]
    path.write_text("EU NNP B-NP B-ORG\nlikes VBZ B-VP O\nit PRP B-NP O\n\n" * 3)  # chunks are no outer spans
    assert read_sentences(path, {})[0][0].tags == ["B-ORG", "O", "O"]


@pytest.mark.parametrize(
    ("words", "bare"),
    [
        (["en:Anna", "en:flew", "en::", "en:."], ["Anna", "flew", ":", "."]),
        (["科0", "技1", "在0", "，0"], ["科", "技", "在", "，"]),
    ],
)
def test_what_is_written_to_every_word_is_left_out(words: list[str], bare: list[str], tmp_path: Path) -> None:
    path = tmp_path / "d.conll"
    path.write_text("".join(f"{word}\tO\n" for word in words) + "\n", encoding="utf-8")
    assert read_sentences(path, {})[0][0].words == words  # too few to tell
    path.write_text(("".join(f"{word}\tO\n" for word in words) + "\n") * 3, encoding="utf-8")
    with pytest.warns(UserWarning, match="what is written to every word is left out"):
        assert read_sentences(path, {})[0][0].words == bare
