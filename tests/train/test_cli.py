"""The options of `tlx train`: a table of the recipe's keys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from tlx.runtime.program import run
from tlx.train.cli import FLAGS, _recipe
from tlx.train.recipe import Recipe


def test_every_flag_sets_a_key_of_the_recipe_and_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    told = capsys.readouterr().out
    for flag in FLAGS:
        assert f"--{flag.name.replace('_', '-')} " in told
        section, _, key = flag.place.partition(".")
        if section != "task":  # whose options belong to the tasks
            assert key in get_type_hints(get_type_hints(Recipe)[section])


def test_flags_go_before_settings_and_settings_before_the_recipe() -> None:
    made = _recipe(
        "three-layers", ["train.epochs=3", "model.layers=4"], {"epochs": 5.0, "data": "a.csv", "teacher": []}
    )
    assert (made.train.epochs, made.model.layers, made.data.train) == (5.0, 4, "a.csv")
    assert made.model.teachers == ()


def _program(words: list[str]) -> tuple[list[str], str]:
    """(exit code and whether torch was loaded, what was told) of a process of its own."""
    code = (
        "import sys; from tlx.runtime.program import main\n"
        f"sys.argv = ['tlx', 'train', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("data", "base", "message"),
    [
        ("empty.csv", "base", "empty.csv is empty"),
        ("columns.csv", "base", "no column that looks like a text"),
        ("labels.csv", "base", "labels.csv"),
        ("labels.csv", "none/of/it", "none/of/it does not exist: wanted the folder of a pretrained model"),
        ("labels.csv", "here/of", "here/of does not exist: wanted the folder of a pretrained model"),
        ("labels.csv", "empty.csv", "empty.csv is a file: wanted the folder"),
        (f"{'a' * 300}.csv", "base", "cannot be read: File name too long"),
    ],
)
def test_what_is_wrong_with_names_and_data_is_told_before_torch_is_loaded(
    data: str, base: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").write_text("")
    Path("columns.csv").write_text("a,b\n1,2\n")
    Path("labels.csv").write_text("text,label\nplay,\nstop,\n")
    Path("here").mkdir()
    found, told = _program([data, "--base", base, "--out", "out"])
    assert (found, "Traceback" in told) == (["1" if base == "base" else "2", "False"], False), told
    assert message in told
    assert not Path("out").exists()


def test_a_stopped_run_is_remembered_before_the_data_are_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / ".out.tlx-run" / "checkpoint").mkdir(parents=True)
    found, told = _program(["none.csv", "--base", "none/of/it", "--out", str(out)])
    assert found[1] == "False"
    assert "go on with --resume" in told


@pytest.mark.parametrize("out", [".", "", "/"])
def test_a_folder_that_cannot_be_made_anew_is_refused(out: str, tmp_path: Path) -> None:
    found, told = _program([str(tmp_path / "none.csv"), "--base", "b", "--out", out])
    assert found == ["2", "False"]
    assert "cannot be made anew: name a new folder" in told
