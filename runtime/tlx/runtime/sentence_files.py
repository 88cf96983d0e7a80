"""The files by which sentence-transformers knows how a model's token states become one vector: read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tlx.runtime.errors import FolderError

__all__ = ["POOLINGS", "Pooling", "read_limit", "read_sentence_files", "write_sentence_files"]

Pooling = Literal["mean", "cls", "max", "lasttoken"]
POOLINGS = ("mean", "cls", "max", "lasttoken")
# sentence-transformers before version 5 has one key for each way; all its versions read these.
KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
TOKENIZER = "tokenizer.json"
MODULES, BERT, MODEL = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"


def read_sentence_files(path: Path) -> dict[str, Any]:
    """`pooling`, `normalise` and, where given, `dimensions` of a model folder.

    A folder without modules.json is pooled by the mean and not normalised, as sentence-transformers does it. Raises
    FolderError for modules that the runtime does not have.
    """
    modules = _read(path / MODULES, list)
    if modules is None:
        return {"pooling": "mean", "normalise": False}
    pooling: str | None = None
    normalise = False
    for place, module in enumerate(modules):
        kind = str(module.get("type", "")).rsplit(".", 1)[-1] if isinstance(module, Mapping) else str(module)
        if (kind == "Transformer") != (place == 0) or kind not in ("Transformer", "Pooling", "Normalize") or normalise:
            raise FolderError(
                f"{path / MODULES} has the module {kind} in place {place}: tlx runs Transformer, Pooling and Normalize"
            )
        if kind == "Pooling":
            pooling = _pooling(path / str(module.get("path", "1_Pooling")) / "config.json")
        normalise = normalise or kind == "Normalize"
    if pooling is None:
        raise FolderError(f"{path / MODULES} has no Pooling: tlx runs Transformer, Pooling and Normalize")
    settings = {"pooling": pooling, "normalise": normalise}
    told = _read(path / MODEL, dict) or {}
    if (told.get("prompts") or {}).get(told.get("default_prompt_name")):
        raise FolderError(
            f"{path / MODEL} puts the prompt {told['default_prompt_name']!r} before every text: set default_prompt_name "
            "to null, and put prompts before the texts yourself"
        )
    if told.get("truncate_dim"):
        settings["dimensions"] = int(told["truncate_dim"])
    return settings


def read_limit(path: Path) -> int | None:
    """The most tokens that the folder's files for sentence-transformers allow; None where they say nothing."""
    told = _read(path / BERT, dict) or {}
    if told.get("do_lower_case"):
        normalizer = (_read(path / TOKENIZER, dict) or {}).get("normalizer")
        if not _lowers(normalizer):
            raise FolderError(f"{path / BERT} has do_lower_case, {TOKENIZER} does not: add Lowercase to its normalizer")
    return int(told["max_seq_length"]) if told.get("max_seq_length") else None


def write_sentence_files(path: Path, hidden: int, max_tokens: int, settings: Mapping[str, Any]) -> None:
    """`path` loads as a SentenceTransformer that pools as `settings` (`pooling`, `normalise`, `dimensions`) say."""
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling")] + [("Normalize", "2_Normalize")] * settings["normalise"]
    modules = [
        {"idx": i, "name": str(i), "path": where, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, where) in enumerate(kinds)
    ]
    pooling: dict[str, Any] = {"word_embedding_dimension": hidden}
    pooling |= {key: name == settings["pooling"] for name, key in KEYS.items()}
    pooling["include_prompt"] = True
    model: dict[str, Any] = {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    if settings.get("dimensions"):
        model["truncate_dim"] = settings["dimensions"]
    (path / "1_Pooling").mkdir(exist_ok=True)
    _write(path / MODULES, modules)
    _write(path / "1_Pooling" / "config.json", pooling)
    _write(path / BERT, {"max_seq_length": max_tokens, "do_lower_case": False})
    _write(path / MODEL, model)


def _pooling(path: Path) -> str:
    told = _read(path, dict)
    if told is None:
        raise FolderError(f"{path} is missing: it says how token states are pooled; copy the folder again")
    chosen = told.get("pooling_mode") or [name for name, key in KEYS.items() if told.get(key)]
    names = [chosen] if isinstance(chosen, str) else list(chosen) or ["mean"]
    if len(names) != 1 or names[0] not in POOLINGS:
        raise FolderError(f"{path} pools by {' and '.join(names)}: tlx has {', '.join(POOLINGS)}, one of them")
    return str(names[0])


def _lowers(normalizer: Any) -> bool:
    """Whether a normalizer of tokenizer.json, or one that it is made of, makes letters small."""
    if not isinstance(normalizer, Mapping):
        return False
    parts = normalizer.get("normalizers") or ()
    return normalizer.get("type") == "Lowercase" or bool(normalizer.get("lowercase")) or any(map(_lowers, parts))


def _read(path: Path, kind: type) -> Any:
    """What a JSON file holds; None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FolderError(f"{path} is not readable JSON ({error}): copy the folder again") from error
    if not isinstance(found, kind):
        raise FolderError(
            f"{path} holds a {type(found).__name__}: wanted a JSON {kind.__name__}; copy the folder again"
        )
    return found


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
