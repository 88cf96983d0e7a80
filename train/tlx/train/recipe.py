"""The typed recipe: what one training run is, its defaults, and all its faults at once.

A recipe is TOML with the sections below. A key that is left out is chosen from the data and the model; the resolved
recipe, with every choice written out, lies beside the model that it made.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from tlx.runtime.errors import RecipeError, UsageError

__all__ = [
    "AugmentSection",
    "DataSection",
    "DistilSection",
    "ModelSection",
    "Recipe",
    "TrainSection",
    "options_from",
    "read_recipe",
    "recipe_from",
    "shipped_recipes",
]


T = TypeVar("T")


def _number(default: Any, low: float, high: float) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Where the examples come from. Paths are relative to the working directory."""

    train: str | None = None
    validation: str | None = None
    unlabelled: tuple[str, ...] = ()
    text: str | None = None
    text_pair: str | None = None
    """The second text's column, for pairs."""
    label: str | None = None
    validation_share: float = _number(0.1, 0.001, 0.5)
    """Share of `train` held out, label by label, when no validation file is given."""

    @property
    def columns(self) -> dict[str, str]:
        """The columns that are named."""
        named = {"text": self.text, "text_pair": self.text_pair, "label": self.label}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """What is trained, from what, towards whom."""

    task: str | None = None
    base: str | None = None
    """A pretrained model: a folder, or a name on a model hub."""
    teachers: tuple[str, ...] = ()
    """Trained models whose answers the student learns; several are averaged."""
    student: Literal["transformer", "convolution", "gru", "bag"] = "transformer"
    layers: int | None = _number(None, 1, 128)
    """A transformer student keeps so many of its teacher's (or base's) layers, spread evenly."""
    hidden: int | None = _number(None, 8, 8192)
    """Width: of a narrower transformer, or of a small student's main layer."""
    vocabulary: int | None = _number(None, 200, 1_000_000)
    """Tokens that the student keeps of its teacher's vocabulary. Left out: all (transformer), 12,000 (small students)."""
    max_tokens: int | None = _number(None, 4, 8192)
    """The model reads so many tokens of a text, in training and ever after. Left out: 512, or the base's limit where that is
    less; for tasks that read in windows, the window."""
    random_weights: bool = False
    """Keep the base's shape and tokenizer, but start from random weights (to see what pretraining is worth)."""


@dataclass(frozen=True, kw_only=True)
class TrainSection:
    """The loop."""

    epochs: float | None = _number(None, 0.01, 10_000)
    learning_rate: float | None = _number(None, 1e-8, 1.0)
    head_rate_factor: float = _number(5.0, 0.1, 1000)
    """The fresh head of a pretrained model learns so many times faster than the rest."""
    probe: bool = True
    """A fresh head of a pretrained model begins as a linear probe of it (classification, regression, tagging, intent-slots)."""
    batch_rows: int | None = _number(None, 1, 65_536)
    """Rows a step on average: batches hold a budget of tokens, batch_rows times the mean length. Left out: 32 (8 to 32 where
    the data are few), 128 for small students, and what the task wants where contrast within the batch is learnt."""
    max_tokens: int | None = _number(None, 4, 8192)
    """Training texts are cut at so many tokens, at most model.max_tokens. Left out: that where it is given, else what 99.9 % of
    them need, at least 64."""
    weight_decay: float = _number(0.01, 0, 1)
    warmup_share: float = _number(0.1, 0, 0.9)
    max_grad_norm: float = _number(1.0, 0.001, 1e6)
    label_smoothing: float | None = _number(None, 0, 0.9)
    """The gold's share that all labels have in common. Left out: .1 where a classifier of one label a text learns without a teacher from
    ten rows a label or more, else 0."""
    dropout: float | None = _number(None, 0, 0.9)
    """Left out: what the model's configuration has, and 0 for a small student with more transfer texts than labelled ones."""
    metric: str | None = None
    """The validation figure that chooses the weights. Left out: the task's main one."""
    patience: int = _number(4, 1, 10_000)
    """Stop after so many evaluations in a row that are worse than the best by more than chance. There is one an epoch."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    save_precision: Literal["fp32", "fp16"] = "fp32"
    """Of the weights in model.safetensors."""
    seed: int = _number(0, 0, 2**32 - 1)
    checkpoint_seconds: float = _number(60.0, 0, 1e9)


@dataclass(frozen=True, kw_only=True)
class DistilSection:
    """Weights of the distillation terms; they count when there is a teacher."""

    alpha: float = _number(0.9, 0, 1)
    """L = (1 − alpha)·L_task + alpha·L_soft (Hinton et al. 2015, arXiv:1503.02531)."""
    temperature: float = _number(2.0, 0.05, 100)
    hidden: float = _number(1.0, 0, 1000)
    """Weight of the mean squared difference of hidden states (transformer students)."""
    relations: float = _number(1.0, 0, 1000)
    """Weight of the attention-relation term (transformer students; MiniLMv2, arXiv:2012.15828)."""
    vectors: float = _number(2.0, 0, 1000)
    """Weight of the difference of text vectors (small students of texts; Romero et al. 2015, arXiv:1412.6550)."""
    pooler: float = _number(0.0, 0, 1000)
    """Encoders that learn a teacher's vectors: weight of the difference between what the pooler makes of the first token and the
    teacher's vector. Classifiers read the pooler: they then begin with what a text means."""
    cache: str | None = None
    """A folder that keeps the teachers' answers for other runs on the same texts (other seeds, other students). Left out: they
    lie with the run and go when it ends."""


@dataclass(frozen=True, kw_only=True)
class AugmentSection:
    """Transfer texts made from the training texts and labelled by the teacher."""

    count: int | None = _number(None, 0, 10_000_000)
    """Left out: none without a teacher, 2 a training text (at most 30,000) for transformers, 16 (20,000 to 240,000) else; fewer
    where the texts are long (`defaults.py`)."""
    seed: int = _number(0, 0, 2**32 - 1)
    """Of its own, so that runs that differ in train.seed learn from the same transfer texts."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run."""

    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    train: TrainSection = TrainSection()
    distil: DistilSection = DistilSection()
    augment: AugmentSection = AugmentSection()
    task: Mapping[str, Any] = field(default_factory=dict)
    """Options of the task alone (`options_from`)."""

    def updated(self, section: str, **values: Any) -> Recipe:
        """The recipe with those keys of one section replaced."""
        return dataclasses.replace(self, **{section: dataclasses.replace(getattr(self, section), **values)})

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Sections of plain values; keys that are None are left out."""
        return {
            section.name: {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in _items(getattr(self, section.name))
                if value is not None
            }
            for section in fields(self)
        }

    def to_toml(self) -> str:
        lines = []
        for section, values in self.to_dict().items():
            lines.append(f"[{section}]")
            lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
            lines.append("")
        return "\n".join(lines)


def shipped_recipes() -> dict[str, str]:
    """Name → first comment line of each recipe that comes with tlx."""
    found = {}
    for item in sorted(resources.files("tlx.train").joinpath("recipes").iterdir(), key=lambda item: item.name):
        if item.name.endswith(".toml"):
            first = item.read_text(encoding="utf-8").splitlines()[0]
            found[item.name.removesuffix(".toml")] = first.lstrip("# ").strip()
    return found


def read_recipe(name: str) -> Recipe:
    """A TOML file, or a shipped recipe by name. Raises RecipeError with every fault, UsageError when there is none."""
    path = Path(name)
    if path.suffix == ".toml":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"recipe {name} cannot be read ({error}): give a TOML file or a shipped recipe") from error
    elif name in shipped_recipes():
        text = resources.files("tlx.train").joinpath("recipes").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    else:
        raise UsageError(
            f"no recipe {name!r}: give a .toml file or one of {', '.join(shipped_recipes())} (`tlx train --list-recipes`)"
        )
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(name, [f"not valid TOML: {error}"]) from error
    return recipe_from(document, source=name)


def recipe_from(
    document: Mapping[str, Any], *, source: str, settings: Sequence[str] = (), base: Recipe | None = None
) -> Recipe:
    """A recipe from nested values, with `settings` such as "train.epochs=3" on top. Raises RecipeError with all faults."""
    recipe, faults = base or Recipe(), []
    merged: dict[str, dict[str, Any]] = {}
    sections = {section.name for section in fields(Recipe)}
    for name, values in document.items():
        if name not in sections:
            faults.append(f"[{name}] is no section{_nearest(name, sections)}")
        elif not isinstance(values, Mapping):
            faults.append(f"{name} is {values!r}: wanted a section [{name}]")
        else:
            merged[name] = dict(values)
    for setting in settings:
        place, equals, text = setting.partition("=")
        section_name, dot, key = place.strip().partition(".")
        if not equals or not dot:
            faults.append(f"--set {setting}: wanted section.key=value, e.g. train.epochs=3")
        elif section_name not in sections:
            faults.append(f"--set {setting}: no section {section_name!r}{_nearest(section_name, sections)}")
        else:
            merged.setdefault(section_name, {})[key] = _parsed(text)
    if "task" in merged:
        recipe = dataclasses.replace(recipe, task={**recipe.task, **merged.pop("task")})
    for name, values in merged.items():
        known, found = _checked(name, getattr(recipe, name), values)
        faults += found
        recipe = recipe.updated(name, **known)
    if faults:
        raise RecipeError(source, faults)
    return recipe


def options_from(kind: type[T], values: Mapping[str, Any], task: str) -> T:
    """A task's options, a dataclass of its own, from the recipe's section [task]. Raises RecipeError with all faults."""
    known, faults = _checked("task", kind(), values)
    if faults:
        raise RecipeError(f"{task}, section [task]", faults)
    return kind(**known)


def _items(section: Any) -> list[tuple[str, Any]]:
    values = section if isinstance(section, Mapping) else dataclasses.asdict(section)
    return list(values.items())


def _checked(section: str, current: Any, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    hints, known, faults = get_type_hints(type(current)), {}, []
    by_name = {item.name: item for item in fields(current)}
    for key, value in values.items():
        place = f"{section}.{key}"
        if key not in by_name:
            faults.append(f"{place} is no key{_nearest(key, by_name)}")
            continue
        cast, wanted = _cast(value, hints[key])
        low, high = by_name[key].metadata.get("low"), by_name[key].metadata.get("high")
        if wanted:
            faults.append(f"{place} is {value!r}: wanted {wanted}")
        elif low is not None and cast is not None and not low <= cast <= high:
            faults.append(f"{place} is {value!r}: wanted {low} to {high}")
        else:
            known[key] = cast
    return known, faults


def _cast(value: Any, hint: Any) -> tuple[Any, str]:
    """(value, "") when it fits the type, else (None, what was wanted)."""
    options = get_args(hint) if get_origin(hint) is not None and type(None) in get_args(hint) else (hint,)
    kind = next(option for option in options if option is not type(None))
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return (value, "") if value in choices else (None, f"one of {', '.join(choices)}")
    if get_origin(kind) is tuple:
        item_kind = get_args(kind)[0]
        items = [value] if isinstance(value, (str, int)) else value
        fits = isinstance(items, (list, tuple)) and all(type(item) is item_kind for item in items)
        return (tuple(items), "") if fits else (None, f"a list of {'strings' if item_kind is str else 'whole numbers'}")
    if kind is bool:
        return (value, "") if isinstance(value, bool) else (None, "true or false")
    if kind is str:
        return (value, "") if isinstance(value, str) else (None, "a string")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None, "a whole number" if kind is int else "a number"
    if kind is int:
        return (int(value), "") if float(value).is_integer() else (None, "a whole number")
    return float(value), ""


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _nearest(name: str, choices: Any) -> str:
    near = difflib.get_close_matches(name, list(choices), n=1)
    return f" (did you mean {near[0]}?)" if near else f" (there are: {', '.join(sorted(choices))})"
