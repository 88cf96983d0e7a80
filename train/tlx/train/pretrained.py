"""Pretrained models and tokenizers, from a folder or a hub, with one clear error when there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from tlx.runtime import limits
from tlx.runtime.errors import UsageError
from tlx.runtime.folder import MANIFEST, file_record, open_folder
from tlx.runtime.quiet import quiet
from tlx.train.beforehand import check_folder
from tlx.train.students import register

__all__ = ["check_model", "load_config", "load_pretrained", "load_tokenizer", "model_hashes", "token_limit"]

MODEL_FILES = ("config.json", "tokenizer.json", "*.safetensors", "*.bin", "modules.json", "*_Pooling/config.json")


def model_hashes(source: str) -> dict[str, str]:
    """Path → sha256 of the files that a model is loaded from; {} for a name that is no folder.

    Raises IntegrityError when a tlx folder's files are not those of its manifest.
    """
    folder = Path(source)
    if not folder.is_dir():
        return {}
    checked = open_folder(folder).check_source() if (folder / MANIFEST).is_file() else {}
    files = sorted(path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file())
    return {
        str(path): checked.get(str(path)) or file_record(folder, str(path.relative_to(folder))).sha256 for path in files
    }


def check_model(source: str) -> None:
    """Raises UsageError where no model can be loaded, as far as its config and the heads of its weights tell."""
    register()
    load_config(source)
    with _explained(source, "a model"):
        for path in sorted(Path(source).glob("*.safetensors")):
            with safe_open(path, "numpy"):
                pass


def load_config(source: str, **changes: Any) -> Any:
    """The model's config. Raises UsageError when `source` is neither a model folder nor a name that can be loaded."""
    with _explained(source, "a model"):
        return AutoConfig.from_pretrained(source, **changes)


def load_pretrained(
    source: str, auto_class: Any, changes: Mapping[str, Any], *, random_weights: bool = False
) -> tuple[PreTrainedModel, set[str]]:
    """(the model in float32, names of the parameters that the weights did not hold)."""
    register()
    config = load_config(source, **changes)
    if not torch.cuda.is_available():
        # For short texts the backward pass of torch's fused CPU attention takes ten times as long as plain products.
        config._attn_implementation = "eager"
    with quiet(), _explained(source, "a model"):
        if random_weights:
            model = auto_class.from_config(config, dtype=torch.float32)
            return model, set()
        model, info = auto_class.from_pretrained(
            source, config=config, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=bool(changes)
        )
    fresh = set(info["missing_keys"]) | {entry[0] for entry in info["mismatched_keys"]}
    if len(fresh) > 0.5 * len(model.state_dict()):
        raise UsageError(
            f"{source} holds hardly any weight of a {type(model).__name__}: give a pretrained model folder"
        )
    return model, fresh


def load_tokenizer(source: str) -> PreTrainedTokenizerFast:
    """The fast tokenizer, which neither pads nor cuts by itself (all-MiniLM's does, to 128). Raises UsageError when there is none."""
    with quiet(), _explained(source, "a tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UsageError(f"{source} has no fast tokenizer (tokenizer.json): convert it with transformers first")
    if tokenizer.pad_token_id is None:
        raise UsageError(
            f"{source} has no padding token: set one in its tokenizer (e.g. the end token) and in its config"
        )
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def alike(first: PreTrainedTokenizerFast, second: PreTrainedTokenizerFast) -> bool:
    """Whether they make the same tokens of every text."""
    return first is second or first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


def token_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> int:
    """The most tokens that both can take, special ones included."""
    return limits.token_limit(
        model_type=model.config.model_type,
        positions=getattr(model.config, "max_position_embeddings", None),
        pad_token_id=model.config.pad_token_id,
        tokenizer_limit=tokenizer.model_max_length,
    )


@contextmanager
def _explained(source: str, wanted: str) -> Iterator[None]:
    check_folder(source)
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, safetensors' own, …
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        found = source if Path(source).exists() else f"{source} is no folder here, and as a name of the model hub it"
        raise UsageError(f"{found} does not load as {wanted}: {reason[:200]}") from error
