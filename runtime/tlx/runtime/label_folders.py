"""Texts in files of their own, in a folder for each label: what scikit-learn's load_files reads, IMDb and 20 newsgroups."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tlx.runtime.shards import split_named
from tlx.runtime.tables import Table, warn_of
from tlx.runtime.text_files import decoded, stored_bytes

__all__ = ["label_folders", "read_label_folders"]

UNLABELLED = ("unsup", "unlabeled", "unlabelled")
"""Folders that name no label."""


def label_folders(folder: Path, split: str) -> list[Path]:
    """The labels' folders, in `folder` or in its folder of the split; [] where they are not two or hold other files."""
    inner = _folders(folder)
    part = split_named([path.name for path in inner], split)
    found = inner if part is None else _folders(folder / part)
    plain = all(_texts(path) and all(_is_plain(file) for file in path.iterdir()) for path in found)
    return found if plain and len(found) > 1 else []


def read_label_folders(source: Path, folders: list[Path]) -> Table:
    """A row each file: its text, and the name of its folder as the label. Raises DataError naming the file."""
    unlabelled = [path for path in folders if path.name in UNLABELLED]
    if unlabelled:
        warn_of(str(source), f"{len(unlabelled)} folder names no label and is left out", str(unlabelled[0]))
    files = [file for folder in folders if folder not in unlabelled for file in _texts(folder)]
    texts, hashes = [], []
    for file in files:
        content, sha256 = stored_bytes(file)
        texts.append(decoded(file, content).strip())
        hashes.append(sha256)
    columns = {"text": texts, "label": [file.parent.name for file in files]}
    digest = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    return Table(source=str(source), columns=columns, lines=[(str(file), 1) for file in files], sha256=digest)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _texts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_plain(path) and not path.name.startswith("."))


def _is_plain(path: Path) -> bool:
    return path.is_file() and (path.suffix.lower() in ("", ".txt") or path.name.startswith("."))
