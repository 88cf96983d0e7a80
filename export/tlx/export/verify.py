"""One variant against torch: the task's metrics, differences, flips, and whether an answer depends on its batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlx.export.evidence import Evidence
from tlx.runtime.errors import DataError, ExportError
from tlx.runtime.folder import Manifest
from tlx.runtime.metrics import LOWER_IS_BETTER
from tlx.runtime.predictor import Predictor
from tlx.runtime.tasks import task_of
from tlx.runtime.tasks.task import Outputs, join_outputs

__all__ = ["ParityReport", "guarded_by", "verify"]

ALONE = 64  # texts that are also run one by one
EXACT = 1e-4  # how far fp32 outputs may be from torch's, as a share of the greatest (at least 1)


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """What verification found, over `rows` inputs.

    metrics, drop: of the evaluation data; {} and None without it. drop = torch's `main_metric` − the variant's; of several that may
    not drop it is the one that did most.
    flip_rate: the share of answers that differ from torch. Differences are of the model's outputs (logits).
    batch_flip_rate, batch_max_difference: the same inputs alone and in batches with others.
    """

    rows: int
    metrics: Mapping[str, float]
    main_metric: str
    drop: float | None
    max_abs_difference: float
    mean_abs_difference: float
    flip_rate: float
    batch_flip_rate: float
    batch_max_difference: float

    def figures(self) -> dict[str, Any]:
        """JSON-able, rounded; without the metrics, which the variant has apart."""
        names = ("drop", "max_abs_difference", "mean_abs_difference", "flip_rate", "batch_flip_rate")
        figures = {name: getattr(self, name) for name in (*names, "batch_max_difference")}
        rounded = {name: None if value is None else float(f"{value:.4g}") for name, value in figures.items()}
        return {"rows": self.rows, **rounded}

    def within(self, max_drop: float) -> bool:
        """Whether no guarded metric lost more than `max_drop`; true where there was none to measure."""
        return self.drop is None or self.drop <= max_drop + 1e-9

    def require_exact(self, what: str, scale: float) -> None:
        """Raises ExportError unless the outputs are torch's; `scale` is the greatest of them."""
        if not self.max_abs_difference <= EXACT * max(1.0, scale):
            raise ExportError(
                f"{what} does not answer as torch does: its outputs differ by up to {self.max_abs_difference:.3g} "
                f"(allowed {EXACT * max(1.0, scale):.3g}), {self.flip_rate:.1%} of answers flip; "
                "the installed exporters do not fit this model (see constraints.txt)"
            )


def guarded_by(manifest: Manifest, metrics: Mapping[str, float]) -> list[str]:
    """Those of the metrics that may not drop. The first is the one that training chose the weights by, where it is measured and
    greater is better, else the task's main one."""
    chosen = manifest.settings.get("metric")
    main, *others = task_of(manifest).guarded(metrics)
    main = next((name for name in metrics if name == chosen and name not in LOWER_IS_BETTER), main)
    return [name for name in (main, *others) if name in metrics]


def verify(
    predictor: Predictor, evidence: Evidence, reference_metrics: Mapping[str, float], manifest: Manifest
) -> ParityReport:
    """The predictor's answers on the evidence, compared. `reference_metrics` are torch's, {} without data."""
    task, inputs = predictor.task, evidence.inputs
    found, of_golden = predictor.run(inputs), predictor.run(evidence.golden.inputs)
    if not (np.isfinite(found.values).all() and np.isfinite(of_golden.values).all()):
        raise ExportError(f"variant {predictor.variant} gives NaN or infinity: its precision is too low for this model")
    metrics = {} if evidence.examples is None else task.metrics(found, evidence.examples)
    guarded = guarded_by(manifest, metrics)
    if evidence.examples is not None and evidence.examples.gold is not None and not guarded:
        raise DataError(
            f"{evidence.examples.source} does not tell the {task.main_metric} of the model (it tells: {', '.join(metrics) or 'nothing'}): "
            "give data as it was trained on"
        )
    drops = {name: reference_metrics[name] - metrics[name] for name in guarded}
    worst = max(drops, key=drops.__getitem__, default=task.main_metric)
    chosen = [inputs[row] for row in np.linspace(0, len(inputs) - 1, min(ALONE, len(inputs))).astype(int)]
    # Each alone, and all of them among texts of other lengths, in one pass.
    alone = join_outputs([predictor.run([item]) for item in chosen], task.width)
    together = predictor.run(chosen)
    golden = _difference(of_golden, evidence.golden)
    difference = _difference(found, evidence.reference)
    return ParityReport(
        rows=len(inputs),
        metrics=metrics,
        main_metric=worst,
        drop=drops.get(worst),
        max_abs_difference=max(float(difference.max()), float(golden.max())),
        mean_abs_difference=float(difference.mean()),
        flip_rate=task.flips(found, evidence.reference),
        batch_flip_rate=task.flips(alone, together),
        batch_max_difference=float(_difference(alone, together).max()),
    )


def _difference(found: Outputs, reference: Outputs) -> NDArray[np.float32]:
    difference: NDArray[np.float32] = np.abs(found.values - reference.values)
    return difference
