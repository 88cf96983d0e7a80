"""Data that lie in several files: those that a pattern matches, or that a folder holds of a split."""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from tlx.runtime.errors import DataError
from tlx.runtime.text_files import suffix_of

__all__ = ["files_matching", "files_of_split", "is_pattern", "only_file_of_split", "split_named"]

SPLITS = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""What the splits are called in public."""
SHARDED = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
MOST_TOLD = 5


def split_named(names: Sequence[str], split: str) -> str | None:
    """The one of the names that stands for the split; None where there is none."""
    return next((name for name in SPLITS.get(split, (split,)) if name in names), None)


def is_pattern(source: str | Path) -> bool:
    """Whether it stands for all files that it matches."""
    return any(sign in str(source) for sign in "*?")


def files_matching(pattern: str | Path) -> list[Path]:
    """In the order of their names. Raises DataError where there are none."""
    found = sorted(path for path in map(Path, glob.glob(str(pattern))) if path.is_file())
    if not found:
        raise DataError(f"no file matches {pattern}: wanted one at least")
    return found


def only_file_of_split(folder: Path, split: str, suffixes: Collection[str]) -> Path | None:
    """The folder's `train.txt`, say, where it has one file of the split's name with one of the suffixes and no table of it."""
    there = [
        path
        for path in folder.glob("*")
        if path.is_file() and path.name.split(".")[0].lower() in SPLITS.get(split, (split,))
    ]
    found = [path for path in there if suffix_of(path) in suffixes]
    tables = any(suffix_of(path) in SHARDED for path in there)
    return found[0] if len(found) == 1 and not tables else None


def files_of_split(folder: Path, split: str) -> list[Path]:
    """`train.csv`, or train-00000-of-00002.parquet and those that follow it, in the folder or its `data`.

    Raises DataError where there are none, or of several formats.
    """
    there = sorted(path for place in (folder, folder / "data") for path in place.glob("*") if path.is_file())
    tables = [path for path in there if suffix_of(path) in SHARDED]
    for word in SPLITS.get(split, (split,)):
        edition = re.compile(rf"{word}[-_]v\d+(\.\d+)*\.\w+(\.gz)?", re.IGNORECASE)  # SQuAD's train-v1.1.json
        found = [path for path in tables if edition.fullmatch(path.name)]
        if len(found) == 1:
            return found
        shard = re.compile(rf"{word}([-_.]?\d+([-_]of[-_]\d+)?)?\.\w+(\.gz)?", re.IGNORECASE)
        found = [path for path in tables if shard.fullmatch(path.name)]
        whole = [path for path in found if path.name.partition(".")[0].lower() == word]
        found = whole if len(whole) == 1 else found  # train_10.csv beside train.csv is a part of it
        if len({(path.parent, suffix_of(path)) for path in found}) > 1:
            raise DataError(f"{folder} holds {found[0].name} and {found[-1].name}: name the file to read")
        if found:
            return found
    names = [path.name for path in tables] or [f"{path.name}/" for path in sorted(folder.iterdir()) if path.is_dir()]
    held = ", ".join(names[:MOST_TOLD]) + (", …" if len(names) > MOST_TOLD else "")
    raise DataError(
        f"{folder} is a folder without {split}.csv, .tsv, .jsonl or .parquet or shards of it, as {split}-00000-of-00002.parquet "
        f"(it holds: {held or 'nothing of that kind'}): name a file, or several as '{folder}/*.parquet'"
    )
