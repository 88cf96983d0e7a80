"""How each variant is made: from which graph, by which method, into which file, and repaired when it must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

from tlx.export.calibrate import Feeds, calibration_feeds
from tlx.export.config import ExportConfig, Precision
from tlx.export.fuse import fuse
from tlx.export.graph import compact, prepare
from tlx.export.quantize import Method, Quantized, quantizable_nodes, quantize
from tlx.export.sensitivity import repair
from tlx.export.unread import take_first_early
from tlx.export.verify import ParityReport
from tlx.export.workbench import Candidate, Workbench, faster, measure
from tlx.runtime.errors import ExportError, TlxError
from tlx.runtime.machine import PROVIDERS, provider_fault
from tlx.runtime.tasks.task import Encoded

__all__ = ["FILES", "Graphs", "Made", "make_fp32", "make_precision"]

Say = Callable[[str], None]
FILES: dict[str, str] = {
    "fp32": "onnx/model.onnx",
    "int8": "onnx/model_quantized.onnx",
    "fp16": "onnx/model_fp16.onnx",
    "int4": "onnx/model_q4.onnx",
}


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """The float32 model as Optimum gave it and, where fusion works, fused."""

    plain: ModelProto
    fused: ModelProto | None


@dataclass(frozen=True, kw_only=True)
class Made:
    """A verified variant that waits to be kept. `facts` go into the variant's report."""

    candidate: Candidate
    report: ParityReport
    facts: Mapping[str, Any]


def make_fp32(bench: Workbench, model: ModelProto, model_config: Any, config: ExportConfig) -> tuple[Made, Graphs]:
    """The float32 variant: fused when that answers as torch does and is no slower. Raises ExportError when neither does."""
    model = compact(model)
    fusion = fuse(model, model_config) if config.fuse else None
    unfused, plain = _exact(bench, "the ONNX model", model, {"graph": "plain"})
    if fusion is None or fusion.model is None:
        note = "not fused: asked not to" if fusion is None else fusion.reason
        return _noted(unfused, note), Graphs(plain=plain, fused=None)
    counted = {"nodes": fusion.after, "nodes_before_fusion": sum(fusion.before.values())}
    try:
        fused, graph = _exact(bench, "the fused model", fusion.model, {"graph": "fused", **counted})
    except ExportError as error:
        return _noted(unfused, f"not fused: {error}"), Graphs(plain=plain, fused=None)
    return _better(bench, {"fused": fused, "plain": unfused}, config), Graphs(plain=plain, fused=graph)


def _exact(bench: Workbench, what: str, model: ModelProto, facts: Mapping[str, Any]) -> tuple[Made, ModelProto]:
    """The graph, without the work that no answer reads where that answers as torch does, and as it is where not.

    Raises ExportError when that does not answer as torch does either.
    """
    lean = ModelProto()
    lean.CopyFrom(model)
    early = take_first_early(lean)
    if early:
        with suppress(TlxError):  # it does not load, or answers otherwise
            return _judged(bench, what, lean, {**facts, "nodes_for_first_token": early}), lean
    return _judged(bench, what, model, {**facts, "nodes_for_first_token": 0}), model


def _judged(bench: Workbench, what: str, model: ModelProto, facts: Mapping[str, Any]) -> Made:
    """Raises ExportError, and leaves no file, when the model does not answer as torch does."""
    candidate = bench.candidate("fp32", model)
    report = bench.judge(candidate)
    try:
        report.require_exact(what, bench.scale)
    except ExportError:
        bench.discard(candidate)
        raise
    return Made(candidate=candidate, report=report, facts=facts)


def make_precision(
    bench: Workbench,
    precision: Precision,
    graphs: Graphs,
    config: ExportConfig,
    sample: Encoded,
    say: Say,
) -> Made:
    """The variant within `config.max_drop`, of the graph that is faster in it, repaired when it must be.

    `sample` are the rows to calibrate static int8 with. Raises ExportError when it loses too much, or is not quantized.
    """
    method: Method = {"int8": f"int8-{config.calibration}", "int4": "int4", "fp16": "fp16"}[precision]  # type: ignore[assignment]
    sources = {"plain": graphs.plain}
    if graphs.fused is not None and method in ("int8-dynamic", "fp16"):  # the others do not know fused attention
        sources = {"fused": graphs.fused, "plain": graphs.plain}
    made: dict[str, Made] = {}
    for graph, model in sources.items():
        say(f"{precision}: quantizing ({graph})")
        feeds = _feeds(model, method, sample)
        quantized = quantize(model, method, calibration=feeds, embedding_bits=config.embedding_bits)
        candidate = bench.candidate(precision, quantized.model)
        made[graph] = Made(candidate=candidate, report=bench.judge(candidate), facts=_facts(graph, method, quantized))
    within = {graph: item for graph, item in made.items() if item.report.within(config.max_drop)}
    chosen = _better(bench, within or made, config)
    for item in made.values():
        if item.candidate.path != chosen.candidate.path:
            bench.discard(item.candidate)
    if not within:
        chosen = _repaired(bench, precision, method, str(chosen.facts["graph"]), sources, chosen, config, sample, say)
    return _on_cuda(bench, chosen, config, say) if precision == "fp16" else chosen


def _on_cuda(bench: Workbench, made: Made, config: ExportConfig, say: Say) -> Made:
    """The fp16 variant, judged where it computes in half precision too, if that device is here: a CPU computes its nodes in
    float32, where nothing overflows. Raises ExportError when it loses too much there."""
    if provider_fault(PROVIDERS["cuda"]) is not None:
        return made
    say("fp16: verifying on cuda")
    report = bench.judge(bench.opened("fp16", made.candidate.path, "cuda"))
    if not report.within(config.max_drop):
        raise ExportError(
            f"fp16 loses {report.drop:.4f} of {report.main_metric} on cuda (allowed: {config.max_drop}): leave --precision fp16 "
            "out, or raise --max-drop"
        )
    return Made(candidate=made.candidate, report=report, facts={**made.facts, "verified_on": "cuda"})


def _repaired(
    bench: Workbench,
    precision: Precision,
    method: Method,
    graph: str,
    sources: Mapping[str, ModelProto],
    failed: Made,
    config: ExportConfig,
    sample: Encoded,
    say: Say,
) -> Made:
    model = prepare(sources[graph])
    feeds = _feeds(model, method, sample)
    bench.discard(failed.candidate)
    repaired = repair(
        bench,
        precision,
        quantizable_nodes(model, method),
        lambda keep: quantize(model, method, keep_float=keep, calibration=feeds, embedding_bits=config.embedding_bits),
        failed.report,
        config.max_drop,
        say,
    )
    facts = {**_facts(graph, method, repaired.quantized), "drop_before_repair": failed.report.drop}
    return Made(candidate=repaired.candidate, report=repaired.report, facts=facts)


def _better(bench: Workbench, made: Mapping[str, Made], config: ExportConfig) -> Made:
    """The faster of the candidates (the first without timing), its rivals' figures among its facts."""
    if len(made) == 1 or config.seconds <= 0:
        return next(iter(made.values()))
    predictors = {graph: item.candidate.predictor for graph, item in made.items()}
    speeds = measure(predictors, bench.torch.task.asked(bench.evidence.inputs), config.seconds / 2)
    chosen = faster(speeds)
    rivals = {
        graph: {"p50_ms": round(speed.p50_ms, 4), "texts_per_s": round(speed.texts_per_s, 1)}
        for graph, speed in speeds.items()
    }
    item = made[chosen]
    return Made(candidate=item.candidate, report=item.report, facts={**item.facts, "graphs_compared": rivals})


def _facts(graph: str, method: Method, quantized: Quantized) -> dict[str, Any]:
    return {"graph": graph, "method": method, "nodes": quantized.nodes, "kept_float": list(quantized.kept_float)}


def _noted(made: Made, note: str) -> Made:
    return Made(candidate=made.candidate, report=made.report, facts={**made.facts, "note": note})


def _feeds(model: ModelProto, method: Method, sample: Encoded) -> list[Feeds]:
    if method != "int8-static":
        return []
    names = [item.name for item in model.graph.input]
    return calibration_feeds(sample, names)
