"""Latency, throughput, cold start, memory and size of a variant, as an app meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from tlx.runtime.errors import DataError, TlxError
from tlx.runtime.folder import Folder
from tlx.runtime.predictor import TOKENIZER, Predictor
from tlx.runtime.tasks.task import Input

__all__ = ["BenchReport", "ColdStart", "Latency", "bench", "cold_start", "latency", "size_bytes", "throughput"]

LEAST_LISTED = 16
"""A list holds so many inputs at least, however slow the answers are."""


class Latency(TypedDict):
    """Milliseconds from one input to its answer."""

    p50_ms: float
    p99_ms: float


class ColdStart(TypedDict):
    """A fresh process: seconds from its start to its first answer, and the most memory it held by then (None: it cannot be told
    here)."""

    cold_start_s: float
    peak_rss_bytes: int | None


class BenchReport(TypedDict):
    """What `tlx bench --json` gives."""

    variant: str
    threads: int
    p50_ms: float
    p99_ms: float
    texts_per_s: float
    cold_start_s: float
    size_bytes: int
    peak_rss_bytes: int | None


def bench(predictor: Predictor, folder: Folder, inputs: Sequence[Any], *, seconds: float = 2.0) -> BenchReport:
    """All figures of one variant. Latency and throughput take about `seconds` each."""
    if not inputs:
        raise DataError("there are no inputs to measure with: give a file with at least one")
    start = cold_start(folder.path, predictor.variant, predictor.device, predictor.threads, inputs[0])
    return BenchReport(
        variant=predictor.variant,
        threads=predictor.threads,
        **latency(predictor, inputs, seconds=seconds),
        texts_per_s=throughput(predictor, inputs, seconds=seconds),
        cold_start_s=start["cold_start_s"],
        size_bytes=size_bytes(folder, predictor.variant),
        peak_rss_bytes=start["peak_rss_bytes"],
    )


def latency(predictor: Predictor, inputs: Sequence[Any], *, seconds: float = 1.0, least: int = 50) -> Latency:
    """One input at a time, going round the inputs for `seconds` and at least `least` calls, after a warm-up."""
    clock = time.perf_counter
    end = clock() + seconds
    for index in range(10):
        predictor(inputs[index % len(inputs)])
        if index > 1 and clock() > end:
            break
    times: list[float] = []
    end = clock() + seconds
    while len(times) < least or clock() < end:
        item = inputs[len(times) % len(inputs)]
        begun = clock()
        predictor(item)
        times.append(clock() - begun)
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return Latency(p50_ms=round(float(p50), 4), p99_ms=round(float(p99), 4))


def throughput(predictor: Predictor, inputs: Sequence[Any], *, seconds: float = 1.0, batch: int = 4096) -> float:
    """Answers a second over lists of `batch` inputs (repeated where they are fewer): the median of runs that take `seconds` together.

    Where answers are slow the lists are shorter, so that one takes about `seconds`, but hold LEAST_LISTED inputs.
    """
    many = [inputs[index % len(inputs)] for index in range(batch)]
    size = min(LEAST_LISTED, batch)
    while True:  # starts the workers, and tells how much `seconds` are enough for
        begun = time.perf_counter()
        predictor(many[:size])
        taken = time.perf_counter() - begun
        if size >= batch // 4 or taken > seconds / 4:
            break
        size *= 4
    many = many[: min(max(int(size * seconds / taken), LEAST_LISTED), batch)]
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while not rates or time.perf_counter() < end:
        begun = time.perf_counter()
        predictor(many)
        rates.append(len(many) / (time.perf_counter() - begun))
    return round(float(np.median(rates)), 1)


def size_bytes(folder: Folder, variant: str) -> int:
    """What a device must hold: the variant's file and tokenizer.json."""
    return folder.variant(variant).file.size_bytes + folder.manifest.files[TOKENIZER].size_bytes


# What the fresh process runs. VmHWM is its own peak; ru_maxrss would count the process that started it.
FIRST_ANSWER = """
import json, sys, time
from tlx.runtime import load
folder, variant, device, threads, item = json.loads(sys.argv[1])
load(folder, variant, device, threads)(item if isinstance(item, str) else tuple(item))
answered = time.monotonic()
try:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
except OSError:
    try:
        import resource
    except ImportError:  # Windows
        print(answered, "none")
        sys.exit()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(answered, peak)
"""


def cold_start(path: Path, variant: str, device: str, threads: int, item: Input, *, runs: int = 3) -> ColdStart:
    """Fresh processes that load the folder and answer one input: the medians of `runs` after one that warms the disk."""
    taken: list[float] = []
    peaks: list[int] = []
    # A long text may not fit a command line.
    short = item[:2000] if isinstance(item, str) else [part[:2000] for part in item]
    arguments = json.dumps([str(path.resolve()), variant, device, threads, short])
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode: the warm-up writes it
    for _ in range(runs + 1):
        begun = time.monotonic()  # the same clock in both processes
        process = subprocess.run(
            [sys.executable, "-c", FIRST_ANSWER, arguments], capture_output=True, text=True, env=environment
        )
        if process.returncode != 0:
            reason = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            raise TlxError(f"{path}: a fresh process could not answer with variant {variant}: {reason}")
        answered, peak = process.stdout.split()
        taken.append(float(answered) - begun)
        peaks += [int(peak)] if peak.isdecimal() else []
    median_s = float(np.median(taken[1:]))
    return ColdStart(cold_start_s=round(median_s, 4), peak_rss_bytes=int(np.median(peaks[1:])) if peaks else None)
