"""A trained folder → the same folder with verified ONNX variants, written at once or not at all."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from tlx.export.config import ExportConfig
from tlx.export.convert import convert
from tlx.export.evidence import Evidence, gather_evidence, golden_json, read_evaluation
from tlx.export.pretrained import TOKENIZER, load_model, open_source, tokenizer_file
from tlx.export.torch_engine import TorchEngine
from tlx.export.variants import FILES, Made, make_fp32, make_precision
from tlx.export.verify import guarded_by
from tlx.export.workbench import Candidate, Speed, Workbench, measure
from tlx.runtime.card import write_card
from tlx.runtime.errors import ExportError, FolderError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.folder import (
    MANIFEST,
    Folder,
    Manifest,
    Variant,
    VariantName,
    file_record,
    write_atomically,
)
from tlx.runtime.golden import GOLDEN
from tlx.runtime.machine import machine_description, usable_cores
from tlx.runtime.predictor import Predictor
from tlx.runtime.staging import check_out, clear_stale, staged_folder
from tlx.runtime.tasks import task_named
from tlx.runtime.tasks.task import Encoded
from tlx.runtime.tokens import open_tokens

__all__ = ["ExportResult", "export"]

Say = Callable[[str], None]
PACKAGES = ("onnx", "onnxruntime", "onnxruntime-gpu", "optimum-onnx", "torch", "transformers")
SHARED_FILES = (TOKENIZER, "config.json")
SLOWER = 1.02  # a p50 within this many times the lowest is level with it


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """The folder as it is now. `verified` is false when there were no data to measure a metric on, or they tell none."""

    folder: Folder
    verified: bool


def export(folder: str | Path, *, config: ExportConfig, say: Say = lambda step: None) -> ExportResult:
    """The folder has fp32 and the asked variants in onnx/, each verified against torch; `say` hears of each step.

    With `config.out` a copy has them and the folder stays as it is. Raises FolderError, DataError or UsageError for
    what was given, ExportError when a variant cannot be made or loses more than `config.max_drop`; the folder (or `out`)
    is then what it was.
    """
    path = Path(folder).resolve()
    clear_stale(path)
    before = _state_of(path)
    source = open_source(path)
    out = _destination(path, config)
    examples = read_evaluation(source, config)
    if not (path / MANIFEST).exists() and examples is not None and examples.settings.get("pair"):
        # A checkpoint does not say that it reads pairs; the data do.
        source = source._replace(manifest=source.manifest._replace(settings={**source.manifest.settings, "pair": True}))
    say("loading torch")
    engine = TorchEngine(source, loaded := load_model(source), "cpu")
    with _staged_copy(path, out, config) as stage:
        tokenizer_file(source, loaded, stage)
        manifest = _start_manifest(source, stage)
        say("asking torch")
        evidence = gather_evidence(engine, examples, config.seed)
        if examples is None:
            _tell_lost(manifest, config)
        else:
            manifest = manifest._replace(settings={**engine.task.calibrated(evidence.reference), **manifest.settings})
        tokens = open_tokens((stage / TOKENIZER).read_bytes(), manifest.max_tokens, TOKENIZER, engine.task)
        evidence.check_tokens(engine.task, tokens)
        bench = Workbench(stage, manifest, evidence, engine, config.threads)
        try:
            made = _make_all(bench, loaded, config, engine, say)
            say("measuring")
            speeds = _speeds(made, engine, evidence, config)
            manifest = _finish_manifest(bench, made, speeds, config, examples)
        finally:
            bench.close()
        write_atomically(stage / GOLDEN, golden_json(manifest, evidence))
        write_atomically(stage / MANIFEST, manifest.to_json())
        if _card_is_ours(stage / "README.md"):
            write_atomically(stage / "README.md", write_card(Folder(path=out, manifest=manifest)))
        if _state_of(path) != before:
            raise FolderError(
                f"{path} changed while it was exported (by a training, or another export): nothing was written; run it again"
            )
    verified = bool(guarded_by(manifest, bench.reference_metrics))
    if examples is not None and not verified:
        warnings.warn(
            f"{examples.source} tells no metric of the model: nothing was measured that a variant may lose",
            UserWarning,
            stacklevel=2,
        )
    return ExportResult(folder=Folder(path=out, manifest=manifest), verified=verified)


def _make_all(
    bench: Workbench, loaded: Any, config: ExportConfig, engine: TorchEngine, say: Say
) -> dict[VariantName, Made]:
    say("fp32: converting")
    model = convert(loaded, task_named(bench.manifest.task))
    say("fp32: fusing")
    fp32, graphs = make_fp32(bench, model, loaded.model.config, config)
    made: dict[VariantName, Made] = {"fp32": fp32}
    sample = Encoded([])
    if config.calibration == "static":  # of all the file: it may be in the order of its labels
        inputs = bench.evidence.inputs
        spread = np.linspace(0, len(inputs) - 1, min(config.calibration_rows, len(inputs))).astype(int)
        sample = engine.task.encode(engine.tokens, [inputs[row] for row in spread])
    for precision in config.precisions:
        made[precision] = make_precision(bench, precision, graphs, config, sample, say)
    return {**made, **_made_before(bench, made, config.max_drop, say)}


def _made_before(
    bench: Workbench, made: Mapping[VariantName, Made], max_drop: float, say: Say
) -> dict[VariantName, Made]:
    """The folder's other variants, verified again on this evidence, so that all figures compare. Raises ExportError for one that
    loses too much."""
    found: dict[VariantName, Made] = {}
    for variant in bench.manifest.variants.values():
        if variant.name == "torch" or variant.name in made:
            continue
        say(f"{variant.name}: verifying what was made before")
        folder = Folder(path=bench.stage, manifest=bench.manifest)
        predictor = Predictor.open(folder, variant.name, "cpu", bench.threads)
        candidate = Candidate(path=variant.file.path, predictor=predictor)
        report = bench.judge(candidate)
        if not report.within(max_drop):
            raise ExportError(
                f"{variant.name}, which was made before, loses {report.drop:.4f} of {report.main_metric} on these data (allowed is "
                f"--max-drop {max_drop:g}): nothing was written; make it again, by --precision {variant.name}, or allow more"
            )
        found[variant.name] = Made(candidate=candidate, report=report, facts=variant.report)
    return found


def _speeds(
    made: Mapping[VariantName, Made], engine: TorchEngine, evidence: Evidence, config: ExportConfig
) -> dict[str, Speed]:
    """Every variant's speed, torch's too, in one alternating run; {} when nothing is to be measured."""
    if config.seconds <= 0:
        return {}
    subjects: dict[str, Any] = {name: item.candidate.predictor for name, item in made.items()}
    return measure({"torch": engine, **subjects}, engine.task.asked(evidence.inputs), config.seconds)


def _tell_lost(manifest: Manifest, config: ExportConfig) -> None:
    """A warning where variants that were measured are made anew, and there are no data to measure them on."""
    anew = ("fp32", *config.precisions)
    lost = [name for name, variant in manifest.variants.items() if name in anew and variant.metrics]
    if lost:
        before = (manifest.lineage.get("export") or {}).get("data", {}).get("file", "data")
        warnings.warn(
            f"{' and '.join(lost)} are made anew without the figures that were measured on {before}: --data FILE measures them",
            UserWarning,
            stacklevel=3,
        )


def _start_manifest(source: Folder, stage: Path) -> Manifest:
    """The source's manifest with the shared files as they are; variants of other weights were never in it."""
    files = {name: file_record(stage, name) for name in SHARED_FILES if (stage / name).exists()}
    return source.manifest._replace(files={**source.manifest.files, **files})


def _finish_manifest(
    bench: Workbench,
    made: Mapping[VariantName, Made],
    speeds: Mapping[str, Speed],
    config: ExportConfig,
    examples: Examples | None,
) -> Manifest:
    manifest = bench.manifest
    measured = _speed_facts(speeds, config)
    torch = manifest.variants["torch"]
    metrics = dict(bench.reference_metrics) or torch.metrics
    manifest = manifest.with_variant(
        torch._replace(metrics=metrics, report={**torch.report, **measured.get("torch", {})})
    )
    stays = False
    for name, item in made.items():
        before = manifest.variants.get(name)
        if examples is None and before is not None and item.facts is before.report:
            # Made before, and measured then: these figures are still its own.
            report = {**before.report, **measured.get(name, {})}
            manifest, stays = manifest.with_variant(before._replace(report=report)), True
            continue
        bench.keep(item.candidate, FILES[name])
        report = {**item.facts, **item.report.figures(), **measured.get(name, {})}
        record = file_record(bench.stage, FILES[name])
        manifest = manifest.with_variant(Variant(name=name, file=record, metrics=item.report.metrics, report=report))
    checked = {"golden_inputs": len(bench.evidence.golden.inputs)}  # whose ids are transformers' (check_tokens)
    told = _lineage(config, examples)
    measured_on = (manifest.lineage.get("export") or {}).get("data")
    if stays and measured_on is not None:
        told["data"] = measured_on
    lineage = {**manifest.lineage, "export": {**told, **checked}}
    return manifest._replace(default=choose_default(manifest, config.max_drop), lineage=lineage)


def choose_default(manifest: Manifest, max_drop: float) -> dict[str, str]:
    """The variant within `max_drop` that each device loads. cpu: lowest p50 (of level ones the smallest); cuda: fp16 where it
    was verified on cuda, else fp32.

    Without figures of speed int8 is taken as the fastest on the CPU.
    """
    there = {
        name: variant
        for name, variant in manifest.variants.items()
        if name != "torch" and (variant.report.get("drop") or 0.0) <= max_drop + 1e-9
    }
    timed = {name: v.report["p50_ms"] for name, v in there.items() if v.report.get("p50_ms") is not None}
    if "fp32" in timed:
        best = min(timed, key=lambda name: (timed[name], there[name].file.size_bytes))
        near = [name for name in timed if timed[name] <= SLOWER * timed[best]]
        cpu = min(near, key=lambda name: there[name].file.size_bytes)
    else:
        cpu = "int8" if "int8" in there else "fp32"
    half = "fp16" in there and there["fp16"].report.get("verified_on") == "cuda"
    return {"cpu": cpu, "cuda": "fp16" if half else "fp32"}


def _speed_facts(speeds: Mapping[str, Speed], config: ExportConfig) -> dict[str, dict[str, Any]]:
    import torch

    threads = config.threads or usable_cores()
    machine = machine_description()
    return {
        name: {
            "p50_ms": round(speed.p50_ms, 4),
            "p99_ms": round(speed.p99_ms, 4),
            "texts_per_s": round(speed.texts_per_s, 1),
            "threads": torch.get_num_threads() if name == "torch" else threads,
            "machine": machine,
        }
        for name, speed in speeds.items()
    }


def _lineage(config: ExportConfig, examples: Examples | None) -> dict[str, Any]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    told: dict[str, Any] = {"max_drop": config.max_drop, "versions": versions}
    if examples is not None:
        told["data"] = {"file": Path(examples.source).name, "sha256": examples.sha256, "rows": len(examples)}
    return told


def _card_is_ours(card: Path) -> bool:
    """Whether the model card may be written again: there is none, or tlx wrote it. A person's own stays."""
    return not card.exists() or "\n- tlx\n" in card.read_text(encoding="utf-8", errors="replace")


def _destination(path: Path, config: ExportConfig) -> Path:
    if config.out is None:
        if Path.cwd().is_relative_to(path):
            raise UsageError(
                f"{path} is the current folder, and export replaces it whole: run from outside it, or use --out"
            )
        return path
    out = config.out.resolve()
    if out.is_relative_to(path) or path.is_relative_to(out):
        raise UsageError(f"--out {config.out} and the folder {path} lie in one another: choose another --out")
    clear_stale(out)
    check_out(out, overwrite=config.overwrite, used=() if config.data is None else (config.data,))
    return out


def _state_of(path: Path) -> dict[str, tuple[int, int, int]]:
    """What tells each file of the folder from one that takes its place: its number, size and time."""
    found = {str(item.relative_to(path)): item.stat() for item in path.rglob("*") if item.is_file()}
    return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


@contextmanager
def _staged_copy(path: Path, out: Path, config: ExportConfig) -> Iterator[Path]:
    """A stage that holds all of the folder's files and becomes `out`; in place they are links, so nothing is copied.

    A file of the stage is replaced, never written into.
    """
    in_place = out == path
    with staged_folder(out, overwrite=in_place or config.overwrite) as stage:
        try:
            # Links are followed in what is no folder of tlx's: a hub's cache holds nothing else.
            shutil.copytree(
                path,
                stage,
                symlinks=(path / MANIFEST).exists(),
                dirs_exist_ok=True,
                copy_function=_link if in_place else shutil.copy2,
            )
        except shutil.Error as error:
            raise FolderError(f"{path} cannot be copied to {stage}: {error.args[0][0][2]}") from error
        yield stage


def _link(source: str, target: str) -> None:
    """A second name for the file, or for that which a link leads to."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
