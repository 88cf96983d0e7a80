"""What tlx.runtime costs for every task: the int8 models and test files that understanding.py left, against by_hand.py.

For each folder what runtime_overhead.py measures of one input and of a list, and the share of an answer's time that is spent
behind the model (`answers`: spans joined, windows merged, scores sorted), of one input and of a list.

    python benchmarks/task_overhead.py work --out benchmarks/results/task_overhead.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import add_output, machine, p50_ms, report, say, table
from runtime_overhead import inputs_of, speeds
from understanding import CASES, place_of

SIDES = {"tlx": "tlx int8", "by hand": "by hand int8"}
COLUMNS = ("p50_ratio", "texts_per_s_ratio", "answer_share_of_one", "answer_share_of_list", "alike")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="the --work folder of understanding.py")
    parser.add_argument("--only", action="append", help="names of cases (repeatable)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=300, help="only the first rows of each test file")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="for each of p50 and texts/s, a side and round")
    add_output(parser)
    return parser.parse_args()


def answer_shares(folder: str, texts: list[Any], threads: int, seconds: float) -> dict[str, float]:
    """`answer_share_of_one` and `answer_share_of_list`: seconds that `answers` takes over seconds of the whole way."""
    from tlx.runtime import load

    model = load(folder, "int8", "cpu", threads)
    answers = model.task.answers
    one, everything = [model.run([text]) for text in texts], model.run(texts)
    return {
        "answer_share_of_one": p50_ms(answers, one, seconds) / p50_ms(model, texts, seconds),
        "answer_share_of_list": _median(lambda: answers(everything)) / _median(lambda: model(texts)),
    }


def _median(call: Callable[[], Any], times: int = 5) -> float:
    """Seconds of a call, the median of so many."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return float(np.median(found))


def main() -> None:
    options, here = arguments(), machine()
    found: dict[str, dict[str, Any]] = {}
    for case in CASES:
        place = place_of(case, options)
        if (options.only and case.name not in options.only) or not (place / "model/onnx/model_quantized.onnx").exists():
            continue
        say(case.name)
        folder = str(place / "model")
        texts = inputs_of(folder, str(place / f"test{case.suffix}"), options.rows)
        figures = speeds(argparse.Namespace(**{**vars(options), "folder": folder}), SIDES, texts)
        figures["ratios"] |= answer_shares(folder, texts, options.threads, options.seconds)
        found[case.name] = {"task": case.task, **figures}
    table(("", *COLUMNS), [(name, *(figures["ratios"][key] for key in COLUMNS)) for name, figures in found.items()])
    report(options, {"tasks": found}, here)


if __name__ == "__main__":
    main()
