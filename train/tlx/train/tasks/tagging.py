"""token-classification in training: a head over every token, cross-entropy at each word's first one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tlx.runtime.errors import DataError
from tlx.runtime.evaluate import warn_of_unknown_labels
from tlx.runtime.examples import Examples
from tlx.runtime.tasks.entities import TagSet
from tlx.runtime.tasks.tagging import TokenClassification, TokenTask
from tlx.runtime.tasks.task import Encoded, Outputs, unit_starts
from tlx.runtime.tasks.token_windows import SPECIAL, first_tokens, text_tokens
from tlx.train.batches import Batch, Ragged
from tlx.train.tasks.classification import label_config
from tlx.train.tasks.task import TrainTask
from tlx.train.terms.labels import IGNORED, soft_cross_entropy

__all__ = ["TRAIN_TASK", "TrainTagging", "TrainTokens"]

Ints = NDArray[np.int64]
NEVER = 10.0  # how far below the rest a logit is that must not be chosen


class TrainTokens(TrainTask):
    """What tasks with a line of logits a token share. Gold is one tag a token, `(units,)` int64, IGNORED but for the first
    token of each word."""

    small_students = True
    runtime: TokenTask

    def config_changes(self) -> dict[str, Any]:
        return label_config(self.labels)

    def check_examples(self, examples: Examples) -> None:
        warn_of_unknown_labels(self.runtime, examples)

    def outputs(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], **asked: bool
    ) -> tuple[torch.Tensor, Any]:
        result = model(**inputs, **asked)
        return result.logits.float()[inputs["attention_mask"].bool()], result

    def tag_gold(self, words: Sequence[Any], encoded: Encoded) -> Ragged:
        """The index of each token's tag; `words` holds the words of each input."""
        starts = unit_starts(self.runtime.units(encoded), len(encoded.rows))
        gold = np.full(int(starts[-1]), IGNORED, dtype=np.int64)
        index = {tag: i for i, tag in enumerate(self.runtime.tag_set.tags)}
        owners = range(len(encoded.rows)) if encoded.owners is None else encoded.owners.tolist()
        before = -1
        for row, owner in enumerate(owners):
            spans = np.array([word[:2] for word in words[owner]], dtype=np.int64).reshape(-1, 2)
            tags = np.array([index.get(tag, IGNORED) for _, _, tag in words[owner]], dtype=np.int64)
            offsets = (encoded.notes or [])[row].offsets.astype(np.int64)
            kept = np.flatnonzero(offsets[:, 0] != SPECIAL)
            if owner == before and len(kept):  # a later window may begin inside a word
                inside = spans[:, 0] >= offsets[kept[0], 0]
                spans, tags = spans[inside], tags[inside]
            token, leads = first_tokens(spans, offsets[kept, 0], offsets[kept, 1])
            gold[starts[row] + kept[token[leads]]] = tags[leads]
            before = owner
        return Ragged(torch.from_numpy(gold), starts)

    def unlabelled_gold(self, encoded: Encoded) -> Ragged | None:
        starts = unit_starts(self.runtime.units(encoded), len(encoded.rows))
        return Ragged(torch.full((int(starts[-1]),), IGNORED, dtype=torch.int64), starts)

    def aligned(self, theirs: Outputs, own: Encoded) -> NDArray[np.float32]:
        """Each of the student's tokens learns from the teacher's token at the same characters.

        Where the student cuts one of the teacher's tokens in pieces, the pieces after the first are to go on with its
        span: what the teacher gave to B-PER they learn as I-PER. Special tokens learn from the first or last of the text.
        """
        tokens = text_tokens(theirs)
        values = theirs.values[tokens.units]
        rows = unit_starts(self.runtime.units(theirs.encoded), len(theirs.encoded.rows))
        owners = _owners(theirs.encoded)
        parts = []
        for row, owner in enumerate(_owners(own).tolist()):
            offsets = (own.notes or [])[row].offsets.astype(np.int64)
            a, b = tokens.bounds[owner], tokens.bounds[owner + 1]
            first, last = np.searchsorted(owners, [owner, owner + 1])
            special = offsets[:, 0] == SPECIAL
            edges = theirs.values[[rows[first], rows[last] - 1]]
            lines = edges[(np.arange(len(offsets)) > 0).astype(np.int64)]
            if b > a and not special.all():
                place = offsets[~special, 0]
                there = np.searchsorted(tokens.starts[a:b], place, side="right") - 1
                there = np.maximum(there, 0)
                learnt = values[a:b][there]
                begins = _after_space(str(theirs.inputs[owner]), tokens.starts[a:b])[there]
                piece = (place > begins) & (place < tokens.ends[a:b][there])
                learnt[piece] = self.onward(learnt[piece])
                lines[~special] = learnt
            parts.append(lines)
        return np.concatenate(parts).astype(np.float32)

    def onward(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits for a token that goes on with the word of the one that `values` were given to."""
        return _onward(values, self.runtime.tag_set)

    def loss(self, outputs: torch.Tensor, batch: Batch, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy with smoothing, mean over the words."""
        if batch.gold is None or not bool((batch.gold != IGNORED).any()):
            return outputs.sum() * 0.0
        return F.cross_entropy(outputs, batch.gold, ignore_index=IGNORED, label_smoothing=label_smoothing)

    def soft_loss(
        self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """T²·KL(teacher ‖ student), mean over all tokens: answers are made of every one."""
        return soft_cross_entropy(outputs, teacher_outputs, temperature)


def _after_space(text: str, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first visible character of each token: SentencePiece may count the space before a word among its characters."""
    visible = np.flatnonzero([not character.isspace() for character in text])
    return visible[np.minimum(np.searchsorted(visible, starts), len(visible) - 1)] if len(visible) else starts


class TrainTagging(TrainTokens):
    """Entities, slots or parts of speech."""

    half = TokenClassification
    probes = True
    tells_by_loss = True
    runtime: TokenClassification

    def __init__(self, examples: Examples, options: Mapping[str, Any]) -> None:
        super().__init__(examples, options)
        if len(examples.labels) < 2:
            raise DataError(f"{examples.source} has only the tag {''.join(examples.labels)!r}: wanted two or more")
        self.runtime = TokenClassification(labels=examples.labels)

    def _set_labels(self, labels: tuple[str, ...]) -> None:
        self.runtime = TokenClassification(labels=labels)

    def strata(self, gold: Any) -> Sequence[str]:
        """The types of spans in the text; parts of speech are everywhere."""
        if not self.runtime.tag_set.prefixed:
            return ()
        return sorted({tag[2:] for _, _, tag in gold if tag != "O"})

    def alike(self, gold: Any) -> Hashable | None:
        return None

    def gold(self, examples: Examples, encoded: Encoded) -> Ragged | None:
        return self.unlabelled_gold(encoded) if examples.gold is None else self.tag_gold(examples.gold, encoded)


def _owners(encoded: Encoded) -> Ints:
    return np.arange(len(encoded.rows)) if encoded.owners is None else encoded.owners


def _onward(values: NDArray[np.float32], tag_set: TagSet) -> NDArray[np.float32]:
    """What was B- is I- from here on."""
    found = values.copy()
    lowest = values.min(axis=1) - NEVER if len(values) else values[:, 0]
    for tag, onward in enumerate(tag_set.goes_on.tolist()):
        if onward != tag:
            found[:, onward] = np.logaddexp(values[:, onward], values[:, tag])
            found[:, tag] = lowest
    return found


TRAIN_TASK = TrainTagging
