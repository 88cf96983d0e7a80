"""What training leaves behind: the model folder, complete, with its manifest, card, recipe and curve."""

from __future__ import annotations

import inspect
import platform
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import metadata_load
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tlx.runtime.card import write_card
from tlx.runtime.examples import Examples
from tlx.runtime.folder import MANIFEST, Folder, Manifest, Variant, file_record
from tlx.train.building import Student
from tlx.train.checkpoint import Progress
from tlx.train.defaults import READS
from tlx.train.plot import plot_training
from tlx.train.recipe import Recipe
from tlx.train.tasks.task import TrainTask
from tlx.train.teachers import Teacher

__all__ = ["Data", "name_inputs", "write_model"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """The examples of a run; `sources` are the files that they came from."""

    train: Examples
    validation: Examples
    sources: tuple[Examples, ...]


def write_model(
    stage: Path,
    out: Path,
    recipe: Recipe,
    task: TrainTask,
    student: Student,
    data: Data,
    teachers: Sequence[Teacher],
    progress: Progress,
    rows: int,
) -> None:
    """The model folder, complete, in `stage`. Of absolute paths only the last part is told: they name a machine."""
    licence = _licence([*filter(None, [recipe.model.base]), *(teacher.source for teacher in teachers)])
    recipe = _told(recipe)
    model = student.model.to("cpu")
    if recipe.train.save_precision == "fp16":
        model = _halved(model)
    model.save_pretrained(stage)
    max_tokens = recipe.model.max_tokens or READS
    name_inputs(student.tokenizer, model)
    if task.runtime.window is None:  # a window is no limit: what does not fit comes in the next
        student.tokenizer.model_max_length = max_tokens
    student.tokenizer.save_pretrained(stage)
    task.write_extras(stage, model, max_tokens)
    (stage / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    plot_training(stage / "training.png", progress, recipe.train.metric or task.main_metric)
    metrics = progress.kept_metrics
    lineage: dict[str, Any] = {
        "base": recipe.model.base,
        "teachers": [{"path": _name(teacher.source), "sha256": teacher.fingerprint} for teacher in teachers],
        "data": [{"path": _name(part.source), "rows": len(part), "sha256": part.sha256} for part in data.sources],
        "recipe": recipe.to_dict(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "versions": _versions(),
        "training": {
            "metrics": metrics,
            "validation_rows": len(data.validation),
            "training_rows": rows,
            "best_epoch": progress.kept_epoch,
            "steps": progress.step,
            "seconds": round(progress.seconds, 1),
            "evaluations": progress.evaluations,
        },
        "plot": "training.png",
    }
    if licence is not None:
        lineage["license"] = licence
    torch_file = file_record(stage, "model.safetensors")
    manifest = Manifest(
        task=task.name,
        labels=task.labels,
        max_tokens=max_tokens,
        settings=task.settings,
        files={name: file_record(stage, name) for name in ("config.json", "tokenizer.json", *_code(stage))},
        variants={"torch": Variant(name="torch", file=torch_file, metrics=metrics)},
        lineage=lineage,
    )
    (stage / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    (stage / "README.md").write_text(write_card(Folder(path=out, manifest=manifest)), encoding="utf-8")


def _halved(model: PreTrainedModel) -> PreTrainedModel:
    """The model in fp16; as it is, which is warned of, where a weight is more than that can hold."""
    most = max(float(p.detach().abs().max()) for p in model.parameters() if p.numel())
    if most <= torch.finfo(torch.float16).max:
        return model.half()
    warnings.warn(
        f"a weight is {most:g}, more than fp16 can hold: the weights are saved in fp32", UserWarning, stacklevel=3
    )
    return model


def _code(stage: Path) -> list[str]:
    """The code of a small student's architecture, which others run with `trust_remote_code=True`."""
    return sorted(path.name for path in stage.glob("*.py"))


def name_inputs(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel) -> None:
    """The tokenizer gives what the model takes, so that transformers.pipeline runs a student without token types."""
    taken = inspect.signature(model.forward).parameters
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in taken]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names


def _licence(sources: Sequence[str]) -> str | None:
    """The licence that the model cards of all these folders name; None where one names another, several or none."""
    found: set[Any] = set()
    for card in (Path(source) / "README.md" for source in sources):
        told: Any = None
        with suppress(Exception):  # no card, or a header that YAML's parser stops at
            told = (metadata_load(card) or {}).get("license")
        found.add(told if isinstance(told, str) else None)
    return found.pop() if len(found) == 1 else None


def _name(path: str) -> str:
    return Path(path).name if Path(path).is_absolute() else path


def _told(recipe: Recipe) -> Recipe:
    data, model = recipe.data, recipe.model
    options = {key: _name(value) if isinstance(value, str) else value for key, value in recipe.task.items()}
    recipe = replace(recipe, task=options)
    recipe = recipe.updated(
        "data",
        train=_name(data.train or ""),
        validation=None if data.validation is None else _name(data.validation),
        unlabelled=tuple(map(_name, data.unlabelled)),
    )
    recipe = recipe.updated("distil", cache=None)
    return recipe.updated(
        "model",
        base=None if model.base is None else _name(model.base),
        teachers=tuple(map(_name, model.teachers)),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("tlx", "torch", "transformers", "tokenizers", "accelerate", "numpy"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
