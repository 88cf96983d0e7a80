"""What a run reads, in which order and how often; the texts that teachers label, and the cache of their answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.conftest import recipe, rows, write_csv

from tlx.runtime import tables
from tlx.runtime.errors import DataError, FolderError, TlxError, UsageError
from tlx.runtime.folder import file_record
from tlx.runtime.tasks.task import Encoded
from tlx.train.beforehand import check_start
from tlx.train.console import Console
from tlx.train.pretrained import load_tokenizer, model_hashes
from tlx.train.reading import check_models, hashes_of, read_data
from tlx.train.tasks import train_task
from tlx.train.teachers import Teacher, ask_teachers, load_teacher
from tlx.train.train import train
from tlx.train.transfer import transfer_inputs

QUIET = Console(quiet=True)
CPU = torch.device("cpu")


def test_a_training_file_is_parsed_once(data: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Path] = []
    parse = tables.read_delimited
    monkeypatch.setattr(tables, "read_delimited", lambda *given: parsed.append(given[0]) or parse(*given))
    read_data(recipe(data, base))
    assert parsed == [data]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"base": "none/of/it"}, "none/of/it does not exist: wanted the folder of a pretrained model"),
        ({"base": "cut"}, "cut does not load as a model"),
        ({"base": "base", "teachers": ["empty"]}, "empty has no config.json"),
        ({}, "there is nothing to start from: pass --base"),
        ({"student": "gru"}, "--student gru needs a vocabulary: pass --base .* or --teacher"),
    ],
)
def test_a_model_that_is_none_is_told_before_the_data_are_read(
    model: dict[str, Any], message: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(base, "base")
    shutil.copytree(base, "cut")
    Path("cut/model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:1000])
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=message):
        train(recipe(Path("no-such-data.csv"), model=model), "out", console=QUIET)
    with pytest.raises(DataError, match=r"no-such-data\.csv does not exist"):
        train(recipe(Path("no-such-data.csv"), model={"base": "base"}), "out", console=QUIET)


def test_each_file_of_a_model_is_hashed_once(data: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    plain = Path.open

    def counting(path: Path, *given: Any, **named: Any) -> Any:
        opened.append(path.name)
        return plain(path, *given, **named)

    made = recipe(data, teacher, model={"teachers": [str(teacher)]})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", counting)
        hashes = check_models(made)
        found = load_teacher(str(teacher), train_task("text-classification"), CPU, hashes)
    assert opened.count("model.safetensors") == 1
    assert found.fingerprint == file_record(teacher, "model.safetensors").sha256


def test_a_teacher_of_several_files_is_told_from_another(teacher: Path, tmp_path: Path) -> None:
    own = tmp_path / "sharded"
    shutil.copytree(teacher, own)
    (own / "tlx.json").unlink()
    (own / "more.bin").write_bytes(b"1")
    kind = train_task("text-classification")
    first = load_teacher(str(own), kind, CPU, model_hashes(str(own))).fingerprint
    (own / "more.bin").write_bytes(b"2")
    second = load_teacher(str(own), kind, CPU, model_hashes(str(own)))
    assert second.fingerprint != first
    (own / "config.json").write_text((own / "config.json").read_text() + "\n")
    third = load_teacher(str(own), kind, CPU, model_hashes(str(own)))
    assert (third.fingerprint == second.fingerprint, third.edition == second.edition) == (True, False)


def test_a_cache_that_cannot_be_written_is_told_before_the_data_are_read(base: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = recipe(tmp_path / "none.csv", base, distil={"cache": str(tmp_path / "file" / "cache")})
    with pytest.raises(
        FolderError, match=r"distil\.cache is .*cache, but it is a file \(.*file\): name a folder of yours"
    ):
        train(made, tmp_path / "out", console=QUIET)


@pytest.mark.parametrize("left", [0, 60, 200, None])
def test_a_damaged_answer_in_the_cache_is_asked_for_again(
    left: int | None, data: Path, teacher: Path, tmp_path: Path
) -> None:
    made, examples, task = read_data(recipe(data, model={"teachers": [str(teacher)]}))
    found = load_teacher(str(teacher), type(task), CPU, model_hashes(str(teacher)))
    task.adopt_labels(found.labels, found.source)
    inputs = list(examples.validation.inputs)

    def ask() -> Any:
        reported: list[int] = []
        encoded = Encoded([np.zeros(1, np.int64)] * len(inputs))
        tokenizer = load_tokenizer(str(teacher))
        answers = ask_teachers([found], task, inputs, encoded, tokenizer, 32, tmp_path, "fp32", reported.append)
        assert sum(reported) == len(inputs)
        return answers.values

    first = ask()
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(b"PK no array" if left is None else whole[:left])
    with pytest.warns(UserWarning, match=r"outputs-.*\.npy is damaged \(.*\): the teacher is asked again"):
        np.testing.assert_array_equal(ask(), first)
    assert kept.read_bytes() == whole


def unlabelled(source: Path, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is taken from the file for a task with a teacher."""
    if task == "text-classification":
        given = write_csv(tmp_path / "train.csv", rows(40, 1))
    else:
        given = tmp_path / "train.conll"
        given.write_text("".join(f"play{n} O\njazz B-genre\n\n" for n in range(30)))
    made = recipe(
        given, model={"task": task, "teachers": ["t"]}, data={"unlabelled": [str(source)]}, augment={"count": 0}
    )
    made, examples, kind = read_data(made)
    monkeypatch.setattr("tlx.train.transfer.augment_count", lambda *_: 0)
    monkeypatch.setattr("tlx.train.transfer._mean_tokens", lambda *_: 1.0)
    stand_in: Any = [Teacher.__new__(Teacher)]
    return list(transfer_inputs(made, kind, examples, stand_in, QUIET))


CONLLU = (
    "1\tplay\t_\tVERB\t_\t_\t_\t_\t_\t_\n2\tjazz\t_\tNOUN\t_\t_\t_\t_\t_\t_\n\n1\tstop\t_\tVERB\t_\t_\t_\t_\t_\t_\n"
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.conll", "play O\njazz B-genre\n\nstop O\n"),
        ("u.txt", "play O\njazz B-genre\n\nstop O\n"),
        ("u.conllu", CONLLU),
        (
            "u.jsonl",
            "\n".join(json.dumps({"tokens": t.split(), "tags": ["O"] * len(t.split())}) for t in ("play jazz", "stop")),
        ),
        ("u.jsonl", '{"text": "play jazz", "entities": [[0, 4, "x"]]}\n{"text": "stop", "entities": []}'),
        ("u.csv", "anything\nplay jazz\nstop\n"),
        ("u2.txt", "play jazz\n\nstop\n"),
    ],
)
def test_unlabelled_texts_are_taken_from_whatever_a_tagger_reads(
    name: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text(content)
    assert unlabelled(tmp_path / name, "token-classification", tmp_path, monkeypatch) == ["play jazz", "stop"]


def test_a_classifier_takes_no_words_in_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "u.conll").write_text("play O\n")
    with pytest.raises(TlxError, match=r"u\.conll ends in \.conll: wanted \.csv"):
        unlabelled(tmp_path / "u.conll", "text-classification", tmp_path, monkeypatch)


@pytest.mark.parametrize("header", ["Text", "Phrase"])
def test_the_only_column_of_a_file_holds_its_texts_whatever_its_name(
    header: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "u.csv").write_text(f"{header}\nplay jazz\nstop\n")
    assert unlabelled(tmp_path / "u.csv", "text-classification", tmp_path, monkeypatch) == ["play jazz", "stop"]


def test_files_that_a_pattern_or_a_folder_stands_for_are_hashed(tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "a.txt").write_text("one\n")
    (more / "b.txt").write_text("two\n")
    given = write_csv(tmp_path / "train.csv", rows(40, 1))
    for source in (str(more / "*.txt"), str(more)):
        made, data, _ = read_data(recipe(given, data={"unlabelled": [source]}, model={"teachers": ["t"]}))
        found = hashes_of(made, data)
        assert {str(more / "a.txt"), str(more / "b.txt")} <= found.keys()


def test_a_base_that_would_do_nothing_is_refused(tmp_path: Path) -> None:
    given = write_csv(tmp_path / "train.csv", rows(40, 1))
    made = recipe(given, model={"base": "b", "teachers": ["t"], "student": "convolution"})
    with pytest.raises(TlxError, match="--student convolution starts from its first teacher's words, and --base b"):
        check_start(made.model)
