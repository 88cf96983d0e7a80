"""The command `tlx export`. Heavy imports wait until it runs."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from tlx.runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from tlx.export.config import Calibration, Precision
    from tlx.runtime.folder import Manifest

__all__ = ["register"]

MANY_FLIPS, MANY_BATCH_FLIPS = 0.1, 0.05
UNVERIFIED = (
    "tlx: no --data: only differences from torch on 32 built-in texts are checked; --data FILE measures the metric and "
    "makes the verification real"
)
EPILOG = "Example:  tlx export models/intent-small --quantize --data data/val.csv"


def register(app: typer.Typer) -> None:
    """Adds `export` to the program."""
    app.command("export", epilog=EPILOG)(export_command)


def export_command(
    folder: Annotated[
        Path, typer.Argument(help="A model folder that tlx train or transformers wrote.", show_default=False)
    ],
    quantize: Annotated[bool, typer.Option("--quantize", help="Make the int8 variant (as --precision int8).")] = False,
    precision: Annotated[
        list[str] | None, typer.Option("--precision", help="int8, int4 or fp16, beside fp32 (repeatable).")
    ] = None,
    calibration: Annotated[
        str, typer.Option(help="int8 scales of activations: dynamic (at run time) or static (from --data).")
    ] = "dynamic",
    embedding_bits: Annotated[
        int, typer.Option(help="Of int8's embedding tables: 8, or 4 (a smaller file, slower batches).")
    ] = 8,
    data: Annotated[
        str | None, typer.Option(help="Labelled data to verify on: CSV, TSV, JSONL, Parquet.", show_default=False)
    ] = None,
    text: Annotated[str | None, typer.Option(metavar="COLUMN", help="The text column; guessed unless given.")] = None,
    text_pair: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The second text's column, for pairs.")
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="The label column; guessed unless given.")] = None,
    max_drop: Annotated[
        float, typer.Option(help="The most of the task's main metric that a variant may lose against torch.")
    ] = 0.01,
    rows: Annotated[int, typer.Option(help="At most so many rows of --data are used.")] = 2000,
    fuse: Annotated[bool, typer.Option("--fuse/--no-fuse", help="Fuse attention into single nodes.")] = True,
    out: Annotated[
        Path | None, typer.Option(help="A new folder; left out: the folder itself gets the variants.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the model folder --out if it exists.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="For the speed figures; all usable cores.")] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="About how long each speed figure is measured; 0 measures none.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Convert to ONNX, fuse, quantize, and verify each variant against the torch model."""
    try:
        from tlx.export.config import ExportConfig
        from tlx.export.export import export
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "a package", "export", "tlx export") from error

    config = ExportConfig(
        precisions=cast("tuple[Precision, ...]", ("int8",) * quantize + tuple(precision or ())),
        calibration=cast("Calibration", calibration),
        embedding_bits=cast("Literal[8, 4]", embedding_bits),
        data=data,
        text_column=text,
        pair_column=text_pair,
        label_column=label,
        max_drop=max_drop,
        rows=rows,
        fuse=fuse,
        out=out,
        overwrite=overwrite,
        threads=threads,
        seconds=seconds,
    )
    if data is None:
        print(UNVERIFIED, file=sys.stderr)
    with _progress() as say:
        result = export(folder, config=config, say=say)
    shown, manifest = folder if out is None else out, result.folder.manifest
    if as_json:
        print(json.dumps(_document(shown, manifest, result.verified), ensure_ascii=False))
        return
    _print_table(manifest)
    print(_next_command(shown, manifest), file=sys.stderr)


def _next_command(folder: Path, manifest: Manifest) -> str:
    """What to type next."""
    from tlx.runtime.tasks import task_of

    item = task_of(manifest).golden(["a text", "another"])[0]
    texts = " ".join(f'"{text}"' for text in ((item,) if isinstance(item, str) else item))
    return f"next: tlx predict {shlex.quote(str(folder))} {texts}   (loads {manifest.default['cpu']} by default)"


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """The steps on stderr, with a spinner and the time where it is a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: print(f"tlx: {step}", file=sys.stderr)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting")
        yield lambda step: progress.update(task, description=step)


def _document(folder: Path, manifest: Manifest, verified: bool) -> dict[str, Any]:
    variants = {
        name: {
            "file": variant.file.path,
            "size_bytes": variant.file.size_bytes,
            "metrics": dict(variant.metrics),
            **variant.report,
        }
        for name, variant in manifest.variants.items()
    }
    return {
        "folder": str(folder),
        "task": manifest.task,
        "verified": verified,
        "default": dict(manifest.default),
        "variants": variants,
    }


def _print_table(manifest: Manifest) -> None:
    from tlx.export.verify import guarded_by

    measured = [variant.metrics for name, variant in manifest.variants.items() if name != "torch"]
    metric = next(iter(guarded_by(manifest, measured[0] if measured else {})), "metric")
    header = ["variant", "size MB", metric, "drop", "flips", "p50 ms", "texts/s", "default", "notes"]
    rows = [header]
    for name, variant in manifest.variants.items():
        report = variant.report
        rows.append(
            [
                name,
                f"{variant.file.size_bytes / 1e6:.2f}",
                _figure(variant.metrics.get(metric), ".4f"),
                _figure(report.get("drop"), "+.4f"),
                _figure(report.get("flip_rate"), ".2%"),
                _figure(report.get("p50_ms"), ".3f"),
                _figure(report.get("texts_per_s"), ".0f"),
                ", ".join(device for device, default in manifest.default.items() if default == name),
                _note(report),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _note(report: Any) -> str:
    parts = [str(report[key]) for key in ("graph", "note") if report.get(key)]
    if (report.get("flip_rate") or 0.0) > MANY_FLIPS:
        parts.append("many answers changed: the model is unsure of them")
    if (report.get("batch_flip_rate") or 0.0) > MANY_BATCH_FLIPS:
        parts.append(f"{report['batch_flip_rate']:.0%} of answers depend on the texts beside them")
    if report.get("kept_float"):
        parts.append(f"{len(report['kept_float'])} nodes kept in float")
    return ", ".join(parts)


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
