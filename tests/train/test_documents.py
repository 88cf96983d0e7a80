"""Every command and example in README.md and docs/ runs, in order, on tiny data and a tiny base."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.train.conftest import rows, write_csv

from tlx.train.recipe import recipe_from

ROOT = Path(__file__).parents[2]
QUICK = ["--set", "train.epochs=1"]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def workspace(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader has it: data/, models/tlx-mini-en, and a recipe of docs/recipes.md."""
    folder = tmp_path_factory.mktemp("a reader")
    (folder / "data").mkdir()
    for number, name in enumerate(("train", "val", "test")):
        write_csv(folder / "data" / f"{name}.csv", rows(90, 10 + number))
    (folder / "data" / "lines.txt").write_text("play some music\nlights off\n", encoding="utf-8")
    shutil.copytree(base, folder / "models" / "tlx-mini-en")
    (folder / "recipe.toml").write_text(blocks("docs/recipes.md", "toml")[0], encoding="utf-8")
    return folder


def run(command: str, workspace: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    assert words[0] == "tlx"
    if words[1] == "train" and "--list-recipes" not in words:
        words += QUICK + (["--augment", "40"] if "--teacher" in words and "--augment" not in words else [])
    if words[1] == "export":
        words += ["--max-drop", "1"]  # a tiny model of random weights is no model to keep
    program = [sys.executable, "-m", "tlx.runtime.program", *words[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        program, cwd=workspace, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
    )


def test_the_readmes_commands_and_examples_run_in_order(workspace: Path) -> None:
    commands = [line for block in blocks("README.md", "sh") for line in block.splitlines() if line.startswith("tlx ")]
    assert len(commands) >= 12
    for command in commands:
        if "--resume" in command:
            continue  # there is no stopped run here: test_train.py stops one and goes on
        done = run(command, workspace)
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr
    answers = (workspace / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert len(answers) == 91
    for example in blocks("README.md", "python"):
        done = subprocess.run([sys.executable, "-c", example], cwd=workspace, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 2


def test_the_pages_commands_run_and_their_recipe_is_whole(workspace: Path) -> None:
    document = tomllib.loads((workspace / "recipe.toml").read_text(encoding="utf-8"))
    assert recipe_from(document, source="docs").train.epochs == 6
    for block in blocks("docs/recipes.md", "sh"):
        for command in block.splitlines():
            done = run(command, workspace)
            assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    lineage = json.loads((workspace / "models" / "shorter" / "tlx.json").read_text())["lineage"]
    assert lineage["recipe"]["train"]["seed"] == 1
