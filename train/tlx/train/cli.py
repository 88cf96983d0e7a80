"""The command `tlx train`. Heavy imports wait until it runs."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

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


KEYWORD = inspect.Parameter.KEYWORD_ONLY


class Flag(NamedTuple):
    """An option that sets one key of the recipe, `place`, which says what the key means."""

    name: str
    kind: Any
    place: str
    help: str


FLAGS = (
    Flag("validation", str, "data.validation", "Rows to choose by; left out: a stratified tenth of DATA."),
    Flag("base", str, "model.base", "The pretrained model to start from."),
    Flag("teacher", list[str], "model.teachers", "A trained model to learn from (repeatable)."),
    Flag("student", str, "model.student", "transformer, convolution, gru or bag."),
    Flag("layers", int, "model.layers", "Layers that a transformer student keeps."),
    Flag("hidden", int, "model.hidden", "Width of the student."),
    Flag("vocabulary", int, "model.vocabulary", "Tokens that the student keeps."),
    Flag("max_tokens", int, "model.max_tokens", "Tokens of a text that the model reads."),
    Flag("unlabelled", list[str], "data.unlabelled", "More texts for the teacher to label (repeatable)."),
    Flag("oos", str, "task.oos", "Texts out of scope: the classifier learns from where on to reject (label None)."),
    Flag("augment", int, "augment.count", "Texts to make for the teacher to label."),
    Flag("task", str, "model.task", "A Hugging Face task name."),
    Flag("text", str, "data.text", "The text column."),
    Flag("text_pair", str, "data.text_pair", "The second text's column, for pairs."),
    Flag("label", str, "data.label", "The label column."),
    Flag("epochs", float, "train.epochs", "Passes over the data."),
    Flag("learning_rate", float, "train.learning_rate", "Peak learning rate."),
    Flag("metric", str, "train.metric", "The validation figure that chooses the weights, e.g. macro_f1."),
    Flag("seed", int, "train.seed", "Seed of everything random."),
)


def register(app: typer.Typer) -> None:
    """Adds `train` to the program."""
    app.command("train", epilog=EPILOG)(_with_flags(train_command))


def _with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each of FLAGS, behind --out, in the place of its `**flags`."""
    hints = get_type_hints(command, include_extras=True)
    written = [p.replace(annotation=hints[name]) for name, p in inspect.signature(command).parameters.items()]
    kinds = {flag.name: Annotated[flag.kind | None, typer.Option(help=flag.help)] for flag in FLAGS}
    options = [inspect.Parameter(name, KEYWORD, default=None, annotation=kind) for name, kind in kinds.items()]

    def whole(**given: Any) -> None:
        command(**given)

    whole.__doc__, whole.__annotations__ = command.__doc__, {**hints, **kinds}
    whole.__signature__ = inspect.Signature([*written[:2], *options, *written[2:-1]])  # type: ignore[attr-defined]
    return whole


def train_command(
    *,
    data: Annotated[
        str | None, typer.Argument(help="CSV, TSV, JSONL, Parquet, or a Hugging Face data set name.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The model folder to make.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A TOML file, or the name of a shipped recipe.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value of the recipe (repeatable).")
    ] = None,
    list_recipes: Annotated[bool, typer.Option("--list-recipes", help="List the shipped recipes and stop.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model folder if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
    **flags: Any,
) -> None:
    """Fine-tune a pretrained model on labelled text, or distil a trained one into a small student."""
    if list_recipes:
        _list_recipes(as_json)
        return
    if out is None:
        raise UsageError("--out is missing: name the folder to make, e.g. --out models/mine")
    resolved = _recipe(recipe, set_ or [], {**flags, "data": data})
    if importlib.util.find_spec("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    from tlx.train.beforehand import look_ahead
    from tlx.train.runs import run_folder

    try:
        files = None if resume else look_ahead(resolved, out, overwrite=overwrite)  # before seconds of imports

        from tlx.train.console import Console
        from tlx.train.train import train

        result = train(resolved, out, overwrite=overwrite, resume=resume, console=Console(quiet=quiet), files=files)
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


def _list_recipes(as_json: bool) -> None:
    from tlx.train.recipe import shipped_recipes

    recipes = shipped_recipes()
    print(json.dumps(recipes) if as_json else "\n".join(f"{name:<14}{what}" for name, what in recipes.items()))


def _recipe(name: str | None, settings: Sequence[str], flags: Mapping[str, Any]) -> Recipe:
    """The named recipe, `section.key=value` settings over it, and the flags that were given over both."""
    from tlx.train.recipe import Recipe, read_recipe, recipe_from

    places = {flag.name: flag.place for flag in FLAGS} | {"data": "data.train"}
    given: dict[str, dict[str, Any]] = {}
    for flag, value in flags.items():
        if value is not None and value != []:
            section, _, key = places[flag].partition(".")
            given.setdefault(section, {})[key] = value
    resolved = Recipe() if name is None else read_recipe(name)
    resolved = recipe_from({}, source="command line", settings=settings, base=resolved)
    return recipe_from(given, source="command line", base=resolved)


def _export_command(folder: Path, recipe: Recipe) -> str:
    """What to type next, with the columns that training was told."""
    data = recipe.data
    named = {"--text": data.text, "--text-pair": data.text_pair, "--label": data.label}
    words = ["tlx", "export", str(folder), "--quantize", "--data", data.validation or "LABELLED.csv"]
    return shlex.join([*words, *(word for flag, name in named.items() if name for word in (flag, name))])
