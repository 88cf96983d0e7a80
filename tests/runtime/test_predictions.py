"""Answers as files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tlx.runtime.predictions import write_predictions

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
