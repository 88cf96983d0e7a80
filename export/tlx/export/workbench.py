"""Candidates for a variant: written, opened by the runtime, compared with torch, and timed side by side."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from onnx import ModelProto

from tlx.export.evidence import Evidence
from tlx.export.torch_engine import TorchEngine
from tlx.export.verify import ParityReport, verify
from tlx.runtime.bench import latency, throughput
from tlx.runtime.engine import TruncationWarning
from tlx.runtime.folder import Folder, Manifest, Variant, VariantName, file_record
from tlx.runtime.predictor import Predictor
from tlx.runtime.session import Device

__all__ = ["Candidate", "Speed", "Workbench", "faster", "measure"]

SLOW_BATCHES = 0.8  # lower latency is not worth a throughput under this share of the other's
ROUNDS = 3
TEXTS = 512


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Milliseconds for one text, and texts a second in batches."""

    p50_ms: float
    p99_ms: float
    texts_per_s: float


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One ONNX file under `stage`, and the runtime's predictor over it."""

    path: str
    predictor: Predictor


class Workbench:
    """Makes and judges candidates inside the staged folder; `close` removes those that were not taken."""

    def __init__(
        self, stage: Path, manifest: Manifest, evidence: Evidence, torch: TorchEngine, threads: int | None
    ) -> None:
        self.stage, self.manifest, self.evidence, self.torch, self.threads = stage, manifest, evidence, torch, threads
        task_metrics = {}
        if evidence.examples is not None:
            from tlx.runtime.tasks import task_of

            task_metrics = task_of(manifest).metrics(evidence.reference, evidence.examples)
        self.reference_metrics: Mapping[str, float] = task_metrics
        self.scale = float(np.abs(evidence.reference.values).max())
        self._numbers = count()
        (stage / "onnx").mkdir(exist_ok=True)

    def candidate(self, name: VariantName, model: ModelProto) -> Candidate:
        """The model as a file, opened by the runtime as variant `name` on the CPU."""
        path = f"onnx/.candidate-{next(self._numbers)}.onnx"
        onnx.save(model, str(self.stage / path))
        return self.opened(name, path, "cpu")

    def opened(self, name: VariantName, path: str, device: Device) -> Candidate:
        """The file, opened by the runtime as variant `name`."""
        variant = Variant(name=name, file=file_record(self.stage, path))
        folder = Folder(path=self.stage, manifest=self.manifest.with_variant(variant))
        return Candidate(path=path, predictor=Predictor.open(folder, name, device, self.threads))

    def judge(self, candidate: Candidate) -> ParityReport:
        with truncation_expected():
            return verify(candidate.predictor, self.evidence, self.reference_metrics, self.manifest)

    def discard(self, candidate: Candidate) -> None:
        (self.stage / candidate.path).unlink(missing_ok=True)

    def keep(self, candidate: Candidate, path: str) -> None:
        """The candidate's file is at `path` in the stage; what was there is gone."""
        os.replace(self.stage / candidate.path, self.stage / path)

    def close(self) -> None:
        for path in (self.stage / "onnx").glob(".candidate-*"):
            path.unlink()


def measure(subjects: Mapping[str, Any], inputs: Sequence[Any], seconds: float) -> dict[str, Speed]:
    """The speed of each subject (a Predictor, or what is called like one), in alternating rounds; medians.

    A round of one subject takes about `seconds` / 3 for latency and as much for throughput.
    """
    chosen = list(inputs[:TEXTS])
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in subjects}
    with truncation_expected():
        for _ in range(ROUNDS):
            for name, subject in subjects.items():
                predictor = cast(Predictor, subject)
                one = latency(predictor, chosen, seconds=seconds / ROUNDS, least=20)
                many = throughput(predictor, chosen, seconds=seconds / ROUNDS)
                found[name].append((one["p50_ms"], one["p99_ms"], many))
    medians = {name: np.median(rounds, axis=0).tolist() for name, rounds in found.items()}
    return {name: Speed(p50_ms=p50, p99_ms=p99, texts_per_s=rate) for name, (p50, p99, rate) in medians.items()}


def faster(speeds: Mapping[str, Speed]) -> str:
    """The name of lowest p50, unless its throughput is much worse than another's: then that one's."""
    best = min(speeds, key=lambda name: speeds[name].p50_ms)
    most = max(speeds, key=lambda name: speeds[name].texts_per_s)
    return best if speeds[best].texts_per_s >= SLOW_BATCHES * speeds[most].texts_per_s else most


@contextmanager
def truncation_expected() -> Iterator[None]:
    """Within, no warning about long texts: the golden texts hold one on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        yield
