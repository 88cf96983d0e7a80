"""What the benchmarks share: data, clocks, medians over alternating rounds, fresh processes, the machine, the report."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "Refused",
    "add_output",
    "alternate",
    "fresh",
    "labelled_texts",
    "machine",
    "p50_ms",
    "report",
    "say",
    "table",
    "texts_per_s",
]

PACKAGES = ("tlx", "torch", "transformers", "optimum", "optimum-onnx", "tokenizers", "numpy", "accelerate")


class Refused(Exception):
    """A fresh process ended without figures; the message is the last line it wrote."""


def say(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


def labelled_texts(data: str | Path, rows: int | None = None) -> tuple[list[str], list[str]]:
    """(texts, labels) of the first `rows` rows of a single-label data file."""
    from tlx.runtime.tasks.classification import TextClassification

    examples = TextClassification.read(data, {})
    if examples.gold is None or not all(isinstance(label, str) for label in examples.gold):
        raise SystemExit(f"{data}: wanted one label a text")
    return list(examples.inputs[:rows]), list(examples.gold[:rows])


def p50_ms(call: Callable[[Any], Any], texts: Sequence[Any], seconds: float) -> float:
    """Median milliseconds of one text at a time, round the texts in a fixed random order, after ten calls that warm up."""
    order = random.Random(0).sample(
        texts, len(texts)
    )  # a slow side gets through a few texts only: not all of one label
    for index in range(10):
        call(order[index % len(order)])
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 20 or time.perf_counter() < end:
        text = order[len(times) % len(order)]
        begun = time.perf_counter()
        call(text)
        times.append(time.perf_counter() - begun)
    return float(np.median(times) * 1000)


def texts_per_s(call: Callable[[list[str]], list[Any]], texts: list[str], seconds: float) -> tuple[float, list[Any]]:
    """(texts a second: the median pass over the whole list, the answers), after a short pass that warms up."""
    call(texts[: max(len(texts) // 8, 1)])
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while True:
        begun = time.perf_counter()
        answers = call(texts)
        rates.append(len(texts) / (time.perf_counter() - begun))
        if time.perf_counter() >= end:
            return float(np.median(rates)), answers


def alternate(
    sides: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int, *, warm_up: bool = False
) -> dict[str, dict[str, float]]:
    """Each side's figures, medians of `rounds` rounds in which the sides take turns; every second round backwards.

    With `warm_up` one round more comes first and is thrown away.
    """
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in sides}
    for number in range(rounds + warm_up):
        for name in list(sides) if number % 2 == 0 else reversed(list(sides)):
            figures = sides[name]()
            if number >= warm_up:
                found[name].append(figures)
    return {name: {key: float(np.median([r[key] for r in runs])) for key in runs[0]} for name, runs in found.items()}


def fresh(script: str | Path, task: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """What `script` prints last (one JSON object) in a fresh process on `threads` threads, given `task` as JSON.

    `process_s` is added when it says when it `answered` (time.monotonic): seconds from the start of the process to then.
    """
    count = str(threads)
    environment = {**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "RAYON_NUM_THREADS": count}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    begun = time.monotonic()  # the same clock in both processes
    process = subprocess.run(
        [sys.executable, str(script), json.dumps(task)], capture_output=True, text=True, env=environment
    )
    if process.returncode != 0:
        lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        raise Refused(lines[-1][:300])
    found: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
    if "answered" in found:
        found["process_s"] = found.pop("answered") - begun
    return found


def machine() -> dict[str, Any]:
    """Where and with what the figures were measured, and how busy the machine was."""
    from tlx.runtime.machine import machine_description

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {**machine_description(), "versions": versions, "load_average": load}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """The rows in columns on stderr; floats with four significant digits."""
    cells = [list(head)] + [[_cell(item) for item in row] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    for line in cells:
        first, rest = line[0].ljust(widths[0]), zip(line[1:], widths[1:], strict=True)
        say("  ".join([first, *(cell.rjust(width) for cell, width in rest)]))


def _cell(item: object) -> str:
    if item is None:
        return "-"
    if isinstance(item, float):
        return f"{item:,.0f}" if abs(item) >= 1000 else f"{item:.4g}"
    return str(item)


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON there")


def report(arguments: argparse.Namespace, figures: Mapping[str, Any], started_on: Mapping[str, Any]) -> None:
    """One JSON line on stdout with the figures, the arguments and the machine; the same in `--out`."""
    given = {name: value for name, value in vars(arguments).items() if name != "out"}
    document = {"benchmark": Path(sys.argv[0]).stem, "arguments": given, **figures, "machine": dict(started_on)}
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(document, indent=1, default=str) + "\n", encoding="utf-8")
    print(json.dumps(document, default=str))
