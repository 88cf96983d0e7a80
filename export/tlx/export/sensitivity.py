"""Repair: a variant that loses too much keeps the nodes that hurt it most in float, and no more of them than it must."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tlx.export.quantize import Quantized
from tlx.export.verify import ParityReport
from tlx.export.workbench import Candidate, Workbench, truncation_expected
from tlx.runtime.errors import ExportError
from tlx.runtime.folder import VariantName

__all__ = ["Repaired", "rank_nodes", "repair"]

SAMPLE = 128
Quantize = Callable[[Sequence[str]], Quantized]  # names of nodes to keep in float → the rest quantized


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """The variant within its budget; `quantized.kept_float` says which nodes stayed float."""

    quantized: Quantized
    candidate: Candidate
    report: ParityReport


def rank_nodes(bench: Workbench, name: VariantName, nodes: Sequence[str], quantize: Quantize) -> list[str]:
    """The nodes, most harmful first: each is quantized alone, harm is the mean change of the outputs of 128 inputs."""
    given = bench.evidence.inputs
    inputs = [given[row] for row in np.linspace(0, len(given) - 1, min(SAMPLE, len(given))).astype(int)]
    reference = bench.torch.run(inputs).values
    harm: dict[str, float] = {}
    for node in nodes:
        candidate = bench.candidate(name, quantize([other for other in nodes if other != node]).model)
        with truncation_expected():
            harm[node] = float(np.abs(candidate.predictor.run(inputs).values - reference).mean())
        bench.discard(candidate)
    return sorted(nodes, key=lambda node: -harm[node])


def repair(
    bench: Workbench,
    name: VariantName,
    nodes: Sequence[str],
    quantize: Quantize,
    failed: ParityReport,
    max_drop: float,
    say: Callable[[str], None],
) -> Repaired:
    """The variant with the fewest of the most harmful nodes in float that keeps the drop within `max_drop`.

    The number is doubled until the budget holds, then bisected. Raises ExportError with the figures when it never does.
    """
    say(f"{name} loses {failed.drop:.4f}: finding the nodes that hurt")
    ranked = rank_nodes(bench, name, nodes, quantize)
    low, high, found = 0, 1, None
    best = failed
    while found is None and high < len(ranked):
        say(f"{name}: {high} of {len(ranked)} nodes in float")
        attempt = _attempt(bench, name, ranked[:high], quantize)
        best = min(best, attempt.report, key=lambda report: report.drop or 0.0)
        if attempt.report.within(max_drop):
            found = attempt
        else:
            bench.discard(attempt.candidate)
            low, high = high, 2 * high if 2 * high < len(ranked) or high == len(ranked) - 1 else len(ranked) - 1
    if found is None:
        torch_metric = bench.reference_metrics[failed.main_metric]
        raise ExportError(
            f"{name} loses {failed.drop:.4f} {failed.main_metric} (torch {torch_metric:.4f}, {name} "
            f"{failed.metrics[failed.main_metric]:.4f}, {failed.flip_rate:.1%} of answers flip), and {best.drop:.4f} at best "
            f"with its most sensitive nodes in float; allowed is --max-drop {max_drop:g}: nothing was written; "
            "choose another --precision, or allow more"
        )
    while high - low > 1:
        middle = (low + high) // 2
        say(f"{name}: {middle} of {len(ranked)} nodes in float")
        attempt = _attempt(bench, name, ranked[:middle], quantize)
        if attempt.report.within(max_drop):
            bench.discard(found.candidate)
            found, high = attempt, middle
        else:
            bench.discard(attempt.candidate)
            low = middle
    return found


def _attempt(bench: Workbench, name: VariantName, keep_float: Sequence[str], quantize: Quantize) -> Repaired:
    quantized = quantize(keep_float)
    candidate = bench.candidate(name, quantized.model)
    return Repaired(quantized=quantized, candidate=candidate, report=bench.judge(candidate))
