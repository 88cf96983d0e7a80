"""Answers as files."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tlx.runtime.errors import DataError
from tlx.runtime.predictions import read_file, write_predictions
from tlx.runtime.tasks.filling import FillMask
from tlx.runtime.tasks.tagging import TokenClassification

SOME = {"text": "b", "labels": [{"label": "x", "score": 0.9}, {"label": "y", "score": 0.6}]}
NONE: dict[str, Any] = {"text": "a", "labels": []}


def written(path: Path, *records: dict[str, Any]) -> list[list[str]]:
    assert write_predictions([(record, "") for record in records], path, as_json=False) == len(records)
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize("order", [(NONE, SOME, NONE), (SOME, NONE, NONE), (NONE, NONE, SOME)])
def test_a_csv_has_the_scores_wherever_the_first_label_stands(
    order: tuple[dict[str, Any], ...], tmp_path: Path
) -> None:
    rows = {"a": ["a", "[]", "[]"], "b": ["b", '["x", "y"]', "[0.9, 0.6]"]}
    expected = [["text", "labels", "scores"], *(rows[record["text"]] for record in order)]
    assert written(tmp_path / "out.csv", *order) == expected


def test_a_csv_of_no_labels_at_all_has_every_text(tmp_path: Path) -> None:
    assert written(tmp_path / "out.csv", NONE, NONE) == [["text", "labels"], ["a", "[]"], ["a", "[]"]]


def test_several_masks_have_the_columns_of_one(tmp_path: Path) -> None:
    def fill(token: str) -> dict[str, Any]:
        return {"token_str": token, "score": 0.5}

    one = {"text": "a", "fills": [fill("x"), fill("y")]}
    two = {"text": "b", "fills": [[fill("x")], [fill("z")]]}
    rows = [["a", '["x", "y"]', "[0.5, 0.5]"], ["b", '[["x"], ["z"]]', "[[0.5], [0.5]]"]]
    for order in ((0, 1), (1, 0)):
        found = written(tmp_path / "out.csv", *[(one, two)[i] for i in order])
        assert found == [["text", "token_strs", "scores"], *(rows[i] for i in order)]


def test_lines_are_read_in_whatever_training_reads(tmp_path: Path) -> None:
    task, path = FillMask(mask_token="[MASK]"), tmp_path / "lines.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes("one\r\n\nзвук\n".encode(encoding))
        assert read_file(path, task, {}) == ["one", "", "звук"]
    packed = tmp_path / "lines.txt.gz"
    packed.write_bytes(gzip.compress(b"one\ntwo\n"))
    assert read_file(packed, task, {}) == ["one", "two"]
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match="is damaged, or was not packed by gzip"):
        read_file(packed, task, {})


@pytest.mark.parametrize(
    ("column", "columns"),
    [("tokens", {}), ("tokens", {"label": "ner"}), ("tokens", {"text": "tokens"}), ("worte", {"text": "worte"})],
)
def test_lists_of_words_are_answered_with_tags_or_without(column: str, columns: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "words.jsonl"
    path.write_text("".join(json.dumps({column: ["play", "", "jazz"], "ner": ["O"] * 3}) + "\n" for _ in range(2)))
    assert read_file(path, TokenClassification(labels=("O", "B-x")), columns) == ["play jazz", "play jazz"]
