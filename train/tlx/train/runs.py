"""A run's own folder, beside the model folder that it makes: its recipe, what it reads, checkpoints, teachers' labels."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tlx.runtime.errors import TrainingError, UsageError
from tlx.runtime.folder import write_atomically
from tlx.train.recipe import Recipe, recipe_from

__all__ = [
    "BEGIN_ANEW",
    "CHECKPOINT",
    "begin",
    "check_same_data",
    "claimed",
    "has_checkpoint",
    "recipe_of",
    "run_folder",
]

BEGIN_ANEW = "start again with --overwrite instead of --resume"
RECIPE = "recipe.json"
DATA = "data.json"
CHECKPOINT = "checkpoint"
CHECKPOINTS = (CHECKPOINT, f"{CHECKPOINT}-old")


def run_folder(out: Path) -> Path:
    """Where the run that makes `out` keeps its checkpoints and caches. Raises UsageError for a folder without a name of its own."""
    if out.name in ("", ".."):
        raise UsageError(f"--out {out} cannot be made anew: name a new folder, e.g. --out models/mine")
    return out.with_name(f".{out.name}.tlx-run")


def has_checkpoint(folder: Path) -> bool:
    """Whether a stopped run can go on from where it was."""
    return _holds(folder, CHECKPOINTS)


def recipe_of(folder: Path, recipe: Recipe, *, resume: bool, overwrite: bool) -> Recipe:
    """The recipe to run: with `resume` the one that the stopped run had. Nothing is changed yet.

    Raises UsageError when there is no stopped run to resume, or one that a new run would end.
    """
    if not resume:
        if has_checkpoint(folder) and not overwrite:
            raise UsageError(f"a stopped run is in {folder}: go on with --resume, or pass --overwrite to begin anew")
        return recipe
    saved = folder / RECIPE
    if not saved.exists():
        raise UsageError(f"{folder} holds no stopped run: start it without --resume")
    before = recipe_from(_read(saved), source=str(saved))
    if recipe not in (Recipe(), before):
        raise UsageError(
            f"the stopped run in {folder} had another recipe: pass --resume with --out alone, or {BEGIN_ANEW}"
        )
    return before


def begin(folder: Path, recipe: Recipe, hashes: Mapping[str, str]) -> None:
    """The folder holds a new run of the recipe, and the hashes of what it reads; an older run is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():  # not the folder itself, which is claimed
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_atomically(folder / DATA, json.dumps(hashes))
    write_atomically(folder / RECIPE, json.dumps(recipe.to_dict(), indent=1))


def check_same_data(folder: Path, hashes: Mapping[str, str]) -> None:
    """A resumed run reads what it read before. Raises TrainingError when a file changed meanwhile or is gone."""
    saved = folder / DATA
    before = _read(saved) if saved.exists() else {}
    changed = sorted(source for source in before if hashes.get(source) != before[source])
    if changed:
        raise TrainingError(f"{changed[0]} changed since the run was stopped: put it back, or {BEGIN_ANEW}")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Within, the folder is there and no other run can work in it.

    A folder that was not there before goes again when nothing is in it, or an error left no work that can be gone on with.
    Raises UsageError when another run has it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    try:
        yield
    except BaseException as error:
        left = RECIPE if not isinstance(error, Exception) else "cache/*"
        if folder in made and not _holds(folder, (*CHECKPOINTS, left)):
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # a parent that holds something else stays
                for parent in made[1:]:
                    parent.rmdir()
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder until it is closed or its process ends; None where the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return None
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UsageError(f"another run works in {folder}: wait for it, stop it, or choose another --out") from None
    except OSError:  # a file system without locks
        os.close(lock)
        return None
    return lock


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} is damaged ({error}): {BEGIN_ANEW}") from error
    if not isinstance(found, dict):
        raise TrainingError(f"{path} is damaged (it holds a {type(found).__name__}): {BEGIN_ANEW}")
    return found


def _holds(folder: Path, patterns: Iterable[str]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))
