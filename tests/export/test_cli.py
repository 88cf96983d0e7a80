"""`tlx export` as a person types it: exit codes, streams, one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tlx.runtime.program import run


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "--help"]) == 0
    assert "tlx export models/intent-small --quantize --data data/val.csv" in capsys.readouterr().out


def test_a_table_on_stdout_and_what_to_type_next_on_stderr(
    checkpoint: Any, answered_data: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint("tlx-convolution")
    data = answered_data(folder)
    capsys.readouterr()
    assert (
        run(["export", str(folder), "--quantize", "--data", str(data), "--max-drop", "0.5", "--seconds", "0.05"]) == 0
    )
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["variant", "size", "MB", "accuracy"]
    assert [line.split()[0] for line in lines[1:]] == ["torch", "fp32", "int8"]
    assert f"next: tlx predict {folder}" in err


def test_json_is_one_document(checkpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = checkpoint("tlx-convolution")
    capsys.readouterr()
    assert run(["export", str(folder), "--quantize", "--json", "--seconds", "0.05"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert set(document["variants"]) == {"torch", "fp32", "int8"}
    assert document["verified"] is False
    assert document["default"]["cuda"] == "fp32"
    assert "no --data" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["export"], 2, "Missing argument"),
        (["export", "nowhere"], 1, "nowhere does not exist"),
        (["export", "{folder}", "--precision", "int2"], 2, "precision 'int2'"),
        (["export", "{folder}", "--data", "nothing.csv"], 1, "nothing.csv does not exist"),
        (["export", "{folder}", "--data", "{data}", "--label", "topic"], 1, "has no column 'topic'"),
        (["export", "{folder}", "--quantize", "--calibration", "static"], 2, "give --data"),
        (["export", "{folder}", "--out", "{folder}/inside"], 2, "lie in one another"),
    ],
)
def test_faults_end_in_one_line_and_an_exit_code(
    arguments: list[str],
    code: int,
    message: str,
    checkpoint: Any,
    contents: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = checkpoint("tlx-convolution")
    data = tmp_path / "data.csv"
    data.write_text("text,label\nplay some music,music\n")
    before = contents(folder)
    assert run([item.format(folder=folder, data=data) for item in arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert contents(folder) == before


def test_export_in_the_current_folder_is_refused(
    checkpoint: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(checkpoint("tlx-convolution"))
    assert run(["export", "."]) == 2
    assert "is the current folder" in capsys.readouterr().err
