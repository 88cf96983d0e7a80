"""The small student (int8, tlx.runtime) against its teacher in transformers.pipeline (torch, float32).

Measures accuracy, size (model file and tokenizer.json), texts/s (the pipeline with batch_size 32, tlx with the list), p50 of
one text, and seconds from the start of a process to its first answer. Every round runs each side in a process of its own,
in turns; figures are medians of the rounds. With several student folders (seeds), accuracy is their mean and the speed
that of the first.

    python benchmarks/small_student.py models/clinc-teacher models/clinc-small-* --data ../shared/data/clinc150/test.csv
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Refused, add_output, alternate, fresh, labelled_texts, machine, report, say, table

ENGINES = Path(__file__).with_name("engines.py")
TARGETS = {"size_mb": 2.5, "accuracy": 0.985, "texts_per_s": 50.0, "p50_ms": 60.0, "first_answer_s": 20.0}
AIMS = {"size_mb": None, "accuracy": 0.99, "texts_per_s": 100.0, "p50_ms": 100.0, "first_answer_s": 30.0}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", help="folder with the torch model")
    parser.add_argument("students", nargs="+", metavar="student", help="folder with an int8 variant; one a seed")
    parser.add_argument("--data", required=True, help="labelled test file")
    parser.add_argument("--variant", default="int8", choices=("int8", "fp32", "int4", "fp16"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, help="only the first rows of the data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=5, help="processes a side that are timed to their first answer")
    parser.add_argument("--seconds", type=float, default=2.0, help="for p50, and for texts/s at least, in each round")
    add_output(parser)
    return parser.parse_args()


def size_mb(folder: str, variant: str) -> float:
    """Megabytes of the variant's file and tokenizer.json."""
    from tlx.runtime.bench import size_bytes
    from tlx.runtime.folder import open_folder

    return size_bytes(open_folder(folder), variant) / 1e6


def measured(options: argparse.Namespace) -> tuple[dict[str, dict[str, float]], list[float]]:
    """({"teacher": figures, "student": figures}, the accuracy of each student)."""
    engine, threads = f"tlx {options.variant}", options.threads
    subjects = {"teacher": ("transformers torch fp32", options.teacher), "student": (engine, options.students[0])}
    text = labelled_texts(options.data, 1)[0][0]
    work = {"threads": threads, "data": options.data, "rows": options.rows, "seconds": options.seconds}

    def run(engine: str, folder: str, task: dict[str, Any]) -> dict[str, Any]:
        return fresh(ENGINES, {"engine": engine, "folder": folder, **task}, threads)

    def sides(task: dict[str, Any]) -> dict[str, Callable[[], dict[str, Any]]]:
        return {name: partial(run, *subject, task) for name, subject in subjects.items()}

    say("speed and accuracy")
    figures = alternate(sides(work), options.rounds)
    say("process start to first answer")
    starts = alternate(sides({"threads": threads, "text": text}), options.starts, warm_up=True)
    for name, variant, folder in (("teacher", "torch", options.teacher), ("student", engine[4:], options.students[0])):
        figures[name] |= {"first_answer_s": starts[name]["process_s"], "size_mb": size_mb(folder, variant)}
    quick = {**work, "seconds": 0.0}
    accuracies = [figures["student"]["accuracy"], *(run(engine, o, quick)["accuracy"] for o in options.students[1:])]
    figures["student"]["accuracy"] = float(np.mean(accuracies))
    return figures, accuracies


def main() -> None:
    options, here = arguments(), machine()
    try:
        figures, accuracies = measured(options)
    except Refused as error:
        raise SystemExit(f"a side gave no figures: {error}") from error
    teacher, student = figures["teacher"], figures["student"]
    ratios = {
        "size_mb": teacher["size_mb"] / student["size_mb"],
        "accuracy": student["accuracy"] / teacher["accuracy"],
        "texts_per_s": student["texts_per_s"] / teacher["texts_per_s"],
        "p50_ms": teacher["p50_ms"] / student["p50_ms"],
        "first_answer_s": teacher["first_answer_s"] / student["first_answer_s"],
    }
    met = {key: ratios[key] >= TARGETS[key] for key in ratios if key != "size_mb"}
    met["size_mb"] = student["size_mb"] <= TARGETS["size_mb"]
    table(
        ("", "teacher", "student", "ratio", "target", "aim", "met"),
        [
            (key, teacher[key], student[key], ratios[key], _target(key), AIMS[key], "yes" if met[key] else "NO")
            for key in ratios
        ],
    )
    found = {"students": len(accuracies), "student_accuracies": accuracies, **figures}
    report(options, {**found, "ratios": ratios, "targets": TARGETS, "aims": AIMS, "met": met}, here)


def _target(key: str) -> str:
    return f"≤ {TARGETS[key]} MB" if key == "size_mb" else f"≥ {TARGETS[key]:g}"


if __name__ == "__main__":
    main()
