"""A run's own folder, beside the model folder that it makes: its recipe, what it reads, checkpoints, teachers' labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tlx.runtime.errors import TrainingError, UsageError
from tlx.train.recipe import Recipe, recipe_from

__all__ = ["begin", "check_same_data", "kept_if_worked", "recipe_of", "run_folder"]

RECIPE = "recipe.json"
DATA = "data.json"


def run_folder(out: Path) -> Path:
    """Where the run that makes `out` keeps its checkpoints and caches."""
    return out.with_name(f".{out.name}.tlx-run")


def recipe_of(folder: Path, recipe: Recipe, *, resume: bool, overwrite: bool) -> Recipe:
    """The recipe to run: with `resume` the one that the stopped run had. Nothing is changed yet.

    Raises UsageError when there is no stopped run to resume, or one that a new run would end.
    """
    if not resume:
        if (folder / "checkpoint").exists() and not overwrite:
            raise UsageError(f"a stopped run is in {folder}: go on with --resume, or pass --overwrite to begin anew")
        return recipe
    saved = folder / RECIPE
    if not saved.exists():
        raise UsageError(f"{folder} holds no stopped run: start it without --resume")
    before = recipe_from(json.loads(saved.read_text()), source=str(saved))
    if recipe not in (Recipe(), before):
        raise UsageError(
            f"the stopped run in {folder} had another recipe: pass --resume with --out alone, or start again"
        )
    return before


def begin(folder: Path, recipe: Recipe, hashes: Mapping[str, str]) -> None:
    """The folder holds a new run of the recipe, and the hashes of what it reads; an older run is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / DATA).write_text(json.dumps(hashes))
    (folder / RECIPE).write_text(json.dumps(recipe.to_dict(), indent=1))


def check_same_data(folder: Path, hashes: Mapping[str, str]) -> None:
    """A resumed run reads what it read before. Raises TrainingError when a file changed meanwhile."""
    saved = folder / DATA
    before = json.loads(saved.read_text()) if saved.exists() else {}
    changed = sorted(source for source in before if hashes.get(source) != before[source])
    if changed:
        raise TrainingError(
            f"{changed[0]} changed since the run was stopped: put it back, or start again with --overwrite"
        )


@contextmanager
def kept_if_worked(folder: Path) -> Iterator[None]:
    """After an error within, the folder stays when it was there before or holds work that can be gone on with."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except Exception:
        if folder in made and not _holds_work(folder):
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # a parent that holds something else stays
                for parent in made[1:]:
                    parent.rmdir()
        raise


def _holds_work(folder: Path) -> bool:
    return any(True for name in ("checkpoint*", "cache/*") for _ in folder.glob(name))
