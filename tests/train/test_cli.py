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


@pytest.mark.parametrize(
    "content", ["", "a,b\n1,2\n", "text,label\nplay,\nstop,\n"], ids=["empty", "columns", "labels"]
)
def test_faults_of_the_data_are_told_before_torch_is_loaded(content: str, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text(content)
    code = (
        "import sys; from tlx.runtime.program import main\n"
        f"sys.argv = ['tlx', 'train', {str(data)!r}, '--base', 'base', '--out', {str(tmp_path / 'out')!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "False"], done.stderr
    assert str(data) in done.stderr
