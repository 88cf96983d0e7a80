"""One model folder in the engines that people use: accuracy, p50 of one text, texts/s, seconds to the first answer.

transformers.pipeline (torch, float32), Optimum's pipeline over onnx/model.onnx and onnx/model_quantized.onnx, OpenVINO over the same
files and CTranslate2 (int8) with code by hand around them, and tlx.runtime with fp32 and int8. Every round runs each engine in a process of its own, in turns; figures are medians of the
rounds. An engine that is not installed, or does not take the folder, is left out and the reason is told.

    python benchmarks/peers.py models/clinc-teacher --data ../shared/data/clinc150/test.csv
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from measuring import Refused, add_output, alternate, fresh, labelled_texts, machine, report, say, table

SCRIPT = Path(__file__).with_name("engines.py")
NAMES = (
    *("transformers torch fp32", "optimum fp32", "optimum int8", "openvino fp32", "openvino int8", "ctranslate2 int8"),
    *("tlx fp32", "tlx int8"),
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="model folder with torch, fp32 and int8 variants")
    parser.add_argument("--data", required=True, help="labelled test file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, help="only the first rows of the data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="for p50, and for texts/s at least, in each round")
    add_output(parser)
    return parser.parse_args()


def main() -> None:
    options, here = arguments(), machine()
    texts, _ = labelled_texts(options.data, 1)
    work = {"data": options.data, "rows": options.rows, "seconds": options.seconds}

    def run(engine: str, task: dict[str, Any]) -> dict[str, Any]:
        whole = {"engine": engine, "folder": options.folder, "threads": options.threads, **task}
        return fresh(SCRIPT, whole, options.threads)

    skipped: dict[str, str] = {}
    for name in NAMES:  # this also warms the disk
        try:
            run(name, {"text": texts[0]})
        except Refused as error:
            skipped[name] = str(error)
            say(f"{name}: left out: {error}")
    there = [name for name in NAMES if name not in skipped]
    if not there:
        raise SystemExit(f"no engine takes {options.folder}")
    figures = alternate({name: partial(run, name, work) for name in there}, options.rounds)
    starts = alternate({name: partial(run, name, {"text": texts[0]}) for name in there}, options.rounds)
    for name in there:
        figures[name]["first_answer_s"] = starts[name]["process_s"]
    first = figures[there[0]]
    head = ("", *first, "texts/s ratio", "p50 ratio")
    lines = [
        (name, *found.values(), found["texts_per_s"] / first["texts_per_s"], first["p50_ms"] / found["p50_ms"])
        for name, found in figures.items()
    ]
    table(head, lines)
    say(f"ratios are to {there[0]}: higher is better")
    ratios = {line[0]: {"texts_per_s": line[-2], "p50_ms": line[-1]} for line in lines}
    report(options, {"engines": figures, "ratios": ratios, "ratios_to": there[0], "skipped": skipped}, here)


if __name__ == "__main__":
    main()
