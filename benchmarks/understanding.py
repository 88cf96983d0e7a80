"""Every understanding task on real data: torch, fp32, int8 and a student of `tlx`, beside the peer's own training script.

For each data set: `tlx train` from the base with defaults, `tlx export --quantize`, `tlx train --teacher` for a student,
its export; and the same base, rows and epochs through the transformers example script, or sentence-transformers
(example_scripts.py). All models answer the same test file, and one piece of code measures them. What has been
measured is kept in --work, so that a run that was stopped goes on; `--page FILE` writes the table as Markdown.

    python benchmarks/understanding.py --data-dir ../shared/data --base models/tlx-mini-en --work work \\
        --rows 3000 --page docs/understanding.md --out benchmarks/results/understanding.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import add_output, machine, report, say, table

LINES = (".conll", ".txt")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One data set for one task. `metric` is the figure of the table; files are named `<split><suffix>`."""

    name: str
    folder: str
    task: str
    suffix: str
    metric: str
    epochs: float
    columns: tuple[str, ...] = ()
    student: tuple[str, ...] = ("--layers", "2")
    settings: tuple[str, ...] = ()
    share: float = 1.0
    """Of --rows: long contexts take long, and a line of plain text tells less than a label."""
    oos: bool = False
    """Texts out of scope choose a threshold, and a third as many as the test has are among it; no peer does that."""


CONVOLUTION = ("--student", "convolution", "--augment", "10000")
CASES = (
    Case(name="clinc150", folder="clinc150", task="text-classification", suffix=".csv", metric="accuracy", epochs=6, student=CONVOLUTION),
    Case(name="clinc150, out of scope", folder="clinc150", task="text-classification", suffix=".csv", metric="oos_recall", epochs=6, student=CONVOLUTION, oos=True),
    Case(name="goemotions", folder="goemotions", task="text-classification", suffix=".jsonl", metric="micro_f1", epochs=4, student=CONVOLUTION),
    Case(name="sick, entailment", folder="sick", task="text-classification", suffix=".csv", metric="accuracy", epochs=5, columns=("--label", "entailment")),
    Case(name="sick, relatedness", folder="sick", task="regression", suffix=".csv", metric="spearman", epochs=5),
    Case(name="sick, embeddings", folder="sick", task="feature-extraction", suffix=".csv", metric="spearman", epochs=4),
    Case(name="snips, intent and slots", folder="snips", task="intent-slots", suffix=".csv", metric="slot_f1", epochs=4),
    Case(name="wnut17", folder="wnut17", task="token-classification", suffix=".conll", metric="f1", epochs=5),
    Case(name="ud_english_ewt", folder="ud_english_ewt", task="token-classification", suffix=".conll", metric="accuracy", epochs=4),
    Case(name="squadshifts_wiki", share=0.35, folder="squadshifts_wiki", task="question-answering", suffix=".json", metric="f1", epochs=3),
    Case(name="gutenberg_en", share=4.0, folder="gutenberg_en", task="fill-mask", suffix=".txt", metric="token_accuracy", epochs=3, student=()),
    Case(name="csl_category", folder="csl_category", task="text-classification", suffix=".csv", metric="accuracy", epochs=6, student=CONVOLUTION),
    Case(name="crosswoz_intent", folder="crosswoz_intent", task="text-classification", suffix=".csv", metric="accuracy", epochs=8, student=CONVOLUTION),
    Case(name="weibo_ner", folder="weibo_ner", task="token-classification", suffix=".conll", metric="f1", epochs=8),
    Case(name="ud_chinese_pos", folder="ud_chinese_pos", task="token-classification", suffix=".conll", metric="accuracy", epochs=8),
    Case(name="cmrc2018", share=0.35, folder="cmrc2018", task="question-answering", suffix=".json", metric="f1", epochs=3),
    Case(name="zh_webdocs", share=4.0, folder="zh_webdocs", task="fill-mask", suffix=".txt", metric="token_accuracy", epochs=3, student=()),
)  # fmt: skip
STAGES = ("torch", "fp32", "int8", "student int8", "peer")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--base", required=True, help="pretrained model folder that every model starts from")
    parser.add_argument("--work", type=Path, required=True, help="where models and figures are kept")
    parser.add_argument(
        "--rows", type=int, default=3000, help="at most so many training examples, spread over the file"
    )
    parser.add_argument("--test-rows", type=int, default=2000, help="at most so many test examples")
    parser.add_argument("--only", action="append", help="names of cases (repeatable)")
    parser.add_argument("--skip-peer", action="store_true")
    parser.add_argument("--random", action="store_true", help="also start from random weights")
    parser.add_argument("--measured", action="store_true", help="measure nothing: tell what the work folder holds")
    parser.add_argument("--page", type=Path, help="write the table as a Markdown page")
    add_output(parser)
    return parser.parse_args()


def sampled(source: Path, target: Path, rows: int) -> int:
    """At most `rows` examples of the file, evenly spread over it, in its own format. Their number."""
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".json":
        return _sampled_squad(text, target, rows)
    if source.suffix == ".conll":
        units, glue, head = [part for part in text.strip().split("\n\n") if part.strip()], "\n\n", ""
    else:
        lines = [line for line in text.split("\n") if line.strip()]
        head = lines.pop(0) + "\n" if source.suffix == ".csv" else ""
        units, glue = lines, "\n"
    step = max(len(units) / rows, 1.0)
    chosen = [units[int(i * step)] for i in range(min(rows, len(units)))]
    target.write_text(head + glue.join(chosen) + "\n", encoding="utf-8")
    return len(chosen)


def _sampled_squad(text: str, target: Path, rows: int) -> int:
    articles = json.loads(text)["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    step = max(sum(len(p["qas"]) for p in paragraphs) / rows, 1.0)
    chosen = [paragraphs[int(i * step)] for i in range(int(len(paragraphs) / step))]
    target.write_text(json.dumps({"data": [{"title": "", "paragraphs": chosen}]}), encoding="utf-8")
    return sum(len(paragraph["qas"]) for paragraph in chosen)


def tlx(*words: str | Path) -> dict[str, Any]:
    """One tlx command with --json, in a process of its own."""
    command = [sys.executable, "-m", "tlx.runtime.program", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"tlx {' '.join(map(str, words))}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def place_of(case: Case, options: argparse.Namespace, *, random: bool = False) -> Path:
    """Where the case's data, models and figures are kept."""
    name = case.name.replace(", ", "-").replace(" ", "-") + ("-random" if random else "")
    return Path(options.work) / name


def kept_figures(place: Path) -> dict[str, Any]:
    """What was measured before."""
    kept = place / "figures.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    return found


def measure(case: Case, options: argparse.Namespace, *, random: bool = False) -> dict[str, Any]:
    """All stages of a case; what is in the work folder is not done again."""
    place = place_of(case, options, random=random)
    place.mkdir(parents=True, exist_ok=True)
    kept = place / "figures.json"
    figures = kept_figures(place)

    def note(**values: Any) -> None:
        figures.update(values)
        kept.write_text(json.dumps(figures, indent=1))

    files = {}
    for split, rows in (("train", options.rows), ("validation", min(options.rows, 1000)), ("test", options.test_rows)):
        files[split] = place / f"{split}{case.suffix}"
        rows = int(rows * case.share)
        count = sampled(options.data_dir / case.folder / f"{split}{case.suffix}", files[split], rows)
        beside = options.data_dir / case.folder / f"{split}.conll"
        if case.suffix == ".csv" and beside.exists():
            sampled(beside, place / f"{split}.conll", rows)
        note(**{f"{split}_rows": count})
    if case.oos:
        strange = place / "strange.csv"
        sampled(options.data_dir / case.folder / "oos_test.csv", strange, options.test_rows // 3)
        with files["test"].open("a", encoding="utf-8") as stream:
            stream.writelines(strange.read_text(encoding="utf-8").splitlines(keepends=True)[1:])
    columns, task = case.columns, ("--task", case.task)
    model, student = place / "model", place / "student"
    changes = [part for setting in case.settings for part in ("--set", setting)]
    if case.oos:
        changes += ["--oos", str(options.data_dir / case.folder / "oos_validation.csv")]
    if random:
        changes += ["--set", "model.random_weights=true"]
    common = (files["train"], "--validation", files["validation"], *task, *columns, *changes)

    def judged(folder: Path, variant: str) -> float:
        metrics = tlx("eval", folder, files["test"], "--variant", variant, *columns)["metrics"]
        note(**{f"metrics of {folder.name} {variant}": metrics})
        return float(metrics[case.metric]) * known_share(case, folder, files["test"])

    if "torch" not in figures:
        begun = time.monotonic()
        tlx("train", *common, "--base", options.base, "--epochs", str(case.epochs), "--out", model, "--overwrite")
        note(seconds=round(time.monotonic() - begun), torch=judged(model, "torch"))
    if "int8" not in figures and not random:
        tlx("export", model, "--quantize", "--data", files["validation"], *columns)
        note(fp32=judged(model, "fp32"), int8=judged(model, "int8"))
    if "student int8" not in figures and case.student and not random:
        tlx("train", *common, "--teacher", model, *case.student, "--out", student, "--overwrite")
        tlx("export", student, "--quantize", "--data", files["validation"], *columns)
        note(**{"student int8": judged(student, "int8"), "student mb": _size_mb(student), "mb": _size_mb(model)})
    if "peer" not in figures and not options.skip_peer and not random and not case.oos:
        begun = time.monotonic()
        found = peer(case, files, place / "peer", options.base, dict(zip(columns[::2], columns[1::2], strict=True)))
        note(peer=found, peer_seconds=round(time.monotonic() - begun))
    say(f"{case.name}: {json.dumps(figures)}")
    return figures


def known_share(case: Case, folder: Path, test: Path) -> float:
    """Of fill-mask's test tokens, those that the folder's vocabulary has: models are asked for no other, and miss them all."""
    if case.task != "fill-mask":
        return 1.0
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = [
        i
        for line in test.read_text(encoding="utf-8").split("\n")
        for i in tokenizer.encode(line, add_special_tokens=False).ids
    ]
    unknown = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "")
    return 1.0 - ids.count(unknown) / max(len(ids), 1)


def _size_mb(folder: Path) -> float:
    """The int8 file and tokenizer.json."""
    files = (folder / "onnx" / "model_quantized.onnx", folder / "tokenizer.json")
    return round(sum(path.stat().st_size for path in files) / 1e6, 2)


def peer(case: Case, files: dict[str, Path], out: Path, base: str, flags: dict[str, str]) -> float | None:
    """The case's metric of the model that the peer's script trains, judged by tlx's code on the same test file."""
    from example_scripts import PEERS

    from tlx.export.pretrained import load_model, open_source
    from tlx.export.torch_engine import TorchEngine
    from tlx.runtime.tasks import task_named

    name = "token-classification" if case.task == "intent-slots" else case.task
    task = task_named(name)
    columns = {flag.lstrip("-").replace("-", "_"): column for flag, column in flags.items()}
    paths = {k: v.with_suffix(".conll") if case.task == "intent-slots" else v for k, v in files.items()}
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    max_tokens = int(json.loads((out.parent / "model" / "tlx.json").read_text())["max_tokens"])
    if name == "fill-mask":
        lines = [line for line in paths["train"].read_text(encoding="utf-8").split("\n") if line.strip()]
        PEERS[name](base, lines, out, case.epochs, max_tokens)
    else:
        PEERS[name](base, task.read(paths["train"], columns), out, case.epochs, max_tokens)
    test = task.read(paths["test"], columns)
    folder = open_source(out)
    settings = {**folder.manifest.settings, **test.settings}
    manifest = folder.manifest._replace(task=name, settings=settings, max_tokens=max_tokens)
    folder = folder._replace(manifest=manifest)
    engine = TorchEngine(folder, load_model(folder), "cpu")
    metric = "f1" if case.task == "intent-slots" else case.metric
    return float(engine.task.metrics(engine.run(test.inputs), test)[metric]) * known_share(case, out, paths["test"])


def page(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    """The table as Markdown."""
    head = ["data", "task", "metric", "train rows", *STAGES, "int8 MB", "student MB", "random weights"]
    missing = False
    lost: list[str] = []
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for case in CASES:
        found = results.get(case.name)
        if found is None:
            continue
        values = [f"{found[stage]:.4f}" if found.get(stage) is not None else "" for stage in STAGES]
        needless = {"student int8"} if not case.student else {"peer"} if case.oos else set()
        missing |= any(not v for v, stage in zip(values, STAGES, strict=True) if stage not in needless)
        if found.get("int8", 0.0) < 0.99 * found.get("fp32", 0.0):
            values[STAGES.index("int8")] += " *"
            share, rows = found["fp32"], found["test_rows"] // (3 if case.oos else 1)
            lost.append(f"{case.name} {share - found['int8']:.4f} of ±{(share * (1 - share) / rows) ** 0.5:.4f}")
        sizes = [str(found.get("mb", "")), str(found.get("student mb", ""))]
        random = f"{found['random']:.4f}" if "random" in found else ""
        lines.append(
            f"| {case.name} | {case.task} | {case.metric} | {found['train_rows']} | {' | '.join(values + sizes)} | {random} |"
        )
    intro = (
        "# Every understanding task on real data\n\n"
        f"From {Path(options.base).name}, at most {options.rows} training and {options.test_rows} test examples of each set (a third of "
        "that of questions, four times that of lines for fill-mask), tlx's "
        "defaults with the epochs of the table in `benchmarks/understanding.py`. `peer` is the same base, rows and epochs\n"
        "in the transformers example script for the task (sentence-transformers for embeddings), float32, judged by the same\n"
        "code. `random weights` is the same recipe without pretraining. One seed. Made by:\n\n"
        f"    python benchmarks/understanding.py --data-dir ../shared/data --base {options.base} --work work \\\n"
        f"        --rows {options.rows} --test-rows {options.test_rows} --random\n\n"
    )
    notes = [
        "With so few rows the figures tell that the path works and how the sides compare, not how good a model can be. For "
        "several labels\nthe peer's script decides at .5, tlx tunes thresholds on validation. Chinese: tlx gives the base "
        "the characters of the data as new\ntokens, the peer's script keeps the English vocabulary, in which 61 % of "
        "zh_webdocs' tokens are [UNK]: tokens that a vocabulary lacks\ncount as missed."
    ]
    for case in CASES:
        others = results.get(case.name, {}).get("metrics of model int8") if case.oos else None
        if others:
            told = ", ".join(f"{name} {value:.3f}" for name, value in others.items())
            notes.append(f"{case.name}, all figures of int8: {told}.")
    if lost:
        notes.append(
            "\\* more than 1 % of the metric is lost, relative to it. `tlx export` allows .01 outright (`--max-drop`), on validation, "
            "and no less: of so few rows\nthat would be less than one answer. What is lost on test, beside the standard error that such a "
            "share has over so many rows (lines, for fill-mask): "
            f"{'; '.join(lost)}."
        )
    if missing:
        notes.append("Empty cells have not been measured.")
    return intro + "\n".join(lines) + "\n\n" + "\n\n".join(notes) + "\n"


def main() -> None:
    options, here = arguments(), machine()
    results = {}
    for case in CASES:
        if options.only and case.name not in options.only:
            continue
        if options.measured and "torch" not in kept_figures(place_of(case, options)):
            continue
        results[case.name] = kept_figures(place_of(case, options)) if options.measured else measure(case, options)
        if options.random and not case.oos and not options.measured:
            measure(case, options, random=True)
        from_nothing = kept_figures(place_of(case, options, random=True))
        if "torch" in from_nothing:
            results[case.name]["random"] = from_nothing["torch"]
        if options.page:
            options.page.write_text(page(results, options), encoding="utf-8")
    header = ("", *STAGES)
    table(header, [(name, *(found.get(stage, "") for stage in STAGES)) for name, found in results.items()])
    report(options, {"cases": results}, here)


if __name__ == "__main__":
    main()
