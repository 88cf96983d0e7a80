"""Size against accuracy: every variant of every model folder given, as JSON and as a plot.

Size is the variant's file and tokenizer.json; accuracy is the task's main metric on the data. The grey line joins the models
than which none is both smaller and better.

    python benchmarks/curve.py models/clinc-teacher models/clinc-small --data ../shared/data/clinc150/test.csv \\
        --plot docs/curve.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measuring import add_output, machine, report, say, table

MARKERS = {"torch": "o", "fp32": "s", "fp16": "v", "int8": "D", "int4": "^"}
# Where a label may stand, in points from its mark: the first place where nothing lies already is taken.
PLACES = [(7, 0), (-7, 0)]
PLACES += [(side, up * 9 * far) for far in (1, 2, 3, 4) for side in (0, 7, -7) for up in (1, -1)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="folder", help="model folder")
    parser.add_argument("--data", required=True, help="labelled test file")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    parser.add_argument("--rows", type=int, help="only the first rows of the data")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-torch", action="store_true", help="leave the torch models out")
    add_output(parser)
    return parser.parse_args()


def points_of(options: argparse.Namespace) -> list[dict[str, Any]]:
    """`{"folder", "variant", "size_mb", "metric", "accuracy"}` of each variant, in the order of the folders."""
    from tlx.export.torch_engine import open_torch
    from tlx.runtime import load
    from tlx.runtime.bench import size_bytes
    from tlx.runtime.evaluate import evaluate
    from tlx.runtime.folder import open_folder
    from tlx.runtime.tasks import task_named

    points: list[dict[str, Any]] = []
    for path in options.folders:
        folder = open_folder(path)
        task = task_named(folder.manifest.task)
        examples = task.read(options.data, {})
        examples = examples.select(range(len(examples))[: options.rows])
        for variant in folder.manifest.variants:
            if variant == "torch" and options.no_torch:
                continue
            say(f"{path}: {variant}")
            predictor: Any = (
                open_torch(folder, "cpu") if variant == "torch" else load(path, variant, "cpu", options.threads)
            )
            points.append(
                {
                    "folder": Path(path).name,
                    "variant": variant,
                    "size_mb": size_bytes(folder, variant) / 1e6,
                    "metric": predictor.task.main_metric,
                    "accuracy": evaluate(predictor, examples)["metrics"][predictor.task.main_metric],
                }
            )
    return points


def frontier(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points than which none is both no larger and better, by size."""
    kept: list[dict[str, Any]] = []
    for point in sorted(points, key=lambda point: (point["size_mb"], -point["accuracy"])):
        if not kept or point["accuracy"] > kept[-1]["accuracy"]:
            kept.append(point)
    return kept


def plot(points: list[dict[str, Any]], path: Path, title: str) -> None:
    """The PNG: size on a logarithmic axis, a colour a folder, a mark a variant, a label at each point."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure, axes = pyplot.subplots(figsize=(9, 5.5), dpi=150)
    folders = list(dict.fromkeys(point["folder"] for point in points))
    colours = {folder: pyplot.get_cmap("tab10")(index % 10) for index, folder in enumerate(folders)}
    best = frontier(points)
    axes.plot([p["size_mb"] for p in best], [100 * p["accuracy"] for p in best], color="0.8", linewidth=1.5, zorder=1)
    for point in points:
        mark = MARKERS.get(point["variant"], "x")
        axes.scatter(
            point["size_mb"], 100 * point["accuracy"], color=colours[point["folder"]], marker=mark, s=36, zorder=3
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(
        [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if _near(tick, points)]
    )
    axes.margins(0.12)
    axes.set_xlabel("size, MB (model file and tokenizer.json)")
    axes.set_ylabel(f"{points[0]['metric']}, %")
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    _label(figure, axes, points, colours)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


def _near(tick: float, points: list[dict[str, Any]]) -> bool:
    return any(tick / 2.5 <= point["size_mb"] <= tick * 2.5 for point in points)


def _label(figure: Any, axes: Any, points: list[dict[str, Any]], colours: dict[str, Any]) -> None:
    """A label at each point, where it covers neither a mark nor another label, if there is such a place."""
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    marks = [axes.transData.transform((p["size_mb"], 100 * p["accuracy"])) for p in points]
    taken = [Bbox.from_bounds(x - 8, y - 8, 16, 16) for x, y in marks]
    for point in points:
        for dx, dy in PLACES:
            text = axes.annotate(
                f"{point['folder']} {point['variant']}",
                (point["size_mb"], 100 * point["accuracy"]),
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                va="center",
                fontsize=7.5,
                color=colours[point["folder"]],
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )
            box = text.get_window_extent(figure.canvas.get_renderer())
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and axes.bbox.y0 <= box.y0 <= axes.bbox.y1
            if (inside and not any(box.overlaps(other) for other in taken)) or (dx, dy) == PLACES[-1]:
                taken.append(box)
                break
            text.remove()


def main() -> None:
    options, here = arguments(), machine()
    points = points_of(options)
    table(
        ("model", "variant", "size MB", points[0]["metric"]),
        [(p["folder"], p["variant"], p["size_mb"], p["accuracy"]) for p in sorted(points, key=lambda p: p["size_mb"])],
    )
    if options.plot is not None:
        plot(points, options.plot, f"Size and {points[0]['metric']} on {Path(options.data).parent.name}")
        say(f"plot: {options.plot}")
    report(options, {"points": points}, here)


if __name__ == "__main__":
    main()
