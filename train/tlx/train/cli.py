"""The command `tlx train`. Heavy imports wait until it runs."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tlx.runtime.errors import UsageError

if TYPE_CHECKING:
    from tlx.train.recipe import Recipe

__all__ = ["register"]

EPILOG = (
    "Examples:  tlx train data/train.csv --validation data/val.csv --base models/tlx-mini-en --out models/intent   |   "
    "tlx train data/train.csv --teacher models/intent --student convolution --out models/intent-small   |   "
    "tlx train --resume --out models/intent"
)


def register(app: typer.Typer) -> None:
    """Adds `train` to the program."""
    app.command("train", epilog=EPILOG)(train_command)


def train_command(
    data: Annotated[
        str | None, typer.Argument(help="CSV, TSV, JSONL, Parquet, or a Hugging Face data set name.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The model folder to make.")] = None,
    validation: Annotated[
        str | None, typer.Option(help="Rows to choose by; left out: a stratified tenth of DATA.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="The pretrained model to start from.")] = None,
    teacher: Annotated[list[str] | None, typer.Option(help="A trained model to learn from (repeatable).")] = None,
    student: Annotated[str | None, typer.Option(help="transformer, convolution, gru or bag.")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers that a transformer student keeps.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Width of the student.")] = None,
    vocabulary: Annotated[int | None, typer.Option(help="Tokens that the student keeps.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens of a text that the model reads.")] = None,
    unlabelled: Annotated[
        list[str] | None, typer.Option(help="More texts for the teacher to label (repeatable).")
    ] = None,
    oos: Annotated[
        str | None, typer.Option(help="Texts out of scope: the classifier learns from where on to reject (label None).")
    ] = None,
    augment: Annotated[int | None, typer.Option(help="Texts to make for the teacher to label.")] = None,
    task: Annotated[str | None, typer.Option(help="A Hugging Face task name.")] = None,
    text: Annotated[str | None, typer.Option(help="The text column.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="The second text's column, for pairs.")] = None,
    label: Annotated[str | None, typer.Option(help="The label column.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="The validation figure that chooses the weights, e.g. macro_f1.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A TOML file, or the name of a shipped recipe.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value of the recipe (repeatable).")
    ] = None,
    list_recipes: Annotated[bool, typer.Option("--list-recipes", help="List the shipped recipes and stop.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model folder if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Fine-tune a pretrained model on labelled text, or distil a trained one into a small student."""
    from tlx.train.recipe import Recipe, read_recipe, recipe_from, shipped_recipes

    if list_recipes:
        recipes = shipped_recipes()
        print(json.dumps(recipes) if as_json else "\n".join(f"{name:<14}{what}" for name, what in recipes.items()))
        return
    if out is None:
        raise UsageError("--out is missing: name the folder to make, e.g. --out models/mine")
    flags: dict[str, dict[str, Any]] = {
        "data": {
            "train": data,
            "validation": validation,
            "unlabelled": unlabelled,
            "text": text,
            "text_pair": text_pair,
            "label": label,
        },
        "model": {
            "task": task,
            "base": base,
            "teachers": teacher,
            "student": student,
            "layers": layers,
            "hidden": hidden,
            "vocabulary": vocabulary,
            "max_tokens": max_tokens,
        },
        "train": {"epochs": epochs, "learning_rate": learning_rate, "metric": metric, "seed": seed},
        "augment": {"count": augment},
        "task": {"oos": oos},
    }
    given = {name: {k: v for k, v in values.items() if v is not None and v != []} for name, values in flags.items()}
    resolved = read_recipe(recipe) if recipe is not None else Recipe()
    resolved = recipe_from({}, source="command line", settings=set_ or [], base=resolved)
    resolved = recipe_from(given, source="command line", base=resolved)

    from tlx.train.console import Console
    from tlx.train.train import run_folder, train

    try:
        result = train(resolved, out, overwrite=overwrite, resume=resume, console=Console(quiet=quiet))
    except KeyboardInterrupt:
        quoted = shlex.quote(str(out)) + (" --overwrite" if overwrite else "")
        kept = f"nothing is lost: go on with `tlx train --resume --out {quoted}`"
        print(f"stopped; {kept if run_folder(out).exists() else 'nothing was begun yet'}", file=sys.stderr)
        raise
    if os.environ.get("RANK", "0") != "0":
        return  # one of several processes: the first one speaks
    figures = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
    if as_json:
        document = {**vars(result), "folder": str(result.folder)}
        print(json.dumps(document))
        return
    print(f"{result.folder}: {figures} on validation ({result.steps} steps, {result.seconds:.0f} s)")
    print(f"next: {_export_command(result.folder, resolved)}", file=sys.stderr)


def _export_command(folder: Path, recipe: Recipe) -> str:
    """What to type next, with the columns that training was told."""
    data = recipe.data
    named = {"--text": data.text, "--text-pair": data.text_pair, "--label": data.label}
    words = ["tlx", "export", str(folder), "--quantize", "--data", data.validation or "LABELLED.csv"]
    return shlex.join([*words, *(word for flag, name in named.items() if name for word in (flag, name))])
