"""What verification compares with: texts, their gold, torch's answers, and the golden texts that every folder carries."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlx.export.config import ExportConfig
from tlx.export.torch_engine import TorchEngine
from tlx.runtime.errors import DataError, ExportError
from tlx.runtime.examples import Examples, read_table
from tlx.runtime.folder import Folder, Manifest
from tlx.runtime.tasks import task_named
from tlx.runtime.tokens import Tokens

__all__ = ["Evidence", "gather_evidence", "golden_json", "read_evaluation"]

GOLDEN = 32
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
    """`logits` are torch's for `texts`, `(texts, labels)` float32. `examples` (parallel to `texts`) is None without data."""

    texts: tuple[str, ...]
    logits: NDArray[np.float32]
    examples: Examples | None
    golden_texts: tuple[str, ...]
    golden_ids: tuple[tuple[int, ...], ...]
    golden_logits: NDArray[np.float32]

    def check_tokens(self, tokens: Tokens) -> None:
        """Raises ExportError when the runtime's token ids of a golden text are not transformers'."""
        for text, ids in zip(self.golden_texts, self.golden_ids, strict=True):
            found = tokens.encode(text)[0]
            if ids and tuple(found) != ids:
                raise ExportError(
                    f"tokenizer.json gives other ids than transformers for {text[:40]!r} ({found[:8]} … instead of "
                    f"{list(ids[:8])} …): save the tokenizer again with transformers"
                )


def read_evaluation(folder: Folder, config: ExportConfig) -> Examples | None:
    """At most `config.rows` examples of the evaluation file, drawn with the seed; None when there is no file.

    Raises DataError for a missing file, column, or a label that the model does not know.
    """
    if config.data is None:
        return None
    columns = {"text": config.text_column, "label": config.label_column}
    task = task_named(folder.manifest.task)
    examples = task.parse(read_table(config.data), {key: name for key, name in columns.items() if name is not None})
    unknown = sorted(set(examples.labels) - set(folder.manifest.labels))
    if unknown:
        known = ", ".join(folder.manifest.labels[:5])
        raise DataError(
            f"{examples.source} has label {unknown[0]!r} ({len(unknown)} in all), which the model does not know "
            f"(it knows {len(folder.manifest.labels)}: {known} …): give the data it was trained for, or name the column with --label"
        )
    if len(examples) <= config.rows:
        return examples
    drawn = np.sort(np.random.default_rng(config.seed).permutation(len(examples))[: config.rows])
    return examples.select([int(row) for row in drawn])


def gather_evidence(engine: TorchEngine, examples: Examples | None, seed: int) -> Evidence:
    """Torch answers every text once. Without examples the golden texts are all there is."""
    odd = ODD_TEXTS
    plain: tuple[str, ...] = PLAIN_TEXTS
    if examples is not None:
        drawn = np.random.default_rng(seed).permutation(len(examples))[: GOLDEN - len(odd)]
        plain = tuple(examples.texts[int(row)] for row in drawn)
    golden = odd + plain
    golden_logits = engine.logits(golden)
    texts = golden if examples is None else tuple(examples.texts)
    return Evidence(
        texts=texts,
        logits=golden_logits if examples is None else engine.logits(texts),
        examples=examples,
        golden_texts=golden,
        golden_ids=tuple(tuple(ids) for ids in engine.encode(golden)),
        golden_logits=golden_logits,
    )


def golden_json(manifest: Manifest, evidence: Evidence) -> str:
    """golden.json: texts, their token ids and torch's logits, to be replayed through any variant."""
    document = {
        "format": 1,
        "task": manifest.task,
        "max_tokens": manifest.max_tokens,
        "texts": list(evidence.golden_texts),
        "input_ids": [list(ids) for ids in evidence.golden_ids],
        "logits": [[round(float(value), 6) for value in row] for row in evidence.golden_logits],
    }
    return json.dumps(document, ensure_ascii=False) + "\n"
