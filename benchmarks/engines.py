"""The engines that are compared, each opened the way its users open it, and run in a process of its own.

Run as a script (by `measuring.fresh`) with a task as JSON: `{"engine", "folder", "threads", "text"}` answers one text and
says when; with `"data"` (and `"rows"`, `"seconds"`) it measures accuracy, p50 and texts/s.
Nothing but the engine is imported before its first answer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = ["ENGINES", "Engine"]

VARIANTS = ("fp32", "int8", "int4", "fp16")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """`one` answers a text, `many` a list of texts, both in transformers.pipeline's shapes."""

    one: Callable[[str], list[Any]]
    many: Callable[[list[str]], list[Any]]


def transformers_torch(folder: str, threads: int) -> Engine:
    """transformers.pipeline over the torch model in float32; OMP_NUM_THREADS gives torch its threads."""
    from transformers import pipeline

    classify = pipeline("text-classification", model=folder, device="cpu", dtype="float32", truncation=True)
    return Engine(one=classify, many=lambda texts: classify(texts, batch_size=32))


def _optimum(folder: str, threads: int, file_name: str) -> Engine:
    import onnxruntime
    from optimum.onnxruntime import ORTModelForSequenceClassification, pipeline
    from transformers import AutoTokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = ORTModelForSequenceClassification.from_pretrained(
        folder, subfolder="onnx", file_name=file_name, session_options=options
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, truncation=True)
    return Engine(one=classify, many=lambda texts: classify(texts, batch_size=32))


def _tlx(folder: str, threads: int, variant: str) -> Engine:
    from tlx.runtime import load

    classify = load(folder, variant, "cpu", threads)
    return Engine(one=classify, many=classify)


def _by_hand(folder: str, threads: int, variant: str) -> Engine:
    from by_hand import by_hand

    hand = by_hand(folder, variant, threads)
    return Engine(one=hand.one, many=hand.many)


def _other(folder: str, threads: int, runtime: str, variant: str) -> Engine:
    import other_runtimes

    hand = getattr(other_runtimes, runtime)(folder, variant, threads)
    return Engine(one=hand.one, many=hand.many)


ENGINES: dict[str, Callable[[str, int], Engine]] = {
    "transformers torch fp32": transformers_torch,
    "optimum fp32": partial(_optimum, file_name="model.onnx"),
    "optimum int8": partial(_optimum, file_name="model_quantized.onnx"),
    "openvino fp32": partial(_other, runtime="OpenVino", variant="fp32"),
    "openvino int8": partial(_other, runtime="OpenVino", variant="int8"),
    "ctranslate2 int8": partial(_other, runtime="CTranslate2", variant="fp32"),
    **{f"tlx {variant}": partial(_tlx, variant=variant) for variant in VARIANTS},
    **{f"by hand {variant}": partial(_by_hand, variant=variant) for variant in VARIANTS},
}


def main() -> None:
    task = json.loads(sys.argv[1])
    engine = ENGINES[task["engine"]](task["folder"], task["threads"])
    if "data" not in task:
        engine.one(tuple(task["text"]) if isinstance(task["text"], list) else task["text"])
        print(json.dumps({"answered": time.monotonic()}))
        return
    from measuring import labelled_texts, p50_ms, texts_per_s

    texts, gold = labelled_texts(task["data"], task["rows"])
    p50 = p50_ms(engine.one, texts, task["seconds"])
    rate, answers = texts_per_s(engine.many, texts, task["seconds"])
    right = sum(answer["label"] == label for answer, label in zip(answers, gold, strict=True))
    print(json.dumps({"accuracy": right / len(gold), "p50_ms": p50, "texts_per_s": rate}))


if __name__ == "__main__":
    main()
