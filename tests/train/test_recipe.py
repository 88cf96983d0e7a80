"""Recipes: all faults at once, precedence, and the shipped ones."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tlx.runtime.errors import RecipeError, UsageError
from tlx.train.recipe import Recipe, read_recipe, recipe_from, shipped_recipes


def test_all_faults_are_told_at_once_with_their_places() -> None:
    document = {
        "train": {"epochs": "many", "learning_rat": 1e-3, "warmup_share": 7},
        "modle": {},
        "model": {"student": "lstm", "random_weights": 1},
    }
    with pytest.raises(RecipeError) as caught:
        recipe_from(document, source="x.toml")
    assert len(caught.value.faults) == 6
    text = str(caught.value)
    for part in (
        "train.epochs is 'many': wanted a number",
        "train.learning_rat is no key (did you mean learning_rate?)",
        "train.warmup_share is 7: wanted 0 to 0.9",
        "[modle] is no section (did you mean model?)",
        "model.student is 'lstm': wanted one of transformer",
        "model.random_weights is 1: wanted true or false",
    ):
        assert part in text


def test_settings_override_the_document_and_read_toml_values() -> None:
    made = recipe_from(
        {"train": {"epochs": 3}},
        source="x",
        settings=["train.epochs=5", "model.base=models/some base", "model.random_weights=true"],
    )
    assert (made.train.epochs, made.model.base, made.model.random_weights) == (5.0, "models/some base", True)


@pytest.mark.parametrize("setting", ["epochs=3", "train.epochs", "trian.epochs=3"])
def test_a_malformed_setting_is_refused(setting: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        recipe_from({}, source="x", settings=[setting])


def test_a_recipe_comes_back_from_its_own_toml() -> None:
    made = recipe_from(
        {"model": {"teachers": ["a", "b"], "base": 'qu"ote\\ 漢'}, "train": {"learning_rate": 3e-5}}, source="x"
    )
    assert recipe_from(tomllib.loads(made.to_toml()), source="y") == made


def test_every_shipped_recipe_reads_and_says_what_it_is_for() -> None:
    found = shipped_recipes()
    assert {"small", "teacher", "three-layers"} <= set(found)
    for name, purpose in found.items():
        assert isinstance(read_recipe(name), Recipe)
        assert len(purpose) > 20


def test_an_unknown_recipe_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one of small, teacher"):
        read_recipe("smal")
    with pytest.raises(UsageError, match="cannot be read"):
        read_recipe(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("[train\n")
    with pytest.raises(RecipeError, match="not valid TOML"):
        read_recipe(str(broken))
