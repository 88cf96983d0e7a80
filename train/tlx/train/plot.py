"""The training curve as a picture."""

from __future__ import annotations

from pathlib import Path

from tlx.train.checkpoint import Progress

__all__ = ["plot_training"]


def plot_training(path: Path, progress: Progress, metric: str) -> None:
    """A PNG: loss by step on the left axis, the validation metric by step on the right, with a ring around the weights that were kept."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.add_subplot()
    if progress.losses:
        left.plot(*zip(*progress.losses, strict=True), color="tab:blue", linewidth=1, label="loss")
    left.set_xlabel("step")
    left.set_ylabel("loss", color="tab:blue")
    right = left.twinx()
    steps = [evaluation["step"] for evaluation in progress.evaluations]
    values = [evaluation[metric] for evaluation in progress.evaluations]
    right.plot(steps, values, color="tab:orange", marker="o", markersize=4, label=metric)
    kept = next((e for e in progress.evaluations if e["epoch"] == progress.kept_epoch), None)
    if kept is not None:
        right.plot(kept["step"], kept[metric], color="tab:orange", marker="o", markersize=10, fillstyle="none")
        right.set_title("ring: the weights that were kept", fontsize=9, loc="right")
    right.set_ylabel(f"validation {metric}", color="tab:orange")
    figure.savefig(path, dpi=120)
