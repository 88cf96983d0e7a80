"""Where data may lie: packed files, several files, folders, data sets by name; and that each is read once."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tlx.runtime.column_files import file_format, read_once
from tlx.runtime.errors import DataError
from tlx.runtime.predictions import read_file
from tlx.runtime.tables import Table, read_table
from tlx.runtime.tagged import read_tagged
from tlx.runtime.tasks import guess_task, task_named
from tlx.runtime.tasks.classification import TextClassification

ROWS = "text,label\nplay music,a\nstop it,b\n"


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv.gz", ROWS),
        ("d.tsv.gz", ROWS.replace(",", "\t")),
        ("d.JSONL.gz", '{"text": "play music", "label": "a"}\n{"text": "stop it", "label": "b"}\n'),
        ("d.csv", ROWS.encode("utf-16")),
    ],
)
def test_packed_files_and_those_of_utf_16_hold_the_same_rows(name: str, content: str | bytes, tmp_path: Path) -> None:
    table = read_table(write(tmp_path / name, content))
    assert dict(table.columns) == {"text": ["play music", "stop it"], "label": ["a", "b"]}
    assert len(table.sha256) == 64


def test_packed_columns_and_packed_lines_are_read_as_such(tmp_path: Path) -> None:
    sentences = write(tmp_path / "d.txt.gz", "play O\njazz B-genre\n\nstop O\n")
    assert file_format(sentences) == ".conll"
    assert read_tagged(sentences, {}).texts == ["play jazz", "stop"]
    lines = write(tmp_path / "lines.txt.gz", "one\n\nthree\n")
    assert read_file(lines, TextClassification(labels=("a", "b")), {}) == ["one", "", "three"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv.gz", None, r"d\.csv\.gz is damaged, or was not packed by gzip"),
        ("d.zip", b"PK", r"d\.zip ends in \.zip: .*unpack it first"),
        ("d.csv", b"\xff\xfea", r"d\.csv begins as UTF-16 but goes on otherwise: save the file as UTF-8"),
    ],
)
def test_what_cannot_be_unpacked_is_told(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(gzip.compress(ROWS.encode() * 9)[:40] if content is None else content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name)


def test_a_pattern_stands_for_its_files_in_order_and_a_fault_names_the_file(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", "label,text\nb,\n")
    write(tmp_path / "a.csv.gz", ROWS)
    table = read_table(tmp_path / "*.csv*")
    assert table.columns["label"] == ["a", "b", "b"]
    with pytest.raises(DataError, match=r"b\.csv line 2: column 'text' is empty"):
        task_named("text-classification").read(table, {})
    write(tmp_path / "c.csv", "text,kind\nx,y\n")
    with pytest.raises(
        DataError, match=r"c\.csv has the columns text, kind, .*a\.csv\.gz has text, label: wanted the s"
    ):
        read_table(tmp_path / "*.csv*")
    with pytest.raises(DataError, match=r"no file matches .*\*\.tsv"):
        read_table(tmp_path / "*.tsv")


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (("train-00000-of-00002.csv", "train-00001-of-00002.csv", "test-00000-of-00001.csv"), "train"),
        (("train_1.csv", "train_2.csv", "training.csv"), "train"),
        (("data/dev-0.csv", "data/dev-1.csv", "data/train.csv"), "validation"),
    ],
)
def test_a_folder_gives_the_files_of_the_split(names: tuple[str, ...], split: str, tmp_path: Path) -> None:
    for number, name in enumerate(names):
        write(tmp_path / name, f"text,label\nt{number},x\n")
    assert sorted(read_table(tmp_path, split=split).columns["text"]) == ["t0", "t1"]


def test_a_folder_without_the_split_or_with_two_formats_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "words.csv", ROWS)
    with pytest.raises(DataError, match=r"without train\.csv.*it holds: words\.csv\): name a file, or several as"):
        read_table(tmp_path)
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "train.jsonl", "{}")
    with pytest.raises(DataError, match=r"holds train\.csv and train\.jsonl: name the file to read"):
        read_table(tmp_path)


def saved(rows: int) -> Any:
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    data = {"text": [f"t{n}" for n in range(rows)], "label": [n % 2 for n in range(rows)]}
    return datasets.Dataset.from_dict(data, features=features)


def test_what_datasets_saved_is_read_by_its_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict(train=saved(3), dev=saved(2)).save_to_disk(tmp_path / "all")
    assert read_table(tmp_path / "all").columns["label"] == ["no", "yes", "no"]
    assert read_table(tmp_path / "all", split="validation").columns["text"] == ["t0", "t1"]
    assert len(read_table(tmp_path / "all" / "dev")) == 2
    with pytest.raises(DataError, match=r"all has no split test \(it has: train, dev\): name the folder of one"):
        read_table(tmp_path / "all", split="test")
    (tmp_path / "all" / "dev" / "state.json").write_text("{}")
    with pytest.raises(DataError, match="dev is not readable as what datasets saved"):
        read_table(tmp_path / "all" / "dev")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set with the configurations sst2 and mrpc that is found by name."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "owner" / "set"
    lines = ["---", "configs:"]
    for configuration, rows in (("sst2", 4), ("mrpc", 2)):
        lines += [f"- config_name: {configuration}", "  data_files:"]
        for split in ("train", "validation"):
            path = write(folder / configuration / f"{split}.jsonl", '{"text": "t", "label": "x"}\n' * rows)
            lines += [f"  - split: {split}", f"    path: {path.relative_to(folder)}"]
    write(folder / "README.md", "\n".join([*lines, "---", ""]))
    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda name, *a, **k: load(str(tmp_path / name), *a, **k))
    return folder


def test_a_data_set_is_named_with_its_configuration_and_split(repository: Path) -> None:
    assert len(read_table("owner/set:sst2")) == 4
    assert len(read_table("owner/set:mrpc:validation")) == 2
    assert len(read_table("owner/set:sst2:train[:3]")) == 3
    for name, told in (
        ("owner/set", r"spelt owner/name, owner/name:configuration .*available configs: \['sst2', 'mrpc'\]"),
        ("owner/set:nope", r"available configs: \['sst2', 'mrpc'\]"),
        ("owner/set:sst2:test", r"Unknown split \"test\". Should be one of \['train', 'validation'\]"),
    ):
        with pytest.raises(DataError, match=told):
            read_table(name)


def test_one_name_behind_the_colon_may_be_the_split(repository: Path) -> None:
    write(repository / "README.md", "---\nconfigs:\n- config_name: default\n  data_files: sst2/*.jsonl\n---\n")
    assert len(read_table("owner/set:train")) == 8
    assert len(read_table("owner/set:train[:5]")) == 5


def test_a_task_is_guessed_from_a_table_and_read_from_it_though_the_file_is_gone(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", ROWS)
    source = read_once(path)
    path.unlink()
    assert isinstance(source, Table)
    assert guess_task(source) == "text-classification"
    assert task_named("text-classification").read(source, {}).gold == ["a", "b"]


def test_files_of_words_and_of_lines_are_left_to_the_task(tmp_path: Path) -> None:
    for name in ("d.conll", "d.txt", "d.txt.gz"):
        path = write(tmp_path / name, "play O\n")
        assert read_once(path) == path


def test_a_folder_of_texts_for_each_label_is_a_table(tmp_path: Path) -> None:
    for name in ("pos/0_9.txt", "pos/1_8.txt", "neg/0_1", "neg/.hidden"):
        write(tmp_path / "train" / name, f"{name} says so\n")
    write(tmp_path / "train" / "unsup" / "0_0.txt", "nobody knows")
    write(tmp_path / "train" / "urls.txt", "x")
    for folder in (tmp_path, tmp_path / "train"):
        with pytest.warns(UserWarning, match="1 folder names no label and is left out .*unsup"):
            table = read_table(folder)
        assert table.columns["label"] == ["neg", "pos", "pos"]
        assert table.columns["text"][0] == "neg/0_1 says so"
    assert table.where(2).endswith("1_8.txt line 1")


STEP = {"seq.in": "to boston\nfrom new york\n", "seq.out": "O B-city\nO B-city I-city\n", "label": "flight\nairfare\n"}


def test_words_tags_and_intents_in_step_are_a_table(tmp_path: Path) -> None:
    for name, content in STEP.items():
        write(tmp_path / "train" / name, content)
    for folder in (tmp_path, tmp_path / "train"):
        source = read_once(folder)
        assert guess_task(source) == "intent-slots"
        found = task_named("intent-slots").read(source, {})
    assert found.inputs == ["to boston", "from new york"]
    assert [intent for intent, _ in found.gold or ()] == ["flight", "airfare"]
    assert (found.gold or ())[1][1] == ((0, 4, "O"), (5, 8, "B-city"), (9, 13, "I-city"))
    (tmp_path / "train" / "label").unlink()
    assert guess_task(tmp_path) == "token-classification"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("label", "flight\n", r"label has 1 lines but .*seq\.in has 2: wanted one for each"),
        ("seq.out", "O B-city\nO B-city\n", r"seq\.in line 2 has 3 tokens.* 2 tags"),
        ("seq.out", "", r"seq\.out is empty"),
    ],
)
def test_files_that_are_not_in_step_are_told(name: str, content: str, message: str, tmp_path: Path) -> None:
    for file, text in {**STEP, name: content}.items():
        write(tmp_path / file, text)
    with pytest.raises(DataError, match=message):
        task_named("intent-slots").read(tmp_path, {})


def test_a_folder_of_folders_with_other_files_is_no_table(tmp_path: Path) -> None:
    for name in ("a/x.txt", "b/x.png"):
        write(tmp_path / name, "x")
    with pytest.raises(DataError, match=r"is a folder without train\.csv.*it holds: a/, b/"):
        read_table(tmp_path)


def test_lines_of_fasttext_are_texts_with_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "d.txt", "__label__a play music\n\n__label__b  stop it , now\n")
    assert guess_task(path) == guess_task(read_once(path)) == "text-classification"
    table = read_table(path)
    assert dict(table.columns) == {"text": ["play music", "stop it , now"], "label": ["a", "b"]}
    assert table.where(1).endswith("line 3")
    task: Any = TextClassification(labels=("a", "b"))
    assert read_file(path, task, {}) == ["play music", "stop it , now"]


def test_lines_of_fasttext_may_have_several_labels(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "d.txt", "__label__a __label__b play music\n__label__b stop it\n"))
    assert dict(table.columns) == {"text": ["play music", "stop it"], "labels": [["a", "b"], ["b"]]}


def test_tabs_blank_lines_and_utf_16_change_nothing_of_fasttext(tmp_path: Path) -> None:
    content = "\n __label__a\tplay music\n__label__a\t__label__b \tstop it\n"
    for number, stored in enumerate((content.encode(), content.encode("utf-16"))):
        path = write(tmp_path / f"{number}.txt", stored)
        assert guess_task(path) == guess_task(read_once(path)) == "text-classification"
        assert dict(read_table(path).columns) == {"text": ["play music", "stop it"], "labels": [["a"], ["a", "b"]]}


@pytest.mark.parametrize(
    ("lines", "labels"),
    [
        (["DESC:manner How did serfdom develop ?", "ENTY:animal What bird is it ?"], ["DESC:manner", "ENTY:animal"]),
        (["1 a gripping film", "0 'dull' , 90 minutes of it"], ["1", "0"]),
        (["i feel fine;joy", "it rains @ times;sadness"], ["joy", "sadness"]),
        (["Sales rose , again .@positive", "Sales fell .@negative"], ["positive", "negative"]),
    ],
)
def test_lines_that_hold_what_comes_again_and_again_have_labels(
    lines: list[str], labels: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path / "d.txt", "\n".join([*lines * 2, lines[1]]) + "\n")
    table = read_table(path)
    assert guess_task(path) == "text-classification"
    assert table.columns["label"] == [*labels * 2, labels[1]]
    assert [f"{label} {text}" for label, text in zip(labels, table.columns["text"], strict=False)] == [
        line if line.startswith(label) else f"{label} {line[: -len(label) - 1]}"
        for label, line in zip(labels, lines, strict=True)
    ]
    with pytest.raises(DataError, match=r"d.txt line 401 has no label beside its text, as the first line has"):
        read_table(write(path, "\n".join([*lines * 200, "stop it"])))


@pytest.mark.parametrize(
    "text",
    [
        "1 In the beginning\n2 And the earth\n3 And God said\n",
        "90 minutes\n",
        "A: so\nB: no\n" * 2,
        "1 hello\n2 hi there\n3 bye\n" * 3,
    ],
)
def test_lines_that_begin_otherwise_are_plain(text: str, tmp_path: Path) -> None:
    assert list(read_table(write(tmp_path / "d.txt", text)).columns) == ["text"]


def test_a_line_without_a_label_among_those_of_fasttext_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "d.txt", "__label__a play\nstop it\n")
    with pytest.raises(DataError, match=r"d\.txt line 2 has no label beside its text"):
        read_table(path)


def test_a_text_that_only_speaks_of_labels_is_a_text(tmp_path: Path) -> None:
    path = write(tmp_path / "d.txt", "the prefix is\n__label__a here\n")
    assert dict(read_table(path).columns) == {"text": ["the prefix is", "__label__a here"]}
    assert guess_task(path) == "fill-mask"


def test_an_empty_file_in_a_folder_of_texts_is_a_row_without_a_text(tmp_path: Path) -> None:
    for label in ("pos", "neg"):
        (tmp_path / label).mkdir()
        for number in range(60):
            (tmp_path / label / f"{number}.txt").write_text(f"{label} {number}")
    (tmp_path / "pos" / "7.txt").write_text("")
    with pytest.warns(UserWarning, match="have no text"):
        assert len(TextClassification.read(tmp_path, {})) == 119


@pytest.mark.parametrize(
    ("content", "texts", "gold"),
    [
        ("ham\tare you free tonight, my friend?\nspam\tyou have won a prize, call now\nham\tsee you there at nine\n", "", "ham"),
        ("id\tsentence_A\tsentence_B\tentailment_label\n1\ta dog runs\ta cat sits\tNEUTRAL\n2\ta b\tc d\tENTAILMENT\n", "a cat sits", "NEUTRAL"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*the first row is data, not names")
def test_a_txt_whose_lines_have_as_many_tabs_is_a_table(content: str, texts: str, gold: str, tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text(content)
    assert guess_task(path) == "text-classification"
    examples = task_named("text-classification").read(path, {})
    assert examples.gold[0] == gold
    assert texts in examples.inputs[0] or isinstance(examples.inputs[0], str)
    half = task_named("text-classification")(labels=("a", "b"))  # type: ignore[call-arg]
    assert read_file(path, half, {})[0] == content.split("\n")[0]  # to be answered, its lines are texts


@pytest.mark.parametrize("content", ["one line\twith a tab\n", "a\tb\nno tab\n", "a\tb\n\nc\td\n", "plain\ntext\n"])
def test_other_lines_with_tabs_are_plain_text(content: str, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text(content)
    assert guess_task(path) == "fill-mask"


def test_a_folder_of_lines_or_of_columns_stands_for_its_split(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        write(tmp_path / f"{split}.txt", f"{split} O\nParis B-LOC\n\nit O\n")
    for asked, found in (("train", "train"), ("validation", "valid"), ("test", "test")):
        source = read_once(tmp_path, split=asked)
        assert source == tmp_path / f"{found}.txt"
        assert guess_task(source) == "token-classification"


@pytest.mark.parametrize(
    "document",
    [
        '{"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}',
        '{"text": ["a", "b"], "label": ["x", "y"]}',
        '{"data": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]}',
        '{"version": 1, "rows": [{"row": {"text": "a", "label": "x"}}, {"row": {"text": "b", "label": "y"}}]}',
    ],
)
def test_a_document_of_another_shape_is_the_same_table(document: str, tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "d.json", document))
    assert dict(table.columns) == {"text": ["a", "b"], "label": ["x", "y"]}


def test_a_document_of_several_splits_gives_the_one_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", '{"val": [["b", "y"]], "oos_train": [["c", "oos"]], "train": [["a", "x"]]}')
    assert dict(read_table(path).columns) == {"text": ["a"], "label": ["x"]}
    assert dict(read_table(path, split="validation").columns) == {"text": ["b"], "label": ["y"]}
    with pytest.raises(DataError, match="holds the splits val, oos_train, train, and no test: name another file"):
        read_table(path, split="test")


def test_fields_that_are_all_quoted_are_bare_where_the_header_is(tmp_path: Path) -> None:
    path = write(tmp_path / "d.tsv", 'id\tsentiment\treview\n"1"\t1\t"a \\"great\\" film"\n"2"\t0\t"dull"\n')
    table = read_table(path)
    assert dict(table.columns) == {"id": ["1", "2"], "sentiment": ["1", "0"], "review": ['a "great" film', "dull"]}


def test_multiple_choice_and_tags_of_words_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "premise,choice1,choice2,question,label\na,b,c,effect,0\nd,e,f,cause,1\n")
    with pytest.raises(DataError, match=r"has choices \(choice1, choice2\), and tlx has no multiple choice"):
        TextClassification.read(path, {})
    assert TextClassification.read(path, {"text": "premise"}).inputs == ["a", "d"]
    path = write(tmp_path / "d.jsonl", '{"text": "ab", "label": ["B-ORG", "O"]}\n{"text": "cd", "label": ["O", "O"]}\n')
    with pytest.raises(DataError, match=r"column 'label' holds tags of words \(B-ORG, O, …\)"):
        TextClassification.read(path, {})


def test_a_whole_file_goes_before_numbered_parts_of_it(tmp_path: Path) -> None:
    for name, rows in (("train.csv", 3), ("train_10.csv", 1), ("train_5.csv", 4)):
        (tmp_path / name).write_text("text,label\n" + "a b,x\n" * rows)
    assert len(read_table(tmp_path)) == 3
    (tmp_path / "train.csv").unlink()
    assert len(read_table(tmp_path)) == 5
