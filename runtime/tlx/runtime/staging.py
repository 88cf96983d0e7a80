"""A new folder is written beside its final place and renamed into it: a crash leaves the old one or none."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tlx.runtime.errors import FolderError, UsageError
from tlx.runtime.folder import MANIFEST

__all__ = ["check_out", "clear_stale", "staged_folder"]

STAGED = ".tlx-staged-"
CONFIG = "config.json"


def check_out(out: Path, *, overwrite: bool, used: Iterable[str | Path] = ()) -> None:
    """Raises UsageError when no new folder may take the place `out`.

    What is there is replaced with `overwrite` alone, and only when it is empty or a model folder that holds neither the
    current folder nor anything of `used`, the files and folders that the work reads.
    """
    if not out.exists():
        return
    if not overwrite:
        raise UsageError(f"{out} exists: choose another folder or pass --overwrite")
    if not out.is_dir():
        raise UsageError(f"{out} is a file, and --overwrite replaces model folders only: choose another --out")
    try:
        there = sorted(item.name for item in out.iterdir())
    except OSError as error:
        raise FolderError(f"{out} cannot be read: {error.strerror}") from error
    if there and MANIFEST not in there and not _is_models(out / CONFIG):
        raise UsageError(
            f"{out} is no model folder (it holds {there[0]}, and no {MANIFEST} or a model's {CONFIG}), and --overwrite replaces "
            "model folders only: choose another --out"
        )
    place = out.resolve()
    if Path.cwd().is_relative_to(place):
        raise UsageError(f"--overwrite would delete the current folder with {out}: run from outside it")
    for item in map(Path, used):
        if item.exists() and item.resolve().is_relative_to(place):
            raise UsageError(f"--overwrite would delete {item}, which this run reads, with {out}: choose another --out")


def _is_models(config: Path) -> bool:
    """Whether it is a configuration of transformers: other programs have files of that name, too."""
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and not found.keys().isdisjoint({"model_type", "architectures"})


def clear_stale(out: Path) -> None:
    """What killed runs left beside `out` is gone. The folder that one had moved away, and not yet replaced, is back."""
    staged = re.compile(re.escape(f".{out.name}{STAGED}") + r"(\d{1,9})(-old)?")
    try:
        there = sorted(out.parent.iterdir())
    except OSError:  # no such folder, or not ours to look into: what follows says so
        return
    for path in there:
        left = staged.fullmatch(path.name)
        if left is None or _runs(int(left[1])):
            continue
        if left[2] and not out.exists():
            with suppress(OSError):
                os.replace(path, out)
        else:
            _remove(path)


def _runs(process: int) -> bool:
    """Whether another process has this id. Where that cannot be asked, it is taken to run."""
    if process == os.getpid():  # of a process before this one: containers give the same id again
        return False
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def staged_folder(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A new folder beside `out` that becomes `out` when the block ends well, and is removed when it does not.

    Its new files have the mode that the umask says, whatever wrote them (safetensors gives 0600); links of files that
    are elsewhere too keep theirs. With `overwrite` an existing model folder is replaced, at the end and in one rename each way. Raises UsageError as
    `check_out` does, FolderError when the folder cannot be written; `out` is then what it was.
    """
    clear_stale(out)
    check_out(out, overwrite=overwrite)
    stage = out.with_name(f".{out.name}{STAGED}{os.getpid()}")
    made = [parent for parent in out.parents if not parent.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stage.mkdir()
    except OSError as error:
        raise FolderError(f"{out} cannot be made: {error.strerror}") from error
    old = stage.with_name(f"{stage.name}-old")
    try:
        yield stage
        _readable(stage)
        check_out(out, overwrite=overwrite)  # something else may have come there meanwhile
        _swap(stage, out, old)
    except OSError as error:
        left = f"what was there is in {old}: rename it" if old.exists() else "nothing was left behind"
        raise FolderError(f"{out} was not written: {error.strerror or error}; {left}") from error
    finally:
        _remove(stage)
        with suppress(OSError):  # a parent that holds something, `out` above all, stays
            for parent in made:
                parent.rmdir()


def _readable(stage: Path) -> None:
    """Each file has the stage's own mode, which is that of the umask, without the right to execute."""
    mode = stage.stat().st_mode & 0o666
    for path in stage.rglob("*"):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and stat.S_IMODE(found.st_mode) != mode:
            with suppress(PermissionError):  # a file system without modes
                path.chmod(mode)


def _swap(stage: Path, out: Path, old: Path) -> None:
    """`out` is what `stage` was. When the second rename fails, it is what it was."""
    if not out.exists():
        os.replace(stage, out)
        return
    os.replace(out, old)
    try:
        os.replace(stage, out)
    except BaseException:
        if not out.exists():
            os.replace(old, out)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    """Nothing is at `path`, as far as it can be removed; of a link the link alone goes."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
