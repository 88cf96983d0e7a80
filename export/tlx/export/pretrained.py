"""The torch model and the tokenizer of a folder, loaded or refused; a manifest for a folder that has none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from tlx.runtime.errors import ExportError, FolderError
from tlx.runtime.folder import MANIFEST, Folder, Manifest, Variant, file_record, open_folder
from tlx.runtime.foreign import WEIGHTS, weights_instead
from tlx.runtime.limits import MOST_TOKENS, token_limit
from tlx.runtime.quiet import quiet
from tlx.runtime.tasks import TASKS, Task, task_named

__all__ = ["LoadedModel", "load_model", "open_source", "register_architectures", "tokenizer_file"]

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A torch model in float32 and evaluation mode, with its fast tokenizer."""

    model: Any
    tokenizer: Any


def auto_class(task: type[Task]) -> str:
    """The name of transformers' class that loads the task's models."""
    return f"AutoModelFor{task.architecture}" if task.architecture else "AutoModel"


def register_architectures() -> None:
    """Transformers and Optimum know the models of every package that has an entry point in "tlx.architectures"."""
    with quiet():
        for entry_point in entry_points(group="tlx.architectures"):
            entry_point.load()()


def open_source(path: Path) -> Folder:
    """The folder to export, its files those of its manifest; a plain transformers checkpoint gets a manifest made for it.

    Raises FolderError when there is no model, IntegrityError when a file that torch's model is made of was changed.
    """
    if (path / MANIFEST).exists() or not path.is_dir():
        folder = open_folder(path)
    else:
        folder = Folder(path=path, manifest=_manifest_of_checkpoint(path))
    _check_weights(path)
    folder.check_source()
    if "torch" in folder.manifest.variants:
        return folder
    torch = Variant(name="torch", file=file_record(path, WEIGHTS))
    return folder._replace(manifest=folder.manifest._replace(variants={"torch": torch, **folder.manifest.variants}))


def load_model(folder: Folder) -> LoadedModel:
    """The folder's torch model. Raises FolderError when it does not load or has no trained head for the task."""
    import torch
    import transformers

    register_architectures()
    path, task = folder.path, task_named(folder.manifest.task)
    with quiet():
        try:
            model, info = getattr(transformers, auto_class(task)).from_pretrained(
                str(path), dtype=torch.float32, output_loading_info=True, local_files_only=True, use_safetensors=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(path), use_fast=True, local_files_only=True)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError, safetensors' own, …
            raise FolderError(f"{path} does not load as a {task.name} model: {_first_line(error)}") from error
    missing = [name for name in info["missing_keys"] if not name.startswith(task.unread_weights)]
    if missing:
        raise FolderError(
            f"{path} is not trained for {task.name} (its weights have no {min(missing)}): "
            "train it first with `tlx train … --out`"
        )
    if not getattr(tokenizer, "is_fast", False):
        raise FolderError(f"{path} has no fast tokenizer ({TOKENIZER}): convert it with transformers first")
    width = task.from_manifest(folder.manifest).width
    if width is not None and model.config.num_labels != width:
        raise FolderError(
            f"{path} gives {model.config.num_labels} logits, {MANIFEST} has {width} labels: "
            "train or copy the folder again"
        )
    return LoadedModel(model=model.eval(), tokenizer=tokenizer)


def _check_weights(path: Path) -> None:
    if not (path / WEIGHTS).is_file():
        raise FolderError(f"{path} holds no {WEIGHTS}: {weights_instead(path)}")


def _manifest_of_checkpoint(path: Path) -> Manifest:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        names = [str(name) for name in config.get("architectures") or []]
        labels = {int(index): str(label) for index, label in (config.get("id2label") or {}).items()}
    except FileNotFoundError as error:
        raise FolderError(
            f"{path} holds neither {MANIFEST} nor config.json: give the folder of a trained model"
        ) from error
    except (OSError, ValueError, AttributeError) as error:
        raise FolderError(f"{path / 'config.json'} is not a model's config ({_first_line(error)})") from error
    task = next((task for name in TASKS if (task := task_named(name)).made(names, config)), None)
    if task is None:
        raise FolderError(
            f"{path} is a {names[0] if names else 'model of no named architecture'}: tlx exports trained models for "
            f"{', '.join(TASKS)}; train one with `tlx train --base {path}`"
        )
    manifest = Manifest(
        task=task.name,
        labels=tuple(labels[index] for index in sorted(labels)) or ("LABEL_0", "LABEL_1"),
        max_tokens=min(_token_limit(path, config), task.limit_of(path) or MOST_TOKENS),
        settings=task.settings_of(config, path),
        lineage={"base": config.get("_name_or_path") or path.name},
    )
    return manifest._replace(labels=task.from_manifest(manifest).labels)


def _token_limit(path: Path, config: dict[str, Any]) -> int:
    try:
        told = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError, AttributeError):
        told = None
    return token_limit(
        model_type=config.get("model_type"),
        positions=config.get("max_position_embeddings"),
        pad_token_id=config.get("pad_token_id"),
        tokenizer_limit=told,
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def tokenizer_file(folder: Folder, loaded: LoadedModel, stage: Path) -> None:
    """`stage` holds tokenizer.json. Raises ExportError when the tokenizer cannot be written as one file."""
    if (stage / TOKENIZER).exists():
        return
    backend = getattr(loaded.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ExportError(f"{folder.path} has no {TOKENIZER}, and its tokenizer cannot be written as one")
    (stage / TOKENIZER).write_text(backend.to_str(), encoding="utf-8")
