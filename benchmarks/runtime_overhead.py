"""tlx.runtime against tokenizers + onnxruntime + numpy written out by hand (by_hand.py), on the same ONNX file, for any task.

Measures p50 of one text and texts/s over the whole list, in one process, in small rounds that take turns (medians of the
rounds, and of the rounds' ratios); and in fresh processes the seconds from start to first answer. `alike` is the share of
inputs that both answer with the same strings and places, one at a time (int8 answers depend a little on the batch).

    python benchmarks/runtime_overhead.py models/clinc-small --variant int8 --data ../shared/data/clinc150/test.csv
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Refused, add_output, alternate, fresh, machine, p50_ms, report, say, table, texts_per_s

ENGINES = Path(__file__).with_name("engines.py")
TARGETS = {"p50_ratio": 1.10, "texts_per_s_ratio": 1.2, "first_answer_s": 0.30}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="model folder with the variant")
    parser.add_argument("--variant", default="int8", choices=("int8", "fp32", "int4", "fp16"))
    parser.add_argument("--data", required=True, help="test file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, help="only the first rows of the data")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--starts", type=int, default=9, help="processes a side that are timed to their first answer")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each of p50 and texts/s, a side and round")
    add_output(parser)
    return parser.parse_args()


def main() -> None:
    options, here = arguments(), machine()
    texts = inputs_of(options.folder, options.data, options.rows)
    names = {"tlx": f"tlx {options.variant}", "by hand": f"by hand {options.variant}"}

    def start(engine: str) -> dict[str, float]:
        task = {"engine": engine, "folder": options.folder, "threads": options.threads, "text": texts[0]}
        return fresh(ENGINES, task, options.threads)

    say("process start to first answer")
    try:  # before this process holds threads of its own
        starts = alternate({name: partial(start, e) for name, e in names.items()}, options.starts, warm_up=True)
    except Refused as error:
        raise SystemExit(f"a fresh process gave no answer: {error}") from error
    figures = speeds(options, names, texts)
    for name in names:
        figures[name]["first_answer_s"] = starts[name]["process_s"]
    ratios = figures.pop("ratios")
    met = {
        "p50_ratio": ratios["p50_ratio"] <= TARGETS["p50_ratio"],
        "texts_per_s_ratio": ratios["texts_per_s_ratio"] >= TARGETS["texts_per_s_ratio"],
        "first_answer_s": figures["tlx"]["first_answer_s"] < TARGETS["first_answer_s"],
    }
    table(("", *figures["tlx"]), [(name, *values.values()) for name, values in figures.items()])
    say(f"p50 {ratios['p50_ratio']:.3f} times by hand (target ≤ {TARGETS['p50_ratio']})")
    say(f"texts/s {ratios['texts_per_s_ratio']:.3f} times by hand (target ≥ {TARGETS['texts_per_s_ratio']})")
    say(f"{ratios['alike']:.1%} of the inputs were answered alike")
    say(f"first answer after {figures['tlx']['first_answer_s']:.3f} s (target < {TARGETS['first_answer_s']} s)")
    report(options, {"engines": figures, "ratios": ratios, "targets": TARGETS, "met": met}, here)


def inputs_of(folder: str, data: str, rows: int | None) -> list[Any]:
    """The file's inputs as the folder's task takes them; a text to be filled gets its mask in the place of its middle word."""
    from tlx.runtime.folder import open_folder
    from tlx.runtime.tasks import task_named

    manifest = open_folder(folder).manifest
    kind = task_named(manifest.task)
    inputs = list(kind.read(data, {}).inputs[:rows])
    if manifest.task == "fill-mask":
        words = [item[0].split() for item in inputs]
        mask = manifest.settings["mask_token"]
        return [" ".join([*w[: len(w) // 2], mask, *w[len(w) // 2 + 1 :]]) for w in words]
    if manifest.task == "feature-extraction":
        return [text for item in inputs for text in ((item,) if isinstance(item, str) else item)]
    return inputs


def same(one: Any, other: Any) -> bool:
    """Whether two answers have the same strings and places; of vectors the direction, of a score alone its size, count."""
    one, other = (item[0] if isinstance(item, list) and len(item) == 1 else item for item in (one, other))
    if isinstance(one, np.ndarray):
        one, other = one.reshape(-1), other.reshape(-1)
        return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))) > 0.999
    if isinstance(one, dict) and set(one) == {"score"}:
        return abs(one["score"] - other["score"]) < 1e-3
    if isinstance(one, dict):
        keys = set(one) - {"score", "word"}
        return keys <= set(other) and all(same(one[key], other[key]) for key in keys)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def speeds(options: argparse.Namespace, names: dict[str, str], texts: list[Any]) -> dict[str, dict[str, float]]:
    """Each engine's p50_ms and texts_per_s, and "ratios" (tlx to by hand): all medians over the rounds."""
    from engines import ENGINES as OPEN

    engines = {name: OPEN[engine](options.folder, options.threads) for name, engine in names.items()}
    rounds: list[dict[str, dict[str, float]]] = []
    alike = float(np.mean([same(*(engine.one(text) for engine in engines.values())) for text in texts]))
    say("one text at a time, and the whole list")
    for number in range(options.rounds):
        order = list(engines) if number % 2 == 0 else list(engines)[::-1]
        found: dict[str, dict[str, float]] = {name: {} for name in engines}
        for name in order:
            found[name]["p50_ms"] = p50_ms(engines[name].one, texts, options.seconds)
        for name in order:
            found[name] |= {"texts_per_s": texts_per_s(engines[name].many, texts, options.seconds)[0]}
        tlx, hand = found["tlx"], found["by hand"]
        ratios = {
            "p50_ratio": tlx["p50_ms"] / hand["p50_ms"],
            "texts_per_s_ratio": tlx["texts_per_s"] / hand["texts_per_s"],
            "alike": alike,
        }
        rounds.append({**found, "ratios": ratios})
    return {
        side: {key: float(np.median([found[side][key] for found in rounds])) for key in rounds[0][side]}
        for side in rounds[0]
    }


if __name__ == "__main__":
    main()
