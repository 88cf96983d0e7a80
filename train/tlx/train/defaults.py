"""What a recipe leaves open, chosen from the data and the model. One place, so that the choices can be read and argued with."""

from __future__ import annotations

import platform

import numpy as np
import torch
from numpy.typing import NDArray

from tlx.runtime.tasks.task import Task
from tlx.train.recipe import Recipe

__all__ = [
    "READS",
    "USUAL_TOKENS",
    "augment_count",
    "bf16_pays",
    "resolve_dropout",
    "resolve_max_tokens",
    "resolve_training",
]

STEPS = 1000
"""A run of a transformer has so many steps or more, as long as a step keeps a quarter of its usual rows."""

MOST_EPOCHS, MOST_OF_STUDENTS = 30, 15
"""Epochs of few rows; a student of a teacher has made texts beside them."""

READS = 512
"""Tokens that a model reads unless it is told or cannot; students without positions could read any number."""

USUAL_TOKENS = 64
"""Texts of up to so many tokens on average count as one row each; longer ones count in proportion."""


def _weight(tokens: float) -> float:
    """What a row of so many tokens costs, in rows of short text: budgets of rows are divided by it."""
    return max(tokens / USUAL_TOKENS, 1.0)


def augment_count(recipe: Recipe, labelled: int, tokens: float) -> int:
    """Transfer texts to make when the recipe does not say; `tokens` is the mean length of the `labelled` texts."""
    if recipe.augment.count is not None:
        return recipe.augment.count
    if not recipe.model.teachers:
        return 0
    if recipe.model.student == "transformer":
        return int(min(2 * labelled, 30_000 / _weight(tokens)))
    return int(min(max(16 * labelled, 20_000), 240_000) / _weight(tokens))


def resolve_dropout(recipe: Recipe, labelled: int, transfer: int) -> Recipe:
    """The recipe with dropout 0 for a small student with more transfer texts than labelled ones, unless it says otherwise: what
    it learns of them is the teacher's answer to each, which is no noise to be kept from learning by heart
    (benchmarks/LOG.md). Otherwise dropout is what the model's configuration has."""
    if recipe.train.dropout is None and recipe.model.student != "transformer" and transfer > labelled:
        return recipe.updated("train", dropout=0.0)
    return recipe


def resolve_max_tokens(recipe: Recipe, lengths: NDArray[np.int64], limit: int, task: Task, least: int = 64) -> Recipe:
    """The recipe with both limits filled in; `lengths` are those of the training texts, `limit` what model and tokenizer take.

    The model reads up to READS tokens, or more where the training texts have more: texts longer than those of training may
    come. Those of training are cut at what 99.9 % of them need, rounded up to 16, at least `least`, so that one odd text does not
    set the cost of all. A task that reads long inputs in windows has its own limit, which is both.
    """
    given = recipe.model.max_tokens
    needed = int(np.quantile(lengths, 0.999)) if len(lengths) else 64
    trains = max(-(-needed // 16) * 16, least)
    if given is not None or task.window is not None:
        trains = reads = min(given or task.window or limit, limit)
    else:
        reads = min(max(trains, READS), limit)
    trains = min(recipe.train.max_tokens or trains, reads)
    return recipe.updated("model", max_tokens=reads).updated("train", max_tokens=trains)


def resolve_training(
    recipe: Recipe,
    lengths: NDArray[np.int64],
    hidden_size: int,
    layers: int,
    device: torch.device,
    rows_a_step: int = 32,
    rate_share: float = 1.0,
    label_smoothing: float = 0.0,
) -> Recipe:
    """The recipe with epochs, rate, smoothing and precision filled in. `lengths` are those of the training rows in tokens, augmented
    ones included; `rows_a_step` and `rate_share` (of the rate of fine-tuning) are the task's own choices for transformers,
    `label_smoothing` its own without a teacher.

    Rates follow width and depth: a small model needs larger steps. Epochs follow the data, so that few rows are seen
    often enough and many rows not longer than they need; long rows are seen less often, so that a run over documents takes
    time of the order of one over sentences. Where even that makes few steps, the steps are smaller (600 rows of
    150 labels, 6 epochs, the shipped backbone: .38 with 32 rows a step, .58 with 8).
    """
    settings, model = recipe.train, recipe.model
    small, distils = model.student != "transformer", bool(model.teachers)
    rate, epochs = settings.learning_rate, settings.epochs
    if rate is None:
        if small:
            rate = 4e-3 if not distils else 2e-3
        elif distils or model.random_weights:
            rate = 3e-4 * min(384 / hidden_size, 2.0)
        else:
            rate = rate_share * min(1e-4 * (384 / hidden_size) * (6 / layers), 5e-4)
    rows, weight = len(lengths), _weight(float(lengths.mean()) if len(lengths) else 0.0)
    if epochs is None:
        # A transformer on few documents needs its steps; a small student's many transfer texts would take hours.
        effort = weight if small else weight**0.5
        seen = (1_200_000 if small and distils else 180_000 if distils else 90_000) / effort
        least = max(round(4 / effort), 2)
        epochs = float(min(max(round(seen / max(rows, 1)), least), MOST_OF_STUDENTS if distils else MOST_EPOCHS))
    batch_rows = settings.batch_rows or 128
    if not small and settings.batch_rows is None:
        fewest = max(rows_a_step // 4, 1)
        batch_rows = int(min(max(rows * epochs / STEPS, fewest), rows_a_step))
    smoothing = settings.label_smoothing
    if smoothing is None:
        smoothing = 0.0 if distils else label_smoothing
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if bf16_pays(device) else "fp32"
    return recipe.updated(
        "train",
        learning_rate=rate,
        epochs=epochs,
        precision=precision,
        batch_rows=batch_rows,
        label_smoothing=smoothing,
    )


def bf16_pays(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False
