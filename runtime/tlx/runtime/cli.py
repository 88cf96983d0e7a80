"""The runtime's commands: predict, eval, bench, inspect, doctor. Each parses, calls one function, prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tlx.runtime.errors import FolderError, TlxError, UsageError

if TYPE_CHECKING:
    from tlx.runtime.evaluate import Runs
    from tlx.runtime.folder import Folder, Manifest
    from tlx.runtime.tables import Source
    from tlx.runtime.tasks.task import Input, Task

__all__ = ["register"]

FolderArgument = Annotated[Path, typer.Argument(help="A model folder (it holds tlx.json).", show_default=False)]
VariantOption = Annotated[
    str, typer.Option("--variant", help="fp32, int8, int4, fp16, or auto (the folder's default).")
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda (an error where it cannot start), or auto.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads; all usable cores unless given.", show_default=False)
]
TextOption = Annotated[
    str | None,
    typer.Option("--text", metavar="COLUMN", help="The text column; guessed unless given.", show_default=False),
]
PairOption = Annotated[
    str | None,
    typer.Option("--text-pair", metavar="COLUMN", help="The second text's column, for pairs.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

BENCH_TEXTS = (
    "please cancel my card",
    "what will the weather be like in paris tomorrow afternoon",
    "play some music",
    "I ordered this two weeks ago and it still has not arrived, can you tell me where my parcel is?",
    "turn off the lights in the kitchen",
    "thanks a lot",
)


def register(app: typer.Typer) -> None:
    """Adds the runtime's commands to the app."""
    add = app.command
    add("predict", epilog=_example('tlx predict models/intent "please cancel my card" --top-k 3'))(predict)
    add("eval", epilog=_example("tlx eval models/intent data/test.csv --variant int8"))(evaluate)
    add("bench", epilog=_example("tlx bench models/intent --data data/test.csv"))(bench)
    add("inspect", epilog=_example("tlx inspect models/intent"))(inspect)
    add("doctor", epilog=_example("tlx doctor"))(doctor)


def predict(
    folder: FolderArgument,
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts (for pairs two and two); without any, --input or lines of standard input."),
    ] = None,
    input: Annotated[
        Path | None, typer.Option("--input", help="A .txt, .csv, .tsv, .jsonl or .parquet file of texts.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="A .csv or .jsonl file for the answers.")] = None,
    text: TextOption = None,
    text_pair: PairOption = None,
    top_k: Annotated[
        str | None,
        typer.Option(
            "--top-k",
            metavar="N|all",
            help="The N best answers. By default the best one, and for multi-label those over their thresholds.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Another option of the task (repeatable)."),
    ] = None,
    variant: VariantOption = "auto",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line on standard output.")] = False,
) -> None:
    """Answer texts: from the command line, a file, or standard input (one a line)."""
    from tlx.runtime import predictions
    from tlx.runtime.batches import growing_windows
    from tlx.runtime.loading import load

    if texts and input is not None:
        raise UsageError("both TEXT and --input were given: give one of them")
    if output is not None:
        predictions.check_output(output, input)
    predictor = load(folder, variant, device, threads)
    task = predictor.task
    options = predictions.parse_options(predictor, top_k, option or [])
    source: Sequence[Any] | None = _inputs(task, predictor.manifest, input, "--input", text=text, text_pair=text_pair)
    if texts:
        source = predictions.group_arguments(texts, task.input_names)
    elif source is None and sys.stdin is None:
        raise UsageError("there is nothing to answer: give texts, --input FILE, or lines on standard input")
    elif source is None and sys.stdin.isatty():
        typer.echo(f"one {' and '.join(task.input_names)} a line (parted by tabs); Ctrl-D ends", err=True)
    blocks = predictions.stdin_blocks(task.input_names) if source is None else growing_windows(source)
    records = predictions.predict(predictor, blocks, options)
    with _progress(records, total=len(source) if input is not None and source is not None else None) as shown:
        count = predictions.write_predictions(shown, output, as_json=as_json)
    if predictor.truncated:
        typer.echo(f"{predictor.truncated} of {count} texts were truncated", err=True)
    if output is not None:
        typer.echo(f"{count} answers in {output}", err=True)


def evaluate(
    folder: FolderArgument,
    data: Annotated[
        Path, typer.Argument(help="A file with labels, in the form of the training data.", show_default=False)
    ],
    variant: Annotated[
        str, typer.Option("--variant", help="fp32, int8, int4, fp16, torch, or auto (the folder's default).")
    ] = "auto",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    text: TextOption = None,
    text_pair: PairOption = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="COLUMN", help="The label column; guessed unless given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a variant on labelled data."""
    from tlx.runtime.column_files import read_once
    from tlx.runtime.evaluate import evaluate as measure
    from tlx.runtime.folder import open_folder
    from tlx.runtime.tasks import task_of

    opened = open_folder(folder)
    source = read_once(data, split="test")
    columns = _columns(opened.manifest, source, text=text, text_pair=text_pair, label=label)
    examples = task_of(opened.manifest).examples_of(source, columns)
    result = measure(_engine(opened, variant, device, threads), examples)
    if examples.told:
        typer.echo(f"{data}: {examples.told}", err=True)
    if as_json:
        return _print_json(result)
    typer.echo(f"{result['task']}, variant {result['variant']}, {result['n']} examples of {data}")
    _print_table(["metric", "value"], [[name, f"{value:.4f}"] for name, value in result["metrics"].items()])


def bench(
    folder: FolderArgument,
    data: Annotated[Path | None, typer.Option("--data", help="Texts to measure with (as for predict --input).")] = None,
    variant: Annotated[
        str | None,
        typer.Option("--variant", help="One variant, or auto. By default a table of all; with --json, auto."),
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    text: TextOption = None,
    text_pair: PairOption = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="How long latency and throughput each take.")
    ] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Measure latency, throughput, cold start, memory and size."""
    from tlx.runtime.bench import bench as measure
    from tlx.runtime.folder import open_folder
    from tlx.runtime.predictor import Predictor
    from tlx.runtime.tasks import task_of

    opened = open_folder(folder)
    task = task_of(opened.manifest)
    inputs: Sequence[Any] | None = _inputs(task, opened.manifest, data, "--data", text=text, text_pair=text_pair)
    if inputs is None:
        inputs = task.golden(BENCH_TEXTS)
        typer.echo("no --data: measuring with six built-in English texts", err=True)
    inputs = task.asked(inputs)
    there = [name for name in opened.manifest.variants if name != "torch"]
    asked = [variant] if variant is not None else ["auto"] if as_json or not there else there
    reports = []
    fault: TlxError | None = None
    for name in asked:
        typer.echo(f"measuring {name} …", err=True)
        try:
            reports.append(measure(Predictor.open(opened, name, device, threads), opened, inputs, seconds=seconds))
        except TlxError as error:
            if len(asked) == 1:
                raise
            fault = error  # of one variant: the others are measured, and told
    if as_json:
        return _print_json(reports[0])
    header = ["variant", "threads", "p50 ms", "p99 ms", "texts/s", "start → answer s", "size MB", "peak MB"]
    rows = [
        [r["variant"], str(r["threads"]), f"{r['p50_ms']:.3f}", f"{r['p99_ms']:.3f}", f"{r['texts_per_s']:.0f}"]
        + [f"{r['cold_start_s']:.3f}", f"{r['size_bytes'] / 1e6:.2f}", _megabytes(r["peak_rss_bytes"])]
        for r in reports
    ]
    _print_table(header, rows)
    if fault is not None:
        raise fault


def inspect(
    folder: FolderArgument,
    replayed: Annotated[
        bool, typer.Option("--replay", help="Answer golden.json's inputs again here, with every ONNX variant.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a folder holds and where it comes from, and check every file against the manifest."""
    from tlx.runtime.diagnosis import inspect_folder
    from tlx.runtime.folder import open_folder

    found = inspect_folder(opened := open_folder(folder))
    if replayed and not found["faults"]:
        from tlx.runtime.golden import replay

        there = [n for n, v in opened.manifest.variants.items() if n != "torch" and v.file.path not in found["absent"]]
        found["replay"] = [replay(opened, name) for name in there]
        found["faults"] += [item["fault"] for item in found["replay"] if item["fault"]]
    if as_json:
        _print_json(found)
    else:
        labels = found["labels"]
        shown = ", ".join(labels[:12]) + (" …" if len(labels) > 12 else "")
        typer.echo(f"{found['path']}: {found['task']}, up to {found['max_tokens']} tokens")
        if labels:
            typer.echo(f"{len(labels)} labels: {shown}")
        _print_variants(found)
        _print_mapping("lineage", found["lineage"])
        _print_replay(found.get("replay", []))
    if found["faults"]:
        raise FolderError("; ".join(found["faults"]))
    if found["absent"]:
        typer.echo(f"not here, and not needed to answer: {', '.join(found['absent'])}", err=True)
    typer.echo(f"{found['files_checked']} files are what the manifest says (size, sha256)", err=True)


def _print_replay(found: Sequence[Mapping[str, Any]]) -> None:
    for item in found:
        before = "" if item["at_export"] is None else f", at export {item['at_export']:.3g}"
        by = item["max_abs_difference"]
        outputs = f"within {by:.3g} of torch's{before}" if by is not None else "not to be compared with torch's"
        typer.echo(
            f"replay of {item['variant']}: {item['inputs']} golden inputs, {item['other_ids']} with other token ids, outputs "
            f"{outputs}"
        )


def doctor(as_json: JsonOption = False) -> None:
    """Show what this installation can run: ONNX Runtime, providers that really start, CPU, versions."""
    from tlx.runtime.diagnosis import diagnose

    found = diagnose()
    if as_json:
        _print_json(found)
    else:
        machine = found["machine"]
        typer.echo(f"tlx {found['tlx']}, python {machine['python']}, {machine['platform']}")
        typer.echo(f"cpu: {machine['cpu']}, {machine['cores']} usable cores, {' '.join(machine['cpu_features'])}")
        typer.echo(f"onnxruntime: {machine['onnxruntime'] or 'not installed'}")
        for provider, fault in found["providers"].items():
            typer.echo(f"  {provider}: {'starts' if fault is None else 'does not start: ' + fault}")
        there = [f"{name} {version}" for name, version in found["packages"].items() if version]
        absent = [name for name, version in found["packages"].items() if not version]
        typer.echo(f"packages: {', '.join(there)}")
        if absent:
            typer.echo(f"not installed: {', '.join(absent)}")
    if found["fault"]:
        raise TlxError(found["fault"])


def _inputs(task: Task, manifest: Manifest, path: Path | None, flag: str, **names: str | None) -> list[Input] | None:
    """The inputs of the file that `flag` names, read once; None without one. Raises UsageError for columns of no file."""
    told = [f"--{name.replace('_', '-')} {column}" for name, column in names.items() if column is not None]
    if path is None:
        if told:
            raise UsageError(
                f"{' and '.join(told)} is for the columns of a file: give it with {flag} FILE, or leave it out"
            )
        return None
    from tlx.runtime.column_files import file_format, read_once
    from tlx.runtime.predictions import read_file

    source = read_once(path, split="test")
    if told and file_format(source) == ".txt":
        raise UsageError(f"{path} is read a line an input and has no columns: leave {' and '.join(told)} out")
    return read_file(source, task, _columns(manifest, source, **names))


def _columns(manifest: Manifest, source: Source, **names: str | None) -> dict[str, str]:
    """The columns that the flags name, and for the others those that training was told."""
    from tlx.runtime.columns import trained_columns

    return trained_columns(manifest, source, {kind: name for kind, name in names.items() if name is not None})


def _engine(folder: Folder, variant: str, device: str, threads: int | None) -> Runs:
    """The runtime's predictor, or for "torch" the engine that another stage offers as entry point `tlx.engines`."""
    if variant != "torch":
        from tlx.runtime.predictor import Predictor

        return Predictor.open(folder, variant, device, threads)
    from importlib.metadata import entry_points

    for point in entry_points(group="tlx.engines", name="torch"):
        try:
            open_engine = point.load()
        except ImportError as error:
            raise UsageError(f"variant torch needs the training stage ({error}): pip install 'tlx[train]'") from error
        engine: Runs = open_engine(folder, device, threads)
        return engine
    raise UsageError("variant torch needs the training stage: pip install 'tlx[train]', or choose an ONNX variant")


@contextmanager
def _progress(records: Iterator[Any], total: int | None) -> Iterator[Iterator[Any]]:
    """The same records, with a bar on stderr while they pass when their number is known and somebody looks."""
    if total is None or not sys.stderr.isatty():
        yield records
        return
    from rich.console import Console
    from rich.progress import track

    yield iter(track(records, "answering", total=total, console=Console(stderr=True), transient=True))


def _print_variants(found: Mapping[str, Any]) -> None:
    names = list(dict.fromkeys(name for item in found["variants"].values() for name in item["metrics"]))
    rows = []
    for name, item in found["variants"].items():
        devices = ", ".join(device for device, default in found["default"].items() if default == name)
        metrics = [f"{item['metrics'][metric]:.4f}" if metric in item["metrics"] else "" for metric in names]
        report = [str(item["report"].get(key, "")) for key in ("flip_rate", "p50_ms", "texts_per_s")]
        rows.append([name, f"{item['size_bytes'] / 1e6:.2f}", *metrics, *report, devices])
    _print_table(["variant", "size MB", *names, "flip rate", "p50 ms", "texts/s", "default on"], rows)


def _print_mapping(name: str, values: Mapping[str, Any]) -> None:
    if values:
        typer.echo(f"{name}:")
    for key, value in values.items():
        typer.echo(f"  {key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; the first to the left, figures to the right."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    for line in (header, *rows):
        cells = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.0f}"


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False))


def _example(command: str) -> str:
    return f"Example: {command}"
