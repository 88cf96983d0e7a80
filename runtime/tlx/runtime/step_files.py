"""Words, tags and intents in three files in step, line for line: seq.in, seq.out and label, as ATIS and Snips are passed on.

The form is that of Goo et al. 2018 (Slot-Gated Modeling, NAACL), which later programs kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tlx.runtime.errors import DataError
from tlx.runtime.shards import split_named
from tlx.runtime.tables import Table
from tlx.runtime.text_files import read_text

__all__ = ["read_step_files", "step_files"]

WORDS, TAGS, INTENTS = "seq.in", "seq.out", "label"


def step_files(folder: Path, split: str) -> Path | None:
    """The folder that holds the files: this one, or its folder of the split; None where neither does."""
    inner = split_named([path.name for path in folder.iterdir() if path.is_dir()], split)
    places = [folder] if inner is None else [folder, folder / inner]
    return next((place for place in places if all((place / name).is_file() for name in (WORDS, TAGS))), None)


def read_step_files(folder: Path) -> Table:
    """A row each line: its `tokens`, their `tags`, and its `intent` where there is a file of them.

    Raises DataError where the files do not have as many lines.
    """
    columns: dict[str, Sequence[object]] = {}
    hashes, places = [], {"tokens": WORDS, "tags": TAGS, "intent": INTENTS}
    if not (folder / INTENTS).is_file():
        del places["intent"]
    for column, name in places.items():
        text, sha256 = read_text(folder / name)
        lines = [line.strip() for line in text.rstrip().split("\n")]
        columns[column] = lines if name == INTENTS else [line.split() for line in lines]
        hashes.append(sha256)
        if len(lines) != len(columns["tokens"]):
            raise DataError(
                f"{folder / name} has {len(lines)} lines but {folder / WORDS} has {len(columns['tokens'])}: wanted one for each"
            )
    digest = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    numbers = range(1, len(columns["tokens"]) + 1)
    return Table(source=str(folder / WORDS), columns=columns, lines=list(numbers), sha256=digest)
