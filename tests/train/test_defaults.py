"""What is chosen where the recipe is silent: epochs and transfer texts, by rows and by tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tlx.train.defaults import augment_count, resolve_dropout, resolve_training
from tlx.train.recipe import Recipe, recipe_from

CPU = torch.device("cpu")


def made(student: str, *, distils: bool) -> Recipe:
    model = {"student": student, **({"teachers": ["t"]} if distils else {"base": "b"})}
    return recipe_from({"model": model}, source="test")


def epochs(recipe: Recipe, rows: int, tokens: int) -> float:
    found = resolve_training(recipe, np.full(rows, tokens), 384, 3, CPU).train.epochs
    assert found is not None
    return found


@pytest.mark.parametrize("tokens", [1, 12, 57, 64])
@pytest.mark.parametrize(
    ("student", "distils", "labelled", "count", "rows", "expected"),
    [
        ("transformer", False, 15_000, 0, 15_000, 6),
        ("transformer", False, 200, 0, 200, 30),
        ("transformer", False, 100_000, 0, 100_000, 4),
        ("transformer", True, 15_000, 30_000, 45_000, 4),
        ("convolution", True, 15_000, 240_000, 255_000, 5),
        ("gru", True, 8_000, 128_000, 136_000, 9),
        ("bag", True, 200, 20_000, 20_200, 15),
    ],
)
def test_short_texts_are_counted_in_rows(
    tokens: int, student: str, distils: bool, labelled: int, count: int, rows: int, expected: float
) -> None:
    recipe = made(student, distils=distils)
    assert augment_count(recipe, labelled, tokens) == count
    assert epochs(recipe, rows, tokens) == expected


def test_documents_count_by_their_tokens() -> None:
    small, fine_tuned = made("convolution", distils=True), made("transformer", distils=False)
    assert augment_count(small, 1_000, 500) == 2_560
    assert augment_count(made("transformer", distils=True), 30_000, 500) == 3_840
    assert epochs(fine_tuned, 1_000, 500) == 30
    assert epochs(fine_tuned, 5_000, 500) == 6
    assert epochs(fine_tuned, 100_000, 500) == 2
    assert epochs(small, 3_560, 500) == 15


@pytest.mark.parametrize("labelled", [100, 1_000, 5_000])
@pytest.mark.parametrize("tokens", [100, 300, 500])
def test_a_run_over_documents_reads_no_more_than_some_times_the_tokens_of_one_over_sentences(
    labelled: int, tokens: int
) -> None:
    def read(recipe: Recipe, labelled: int, tokens: int) -> float:
        rows = labelled + augment_count(recipe, labelled, tokens)
        return rows * epochs(recipe, rows, tokens) * tokens

    for student, distils, times in (("convolution", True, 8), ("transformer", True, 16), ("transformer", False, 16)):
        recipe = made(student, distils=distils)
        assert read(recipe, labelled, tokens) < times * read(recipe, 15_000, 12)


def test_what_the_recipe_says_stands() -> None:
    recipe = made("convolution", distils=True).updated("train", epochs=9.0).updated("augment", count=77)
    assert augment_count(recipe, 1_000, 500) == 77
    assert epochs(recipe, 1_000, 500) == 9


@pytest.mark.parametrize(
    ("student", "transfer", "given", "expected"),
    [
        ("convolution", 1_001, None, 0.0),
        ("convolution", 1_000, None, None),
        ("convolution", 0, None, None),
        ("convolution", 20_000, 0.3, 0.3),
        ("transformer", 20_000, None, None),
    ],
)
def test_small_students_of_many_transfer_texts_have_no_dropout_unless_the_recipe_says_so(
    student: str, transfer: int, given: float | None, expected: float | None
) -> None:
    recipe = made(student, distils=True).updated("train", dropout=given)
    assert resolve_dropout(recipe, 1_000, transfer).train.dropout == expected


@pytest.mark.parametrize(
    ("given", "distils", "expected"), [(None, False, 0.1), (None, True, 0.0), (0.0, False, 0.0), (0.3, True, 0.3)]
)
def test_gold_is_smoothed_where_no_teacher_says_how_sure_to_be(
    given: float | None, distils: bool, expected: float
) -> None:
    recipe = made("transformer", distils=distils).updated("train", label_smoothing=given)
    found = resolve_training(recipe, np.full(100, 10), 384, 3, CPU, label_smoothing=0.1)
    assert found.train.label_smoothing == expected
