"""A folder comes to its place whole or not at all, and nothing that is not a model folder is ever replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tlx.runtime import FolderError, UsageError
from tlx.runtime.staging import check_out, clear_stale, staged_folder


def model_folder(path: Path, mark: str = "config.json") -> Path:
    path.mkdir(parents=True)
    (path / mark).write_text('{"model_type": "bert"}')
    return path


@pytest.fixture
def renames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the renames that fail, from 1; to be filled."""
    failing: list[int] = []
    true, calls = os.replace, []

    def replace(source: Path, target: Path) -> None:
        calls.append(1)
        if len(calls) in failing:
            raise OSError(5, "Input/output error")
        true(source, target)

    monkeypatch.setattr(os, "replace", replace)
    return failing


@pytest.mark.parametrize("mark", ["tlx.json", "config.json", None])
def test_a_model_folder_and_an_empty_one_are_replaced(mark: str | None, tmp_path: Path) -> None:
    out = tmp_path / "model"
    if mark is None:
        out.mkdir()
    else:
        model_folder(out, mark)
    with staged_folder(out, overwrite=True) as stage:
        (stage / "new").touch()
    assert [path.name for path in out.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_any_other_folder_and_a_file_stay(tmp_path: Path) -> None:
    out = tmp_path / "data"
    (out / "deep").mkdir(parents=True)
    (out / "train.csv").write_text("precious")
    model_folder(out / "deep" / "model")
    with (
        pytest.raises(
            UsageError, match=r"data is no model folder \(it holds deep, and no tlx.json or a model's config.json\)"
        ),
        staged_folder(out, overwrite=True),
    ):
        pass
    with pytest.raises(UsageError, match="train.csv is a file, and --overwrite replaces model folders only"):
        check_out(out / "train.csv", overwrite=True)
    assert (out / "train.csv").read_text() == "precious"


@pytest.mark.parametrize("config", ['{"port": 80}', "[]", "port: 80", '{"model_type": "bert"}'])
def test_a_configuration_of_another_program_makes_no_model_folder(config: str, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "config.json").write_text(config)
    (tmp_path / "app" / "thesis.txt").write_text("precious")
    if "model_type" in config:
        return check_out(tmp_path / "app", overwrite=True)
    with pytest.raises(UsageError, match="app is no model folder"):
        check_out(tmp_path / "app", overwrite=True)


def test_a_folder_that_holds_what_is_read_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = model_folder(tmp_path / "model")
    (out / "train.csv").touch()
    with pytest.raises(UsageError, match=r"--overwrite would delete .*train.csv, which this run reads"):
        check_out(out, overwrite=True, used=["owner/name", out / "train.csv"])
    with pytest.raises(UsageError, match=r"--overwrite would delete .*model, which this run reads"):
        check_out(out, overwrite=True, used=[out])
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(UsageError, match="which this run reads"):
        check_out(tmp_path / "link", overwrite=True, used=[out / "train.csv"])
    check_out(out, overwrite=True, used=[tmp_path, out / "not-there"])
    monkeypatch.chdir(out)
    with pytest.raises(UsageError, match="would delete the current folder"):
        check_out(out, overwrite=True)


def test_what_came_meanwhile_stays(tmp_path: Path) -> None:
    out = tmp_path / "model"

    def work() -> None:
        with staged_folder(out):
            out.mkdir()
            (out / "mine").touch()

    with pytest.raises(UsageError, match="exists"):
        work()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (out / "mine").exists()


def test_the_old_folder_is_back_when_the_new_one_cannot_take_its_place(tmp_path: Path, renames: list[int]) -> None:
    out = model_folder(tmp_path / "model")
    renames.append(2)
    with (
        pytest.raises(FolderError, match="was not written: Input/output error; nothing was left behind"),
        staged_folder(out, overwrite=True),
    ):
        pass
    assert (out / "config.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_message_says_where_the_old_folder_is_when_it_cannot_come_back(tmp_path: Path, renames: list[int]) -> None:
    out = model_folder(tmp_path / "model")
    renames += [2, 3]
    with (
        pytest.raises(FolderError, match=r"what was there is in .*\.model\.tlx-staged-\d+-old: rename it"),
        staged_folder(out, overwrite=True),
    ):
        pass
    (left,) = tmp_path.iterdir()
    assert (left / "config.json").exists()


def test_of_a_link_the_link_alone_is_replaced(tmp_path: Path) -> None:
    first = model_folder(tmp_path / "first")
    (tmp_path / "model").symlink_to(first)
    with staged_folder(tmp_path / "model", overwrite=True):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "model"]
    assert (first / "config.json").exists()
    assert not (tmp_path / "model").is_symlink()


def test_nothing_is_left_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="No space"), staged_folder(tmp_path / "new" / "deep" / "model"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def ended() -> int:
    """The id of a process that ran."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_what_killed_runs_left_is_removed_and_what_others_make_stays(tmp_path: Path) -> None:
    out = tmp_path / "model"
    dead = ended()
    stale = [f".model.tlx-staged-{dead}", f".model.tlx-staged-{os.getpid()}"]
    others = [
        f".model.tlx-staged-{os.getppid()}",
        f".other.tlx-staged-{dead}",
        ".model.tlx-staged-mine",
        ".model.tlx-run",
    ]
    for name in (*stale, *others):
        (tmp_path / name / "onnx").mkdir(parents=True)
    with staged_folder(out):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, stale[1]])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "model"])


def test_a_folder_that_a_killed_run_had_moved_away_is_back(tmp_path: Path) -> None:
    out, dead = tmp_path / "model", ended()
    model_folder(tmp_path / f".model.tlx-staged-{dead}-old")
    (tmp_path / f".model.tlx-staged-{dead}").mkdir()
    clear_stale(out)
    assert (out / "config.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    model_folder(tmp_path / f".model.tlx-staged-{dead}-old", "tlx.json")
    clear_stale(out)
    assert [path.name for path in out.iterdir()] == ["config.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    clear_stale(tmp_path / "no" / "such")


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_each_new_file_has_the_mode_that_the_umask_says(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with staged_folder(tmp_path / "model") as stage:
            (stage / "onnx").mkdir()
            for name in ("model.safetensors", "onnx/model.onnx"):
                (stage / name).touch()
                (stage / name).chmod(0o600)
            (stage / "config.json").touch(mode=0o755)
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert [path.stat().st_mode & 0o777 for path in files] == [mode] * 3


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_a_file_that_is_elsewhere_too_keeps_its_mode(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model")
    (model / "config.json").chmod(0o600)
    with staged_folder(model, overwrite=True) as stage:
        os.link(model / "config.json", stage / "config.json")
        (stage / "far").symlink_to(tmp_path)
    assert (model / "config.json").stat().st_mode & 0o777 == 0o600
