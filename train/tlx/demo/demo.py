"""Fine-tunes the shipped backbone on shipped phrases, distils a student, exports both, and measures what came out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlx.export.config import ExportConfig
from tlx.export.export import export
from tlx.export.torch_engine import open_torch
from tlx.export.workbench import measure
from tlx.runtime.errors import UsageError
from tlx.runtime.evaluate import evaluate
from tlx.runtime.examples import Examples
from tlx.runtime.folder import Folder
from tlx.runtime.loading import load
from tlx.runtime.tasks.classification import TextClassification
from tlx.train.console import Console
from tlx.train.recipe import Recipe
from tlx.train.train import run_folder, train

__all__ = ["PHRASES", "demo", "shipped_base", "table"]

PHRASES = ("it's way too dark in here", "wake me tomorrow at six thirty", "did i leave the back door open")
DATA = Path(__file__).with_name("household")
BASE = Path("models") / "tlx-mini-en"
TEACHER_EPOCHS, STUDENT_EPOCHS = 15.0, 8.0
"""Half of what so few phrases get otherwise, and less: the demo is to take a minute or two."""


def shipped_base() -> str:
    """The shipped backbone: below the working directory, or in the checkout that tlx is installed from."""
    for folder in (BASE, Path(__file__).parents[3] / BASE):
        if (folder / "config.json").exists():
            return str(folder)
    raise UsageError(f"the shipped backbone is not at {BASE}: run the demo in a checkout of tlx, or pass --base")


def demo(out: Path, base: str) -> dict[str, Any]:
    """Runs the whole path; `{"rows": [figures of four models], "predictions": […], "seconds": …}`.

    `out` then holds `teacher` and `student`. Everything is made anew.
    """
    began, console = time.monotonic(), Console()
    teacher, student = out / "teacher", out / "student"
    for folder in (teacher, student):
        shutil.rmtree(run_folder(folder), ignore_errors=True)
    test = TextClassification.read(DATA / "test.csv", {})
    console.say(f"1/4 fine-tuning {base} on {DATA.name} phrases")
    recipe = Recipe().updated("data", train=str(DATA / "train.csv")).updated("model", base=base)
    recipe = recipe.updated("train", epochs=TEACHER_EPOCHS)
    train(recipe, teacher, overwrite=True, console=console)
    console.say("2/4 distilling it into a small convolution student")
    small = Recipe().updated("data", train=str(DATA / "train.csv"))
    small = small.updated("model", teachers=(str(teacher),), student="convolution")
    small = small.updated("train", epochs=STUDENT_EPOCHS)
    train(small, student, overwrite=True, console=console)
    console.say("3/4 exporting, quantizing and verifying both")
    folders = [_exported(folder, console) for folder in (teacher, student)]
    console.say("4/4 measuring")
    rows = _figures(folders[0], folders[1], test)
    answers = load(student)(list(PHRASES))
    return {"rows": rows, "predictions": answers, "seconds": time.monotonic() - began}


def _exported(folder: Path, console: Console) -> Folder:
    # The budget is judged on the test phrases: a point of 320 phrases is three of them.
    config = ExportConfig(precisions=("int8",), data=DATA / "test.csv", max_drop=0.02, seconds=0.5)
    with console.stage(f"export {folder.name}", 1) as advance:
        made = export(folder, config=config, say=lambda step: advance(0, step))
        advance(1, "verified")
    return made.folder


def _figures(teacher: Folder, student: Folder, test: Examples) -> list[dict[str, Any]]:
    """Size, accuracy and speed of the four models, timed in one alternating run."""
    subjects: dict[str, Any] = {
        "torch teacher": open_torch(teacher, "cpu"),
        "fp32 ONNX teacher": load(teacher.path, "fp32", "cpu"),
        "int8 ONNX teacher": load(teacher.path, "int8", "cpu"),
        "int8 ONNX student": load(student.path, "int8", "cpu"),
    }
    variants = ((teacher, "torch"), (teacher, "fp32"), (teacher, "int8"), (student, "int8"))
    speeds = measure(subjects, list(test.inputs), 1.0)
    return [
        {
            "model": name,
            "size_mb": round(folder.variant(variant).file.size_bytes / 1e6, 2),
            "accuracy": round(evaluate(subject, test)["metrics"]["accuracy"], 4),
            "p50_ms": round(speeds[name].p50_ms, 3),
            "texts_per_s": round(speeds[name].texts_per_s),
        }
        for (name, subject), (folder, variant) in zip(subjects.items(), variants, strict=True)
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The figures in columns."""
    head = ("model", "size MB", "accuracy", "p50 ms", "texts/s")
    cells = [
        [r["model"], f"{r['size_mb']:.2f}", f"{r['accuracy']:.4f}", f"{r['p50_ms']:.3f}", f"{r['texts_per_s']:,}"]
        for r in rows
    ]
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in [head, *cells]
    )
