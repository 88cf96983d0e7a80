"""Held-out rows: no label loses its last row, no text is on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.train.conftest import recipe, write_csv

from tlx.runtime.errors import DataError
from tlx.runtime.examples import Examples
from tlx.train.console import Console
from tlx.train.split import stratified_split
from tlx.train.train import train


def split(gold: Sequence[Any], texts: Sequence[str] = (), *, share: float = 0.1, seed: int = 0) -> tuple[Any, Any]:
    inputs = list(texts) or [f"text {row}" for row in range(len(gold))]
    strata = lambda item: (item,) if isinstance(item, str) else item  # noqa: E731
    return stratified_split(Examples(source="x", inputs=inputs, gold=list(gold)), share, seed, strata)


@pytest.mark.parametrize("seed", range(10))
def test_a_labels_only_row_stays_in_training(seed: int) -> None:
    first, held = split(["a", "a", "b"], seed=seed)
    assert sorted(first.gold or ()) == ["a", "b"]
    assert held.gold == ["a"]


@pytest.mark.parametrize("gold", [["a", "b"], ["a"], ["a", "b", "c", "d"], [("a", "b"), ("c",)]])
def test_where_each_row_is_a_labels_last_none_is_held_out(gold: list[Any]) -> None:
    first, held = split(gold)
    assert (len(first), len(held)) == (len(gold), 0)


@pytest.mark.parametrize("seed", range(10))
def test_equal_texts_are_on_one_side(seed: int) -> None:
    texts = ["yes", "no"] * 10 + [f"text {row}" for row in range(60)]
    first, held = split(["a", "b"] * 40, texts, share=0.2, seed=seed)
    assert not set(first.inputs) & set(held.inputs)
    assert 6 <= len(held) <= 18


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.lists(st.sampled_from("abcde"), max_size=3, unique=True)),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([0.05, 0.2, 0.5]),
    st.integers(0, 3),
)
def test_no_label_is_lost_and_no_text_is_on_both_sides(
    rows: list[tuple[int, list[str]]], share: float, seed: int
) -> None:
    gold = [tuple(labels) for _, labels in rows]
    first, held = split(gold, [f"text {number}" for number, _ in rows], share=share, seed=seed)
    assert len(first) + len(held) == len(rows)
    assert len(first) > 0
    assert not set(first.inputs) & set(held.inputs)
    assert {label for labels in first.gold or () for label in labels} == {label for labels in gold for label in labels}


def test_too_few_rows_to_hold_any_out_are_refused(base: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "few.csv", [("play music", "music"), ("lights on", "lights")])
    with pytest.raises(DataError, match=r"few.csv has 2 rows: none can be held out .* pass --validation FILE"):
        train(recipe(path, base), tmp_path / "model", console=Console(quiet=True))
    assert not (tmp_path / "model").exists()
    train(recipe(path, base, data={"validation": str(path)}), tmp_path / "model", console=Console(quiet=True))
