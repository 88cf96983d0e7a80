"""The main job on real data, from the command line: `pytest -m slow`. Budget: 10 minutes on two cores."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TLX_DATA", ROOT.parent / "shared" / "data")) / "clinc150"
BASE = ROOT / "models" / "tlx-mini-en"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}: set TLX_DATA to the folder of public data sets"),
]


def tlx(*words: str | Path) -> dict[str, object]:
    """The JSON that a command printed last; its exit code was 0."""
    program = [sys.executable, "-m", "tlx.runtime.program", *map(str, words), "--json"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    document: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return document


def test_ten_examples_an_intent_go_from_a_file_to_a_verified_int8_student(tmp_path: Path) -> None:
    with (DATA / "train.csv").open(encoding="utf-8", newline="") as stream:
        header, *lines = list(csv.reader(stream))
    random.Random(0).shuffle(lines)
    seen: dict[str, int] = {}
    few = [line for line in lines if seen.setdefault(line[1], 0) < 10 and not seen.update({line[1]: seen[line[1]] + 1})]
    train = tmp_path / "ten of each.csv"
    with train.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *few])
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    validation, test = DATA / "validation.csv", DATA / "test.csv"
    tlx("train", train, "--validation", validation, "--base", BASE, "--out", teacher)
    tlx("train", train, "--validation", validation, "--teacher", teacher, "--student", "convolution", "--out", student)
    tlx("export", student, "--quantize", "--data", validation, "--max-drop", "0.02")
    of_teacher = tlx("eval", teacher, test, "--variant", "torch")["metrics"]["accuracy"]  # type: ignore[index]
    of_student = tlx("eval", student, test, "--variant", "int8")["metrics"]["accuracy"]  # type: ignore[index]
    assert of_teacher > 0.75
    assert of_student > 0.9 * of_teacher
    figures = tlx("bench", student, "--data", test, "--variant", "int8")
    assert figures["size_bytes"] < 2_500_000  # type: ignore[operator]
