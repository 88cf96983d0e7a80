"""What verification compares with: inputs, their gold, torch's answers, and the golden texts that every folder carries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlx.export.config import ExportConfig
from tlx.export.torch_engine import TorchEngine
from tlx.runtime.column_files import read_once
from tlx.runtime.columns import trained_columns
from tlx.runtime.errors import DataError, ExportError
from tlx.runtime.examples import Examples
from tlx.runtime.folder import Folder, Manifest
from tlx.runtime.golden import golden_lines
from tlx.runtime.tasks import Task, task_of
from tlx.runtime.tasks.task import Input, Outputs
from tlx.runtime.tokens import Tokens

__all__ = ["Evidence", "gather_evidence", "golden_json", "read_evaluation"]

GOLDEN = 32
WIDE = 1024
ODD_TEXTS = (
    "",
    " ",
    "a",
    "...!?",
    "😀🎉 🏳️‍🌈 👩‍👩‍👧",
    "请帮我取消信用卡",
    "Ünïcödé naïve café — “quotes”",
    "مرحبا بالعالم",
    "line one\nline two\ttab",
    "http://example.org/?q=1&r=2 user@example.org",
    "1234567890 12.50 3,000",
    "word " * 600,
)
PLAIN_TEXTS = (
    "please cancel my card",
    "what is the weather like in paris tomorrow",
    "I did not like the film at all.",
    "I liked the film, though not its end.",
    "play some jazz in the kitchen",
    "turn off the lights in the living room and lock the door",
    "how much money do i have in my savings account",
    "The food was cold and the waiter was rude.",
    "the best purchase i have made this year",
    "book a table for four at seven",
    "set an alarm for six thirty",
    "why was my payment declined?",
    "translate good morning into spanish",
    "remind me to call my mother on sunday",
    "It is neither good nor bad.",
    "who wrote this song",
    "my order has not arrived yet, where is it",
    "transfer fifty dollars from checking to savings",
    "tell me a joke about cats",
    "thank you, that will be all",
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """`reference` is what torch gives for `inputs`, `golden` for the inputs that every folder carries.

    `examples` (parallel to `inputs`) is None without data. `golden_ids` are transformers' own token ids, () where they
    are not compared.
    """

    inputs: Sequence[Input]
    reference: Outputs
    examples: Examples | None
    golden: Outputs
    golden_ids: tuple[tuple[int, ...], ...]

    def check_tokens(self, task: Task, tokens: Tokens) -> None:
        """Raises ExportError when the runtime's token ids of a golden input are not transformers'."""
        for item, ids in zip(self.golden.inputs, self.golden_ids, strict=True):
            encoded = task.encode(tokens, [item], parallel=False)
            rows = encoded.rows
            if encoded.truncated and tokens.stride:  # a task with windows cuts in its own way what still does not fit
                continue
            if ids and len(rows) == 1 and tuple(rows[0]) != ids:
                raise ExportError(
                    f"tokenizer.json gives other ids than transformers for {str(item)[:40]!r} ({list(rows[0][:8])} … "
                    f"instead of {list(ids[:8])} …): save the tokenizer again with transformers"
                )


def read_evaluation(folder: Folder, config: ExportConfig) -> Examples | None:
    """At most `config.rows` examples of the evaluation file, drawn with the seed; None when there is no file.

    Raises DataError for a missing file, column, or a label that the model does not know.
    """
    if config.data is None:
        return None
    columns = {"text": config.text_column, "text_pair": config.pair_column, "label": config.label_column}
    task = task_of(folder.manifest)
    asked = {key: name for key, name in columns.items() if name is not None}
    source = read_once(config.data, split="validation")
    named = trained_columns(folder.manifest, source, asked)
    examples = task.examples_of(source, named, split="validation")
    known_labels = task.labels
    unknown = sorted(set(examples.labels) - set(known_labels)) if known_labels and not task.open_labels else []
    if unknown:
        known = ", ".join(known_labels[:5])
        raise DataError(
            f"{examples.source} has label {unknown[0]!r} ({len(unknown)} in all), which the model does not know "
            f"(it knows {len(known_labels)}: {known} …): give the data it was trained for, or name the column with --label"
        )
    if len(examples) <= config.rows:
        return examples
    drawn = np.sort(np.random.default_rng(config.seed).permutation(len(examples))[: config.rows])
    return examples.select([int(row) for row in drawn])


def gather_evidence(engine: TorchEngine, examples: Examples | None, seed: int) -> Evidence:
    """Torch answers every input once. Without examples the golden inputs are all there is."""
    task = engine.task
    plain: list[Input] = task.golden(PLAIN_TEXTS)
    if examples is not None:
        drawn = np.random.default_rng(seed).permutation(len(examples))[: GOLDEN - len(ODD_TEXTS)]
        plain = list(task.asked([examples.inputs[int(row)] for row in drawn]))
    golden = engine.run([*task.golden(ODD_TEXTS), *plain])
    return Evidence(
        inputs=golden.inputs if examples is None else examples.inputs,
        reference=golden if examples is None else engine.run(examples.inputs),
        examples=examples,
        golden=golden,
        golden_ids=tuple(tuple(engine.transformers_ids(item)) for item in golden.inputs),
    )


def golden_json(manifest: Manifest, evidence: Evidence) -> str:
    """golden.json: inputs, the token ids of their first rows and torch's outputs, to be replayed through any variant.

    `logits` holds for each input its lines of values; of a line wider than WIDE only `[column, value]` of the greatest.
    """
    outputs = evidence.golden
    task = task_of(manifest)
    single = task.units(outputs.encoded) is None and outputs.encoded.owners is None
    ids, lines = golden_lines(task, outputs)
    logits = [[_rounded(line) for line in of_one] for of_one in lines]
    document = {
        "format": 1,
        "task": manifest.task,
        "max_tokens": manifest.max_tokens,
        "texts": [item if isinstance(item, str) else list(item) for item in outputs.inputs],
        "input_ids": ids,
        "logits": [of_one[0] for of_one in logits] if single else logits,
    }
    return json.dumps(document, ensure_ascii=False) + "\n"


def _rounded(line: NDArray[np.float32]) -> list[Any]:
    if len(line) <= WIDE:
        return [round(float(value), 6) for value in line]
    best = int(line.argmax())
    return [best, round(float(line[best]), 6)]
