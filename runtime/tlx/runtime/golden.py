"""golden.json replayed: the inputs that export kept, with torch's outputs, through a variant on this machine."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.engine import TruncationWarning
from tlx.runtime.errors import FolderError
from tlx.runtime.folder import Folder
from tlx.runtime.json_files import fault
from tlx.runtime.predictor import Predictor
from tlx.runtime.tasks import Task
from tlx.runtime.tasks.task import Outputs, unit_starts

__all__ = ["GOLDEN", "Replay", "golden_lines", "replay"]

GOLDEN = "golden.json"
MORE, EXACT = 2.0, 1e-3
"""Outputs may differ from torch's by so many times what they did at export, and so much more."""


class Replay(TypedDict):
    """What a variant gives for the golden inputs. Differences are of the model's outputs from torch's; None: of another shape."""

    variant: str
    inputs: int
    other_ids: int
    max_abs_difference: float | None
    at_export: float | None
    fault: str | None


def golden_lines(task: Task, outputs: Outputs) -> tuple[list[list[int]], list[NDArray[np.float32]]]:
    """(the token ids of each input's first row, its lines of values), in the order of the inputs."""
    encoded = outputs.encoded
    starts = unit_starts(task.units(encoded), len(encoded.rows))
    owners = np.arange(len(encoded.rows)) if encoded.owners is None else encoded.owners
    first = np.searchsorted(owners, np.arange(len(outputs.inputs) + 1))
    lines = [outputs.values[starts[a] : starts[b]] for a, b in pairwise(first)]
    return [encoded.rows[row].tolist() for row in first[:-1]], lines


def replay(folder: Folder, variant: str, device: str = "auto") -> Replay:
    """The golden inputs through a variant of the folder. Raises FolderError when golden.json is missing or damaged."""
    document = _read(folder)
    predictor = Predictor.open(folder, variant, device)
    inputs = [tuple(item) if isinstance(item, list) else item for item in document["texts"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # one of them is long on purpose
        ids, lines = golden_lines(predictor.task, predictor.run(inputs))
    differences = [_difference(own, wanted) for own, wanted in zip(lines, document["logits"], strict=True)]
    found = float(np.max(differences, initial=0.0))  # NaN where one is
    other_ids = sum(own != wanted for own, wanted in zip(ids, document["input_ids"], strict=True))
    at_export = folder.manifest.variants[predictor.variant].report.get("max_abs_difference")
    told = None
    expected = (folder.manifest.lineage.get("export") or {}).get("golden_inputs")
    if not inputs or (expected is not None and len(inputs) != expected):
        told = f"{GOLDEN} has {len(inputs)} inputs, export wrote {expected or 'some'}: export or copy the folder again"
    elif not np.isfinite(found):
        told = f"{predictor.variant}: outputs of the golden inputs are infinite, or have another shape than torch's"
    elif other_ids:
        told = f"{predictor.variant}: {other_ids} of {len(inputs)} golden inputs have other token ids than at export"
    elif at_export is not None and not found <= MORE * at_export + EXACT:
        told = (
            f"{predictor.variant}: outputs of the golden inputs differ from torch's by up to {found:.3g}, at export by up to "
            f"{at_export:.3g}: this machine computes otherwise; export there, or load variant fp32"
        )
    return Replay(
        variant=predictor.variant,
        inputs=len(inputs),
        other_ids=other_ids,
        max_abs_difference=found if np.isfinite(found) else None,
        at_export=at_export,
        fault=told,
    )


def _read(folder: Folder) -> dict[str, Any]:
    path = folder.path / GOLDEN
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        counts = {len(document[name]) for name in ("texts", "input_ids", "logits")}
    except FileNotFoundError as error:
        raise FolderError(f"{path} is missing: `tlx export` writes it") from error
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path} is not valid JSON: {fault(error)}; export the folder again") from error
    except (OSError, KeyError, TypeError) as error:
        raise FolderError(f"{path} cannot be read ({error}): export the folder again") from error
    if len(counts) != 1:
        raise FolderError(f"{path} has other numbers of texts, ids and outputs: export the folder again")
    found: dict[str, Any] = document
    return found


def _difference(own: NDArray[np.float32], wanted: list[Any]) -> float:
    """The greatest difference of an input's lines; infinite where they are of another shape. A line as `[column, value]` is
    compared there (golden.json keeps wide ones so)."""
    lines = wanted if wanted and isinstance(wanted[0], list) else [wanted]
    if len(lines) != len(own):
        return float("inf")
    if own.shape[1] != 2 and lines and len(lines[0]) == 2:
        columns, values = np.asarray(lines, dtype=np.float64).T
        if not ((columns >= 0) & (columns < own.shape[1])).all():
            return float("inf")
        return float(np.abs(own[np.arange(len(own)), columns.astype(int)] - values).max())
    kept = np.asarray(lines, dtype=np.float32)
    return float(np.abs(own - kept).max()) if kept.shape == own.shape else float("inf")
