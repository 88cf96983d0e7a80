"""What the runtime loads, and what it hands out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tlx.runtime

HEAVY = [
    "torch",
    "transformers",
    "optimum",
    "typer",
    "click",
    "rich",
    "pandas",
    "sklearn",
    "scipy",
    "onnx",
    "datasets",
    "pyarrow",
    "matplotlib",
    "huggingface_hub",
    "tlx.train",
    "tlx.export",
]
SCRIPT = """
import sys
from tlx.runtime import load
classify = load(sys.argv[1], threads=2)
classify("play some music", top_k=2)
classify(["play some music", "thanks"] * 1000)
print(*sorted(sys.modules))
"""


def test_importing_and_predicting_load_nothing_heavy(tiny_folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_folder)], capture_output=True, text=True, check=True
    )
    loaded = result.stdout.split()
    assert {"tlx.runtime.predictor", "numpy", "onnxruntime", "tokenizers"} <= set(loaded)
    assert [name for name in loaded if name in HEAVY or name.startswith(("torch.", "transformers."))] == []


def test_help_loads_no_numbers() -> None:
    script = "import sys; from tlx.runtime.program import run; run(['--help']); sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)


def test_no_module_takes_a_name_that_is_handed_out() -> None:
    assert tlx.runtime.__file__ is not None
    modules = {path.stem for path in Path(tlx.runtime.__file__).parent.iterdir()}
    assert modules & set(tlx.runtime.__all__) == set()


def test_the_names_handed_out_are_sorted_and_there() -> None:
    assert tlx.runtime.__all__ == [
        "DataError",
        "DeviceError",
        "FolderError",
        "IntegrityError",
        "MissingExtraError",
        "Predictor",
        "TlxError",
        "TruncationWarning",
        "UsageError",
        "load",
    ]
    assert tlx.runtime.__all__ == sorted(tlx.runtime.__all__)
    for name in tlx.runtime.__all__:
        assert getattr(tlx.runtime, name).__name__ == name
    assert not hasattr(tlx.runtime, "nothing")


def test_without_onnxruntime_both_extras_are_named(tiny_folder: Path) -> None:
    script = "import sys; sys.modules['onnxruntime'] = None; from tlx.runtime.program import main; main()"
    arguments = [sys.executable, "-c", script, "predict", str(tiny_folder), "play"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "needs onnxruntime, which is not installed" in done.stderr
    assert "tlx[cpu]" in done.stderr
    assert "tlx[cuda]" in done.stderr


@pytest.mark.parametrize("command", [["train", "x.csv", "--out", "new"], ["demo", "--out", "new"]])
def test_a_command_whose_packages_are_not_installed_is_one_line(command: list[str], tmp_path: Path) -> None:
    script = "import sys; sys.modules['torch'] = None; from tlx.runtime.program import main; main()"
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "tlx: error: this command needs torch, which is not installed: pip install 'tlx[train,export,cpu]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_answering_writes_nothing_into_the_users_home(tiny_folder: Path, tmp_path: Path) -> None:
    code = f"from tlx.runtime import load; load({str(tiny_folder)!r})('play music')"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    subprocess.run([sys.executable, "-c", code], check=True, env={**environment, "HOME": str(tmp_path)})
    assert list(tmp_path.rglob("*.db")) == []
