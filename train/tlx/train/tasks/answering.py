"""question-answering in training: where the answer begins and ends among the tokens of each window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tlx.runtime.errors import UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.squad_files import Gold
from tlx.runtime.squad_scores import answer_score, best_threshold
from tlx.runtime.tasks.answering import QuestionAnswering
from tlx.runtime.tasks.question_windows import Window
from tlx.runtime.tasks.task import Encoded, Floats, Input, Outputs, unit_starts
from tlx.train.batches import Batch, Ragged
from tlx.train.recipe import options_from
from tlx.train.tasks.task import TrainTask
from tlx.train.terms.labels import IGNORED

__all__ = ["TRAIN_TASK", "AnsweringOptions", "TrainAnswering"]

PADDING = -1e4
TINY = 1e-30


@dataclass(frozen=True, kw_only=True)
class AnsweringOptions:
    """The recipe's section [task]."""

    max_answer_len: int | None = field(default=None, metadata={"low": 1, "high": 512})
    """The longest answer in tokens that the folder gives. Left out: what 99 % of the training answers need, at least 15."""


class TrainAnswering(TrainTask):
    """Gold is `(rows, 2)` int64: the answer's first and last token in the window; (0, 0) where the window does not hold it."""

    half = QuestionAnswering
    transfers = False
    runtime: QuestionAnswering

    def __init__(self, examples: Examples, options: Mapping[str, Any]) -> None:
        super().__init__(examples, options)
        self.options = options_from(AnsweringOptions, options, self.half.name)
        self.runtime = QuestionAnswering(
            no_answer=bool(examples.settings.get("no_answer", False)),
            align_to_words=bool(examples.settings.get("align_to_words", True)),
        )

    def config_changes(self) -> dict[str, Any]:
        return {"num_labels": 2}

    def split_group(self, item: Input) -> str | None:
        """Questions about one context stay together: else validation would be on contexts that were learnt."""
        return item[1]

    def gold(self, examples: Examples, encoded: Encoded) -> Ragged | None:
        """The windows' gold, by each question's first answer. The longest answers decide the setting `max_answer_len`."""
        if examples.gold is None:
            return self.unlabelled_gold(encoded)
        owners = range(len(encoded.rows)) if encoded.owners is None else encoded.owners.tolist()
        notes: Sequence[Window] = encoded.notes or ()
        places = [_tokens_of(window, examples.gold[owner]) for owner, window in zip(owners, notes, strict=True)]
        gold = np.array(places, dtype=np.int64).reshape(-1, 2)
        lengths = (gold[:, 1] - gold[:, 0] + 1)[gold[:, 0] > 0]
        needed = math.ceil(float(np.quantile(lengths, 0.99))) if len(lengths) else 0
        longest = self.options.max_answer_len or max(QuestionAnswering.max_answer_len, needed)
        self.settings["max_answer_len"] = longest
        self.runtime = replace(self.runtime, max_answer_len=longest)
        return Ragged(torch.from_numpy(gold))

    def unlabelled_gold(self, encoded: Encoded) -> Ragged | None:
        return Ragged(torch.full((len(encoded.rows), 2), IGNORED, dtype=torch.int64))

    def outputs(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], **asked: bool
    ) -> tuple[torch.Tensor, Any]:
        result = model(**inputs, **asked)
        logits = torch.stack([result.start_logits, result.end_logits], dim=-1).float()
        return logits[inputs["attention_mask"].bool()], result

    def loss(self, outputs: torch.Tensor, batch: Batch, label_smoothing: float) -> torch.Tensor:
        """The mean cross-entropy of the first and the last token, each over the tokens of its window."""
        if batch.gold is None or not bool((batch.gold != IGNORED).any()):
            return outputs.sum() * 0.0
        padded, mask = _padded(outputs, batch)
        logs = torch.log_softmax(padded, dim=1)
        has_gold = batch.gold[:, 0] != IGNORED
        losses = -logs.gather(1, batch.gold.clamp(min=0)[:, None, :])[:, 0]
        if label_smoothing:
            spread = -(logs * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            losses = (1 - label_smoothing) * losses + label_smoothing * spread
        return losses[has_gold].mean()

    def soft_loss(
        self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """T²·KL(teacher ‖ student) of softmax(z / T) over the tokens of each window, mean over windows and both ends."""
        student, teacher = (
            torch.log_softmax(_padded(values, batch)[0] / temperature, dim=1) for values in (outputs, teacher_outputs)
        )
        return (teacher.exp() * (teacher - student)).sum(1).mean() * temperature**2

    def aligned(self, theirs: Outputs, own: Encoded) -> NDArray[np.float32]:
        """The teacher's logits on the student's tokens at the same characters, where each context is one window for both.

        A beginning goes to the token that holds its first character, an end to the one with its last; tokens that
        get none are as unlikely as the teacher's least likely. Raises UsageError where there are several windows.
        """
        if not len(theirs.encoded.rows) == len(own.rows) == len(theirs.inputs):
            raise UsageError(
                "the teacher has another tokenizer, and some contexts are longer than a window: make the student of the "
                "teacher (leave --base out; --layers, --hidden and --vocabulary make it smaller), or raise --max-tokens"
            )
        starts = unit_starts(self.runtime.units(theirs.encoded), len(theirs.encoded.rows))
        parts = [
            _carried_over(theirs.values[starts[row] : starts[row + 1]], window, (own.notes or [])[row], len(ids))
            for row, (window, ids) in enumerate(zip(theirs.encoded.notes or (), own.rows, strict=True))
        ]
        return np.concatenate(parts)

    def metrics(
        self, outputs: Outputs, examples: Examples, teacher_values: NDArray[np.float32] | None
    ) -> dict[str, float]:
        return self._tuned(outputs, examples).metrics(outputs, examples)

    def tune(self, outputs: Outputs, examples: Examples) -> None:
        tuned = self._tuned(outputs, examples)
        if tuned is not self.runtime:
            self.runtime, self.settings["null_threshold"] = tuned, tuned.null_threshold

    def _tuned(self, outputs: Outputs, examples: Examples) -> QuestionAnswering:
        """The runtime half; with questions that have no answer, with the `null_threshold` of the best F1, as SQuAD 2.0's script finds
        it."""
        gold, runtime = examples.gold or (), self.runtime
        if not runtime.no_answer or all(gold) or not any(gold):
            return runtime
        found = runtime.candidates(
            outputs, top_k=1, max_answer_len=runtime.max_answer_len, align_to_words=runtime.align_to_words
        )
        right = [[text for _, _, text in answers] for answers in gold]
        best = [answers[0] if answers else None for answers, _ in found]
        threshold = best_threshold(
            [
                math.log(max(n, TINY)) - math.log(max(b["score"] if b else 0.0, TINY))
                for (_, n), b in zip(found, best, strict=True)
            ],
            [answer_score(b["answer"] if b else "", texts)[1] for b, texts in zip(best, right, strict=True)],
            [answer_score("", texts)[1] for texts in right],
        )
        return replace(runtime, null_threshold=threshold)


def _tokens_of(window: Window, answers: Gold) -> tuple[int, int]:
    """The first answer's first and last token in the window; the token for no answer where it is not, or not whole."""
    nothing = (0, 0) if window.null else (IGNORED, IGNORED)
    spans = window.spans
    if not answers or not len(spans):
        return nothing
    start, end, text = answers[0]
    start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
    if start < spans[0, 0] or end > spans[-1, 1]:
        return nothing
    first = int(np.searchsorted(spans[:, 1], start, side="right"))
    last = int(np.searchsorted(spans[:, 0], end, side="left")) - 1
    # Where the tokenizer drops the answer's characters there is nothing to learn.
    return (window.first + first, window.first + last) if first <= last else (IGNORED, IGNORED)


def _padded(outputs: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The flat units as `(rows, tokens, 2)`, very low where padded, and the mask."""
    mask = batch.inputs["attention_mask"].bool()
    padded = outputs.new_full((*mask.shape, 2), PADDING)
    padded[mask] = outputs
    return padded, mask


def _carried_over(values: Floats, theirs: Window, own: Window, tokens: int) -> Floats:
    """A teacher's `(its tokens, 2)` as `(tokens, 2)` of the student's row."""
    lines = np.full((tokens, 2), -np.inf, dtype=np.float32)
    if theirs.null and own.null:
        lines[0] = values[0]
    inside = values[theirs.first : theirs.first + len(theirs.spans)]
    if len(own.spans) and len(inside):
        first = np.searchsorted(own.spans[:, 1], theirs.spans[:, 0], side="right")
        last = np.searchsorted(own.spans[:, 0], theirs.spans[:, 1], side="left") - 1
        for column, place in enumerate((first, last)):
            place = own.first + np.clip(place, 0, len(own.spans) - 1)
            np.logaddexp.at(lines[:, column], place, inside[:, column])
    return np.where(np.isinf(lines), values.min(axis=0), lines).astype(np.float32)


TRAIN_TASK = TrainAnswering
