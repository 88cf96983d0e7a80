"""intent-slots in training: one head over every token, the intent learnt at the first, the slots at the words' first ones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tlx.runtime.errors import DataError, TrainingError
from tlx.runtime.examples import Examples
from tlx.runtime.tasks.joint import IntentSlots
from tlx.runtime.tasks.tagging import INTENT
from tlx.runtime.tasks.task import Encoded
from tlx.runtime.tasks.token_windows import SPECIAL
from tlx.train.batches import Batch, Ragged
from tlx.train.tasks.tagging import TrainTokens
from tlx.train.terms.labels import IGNORED, soft_cross_entropy

__all__ = ["TRAIN_TASK", "TrainIntentSlots"]


class TrainIntentSlots(TrainTokens):
    """Gold is the intent's column at the first token of each text, and the tag's column at the first token of each word."""

    half = IntentSlots
    probes = True
    tells_by_loss = True
    runtime: IntentSlots

    def __init__(self, examples: Examples, options: Mapping[str, Any]) -> None:
        super().__init__(examples, options)
        self.runtime = IntentSlots(labels=examples.labels)
        if len(self.runtime.intents) < 2 or not self.runtime.tag_set.prefixed:
            raise DataError(
                f"{examples.source} has {len(self.runtime.intents)} intents and "
                f"{len(self.runtime.tag_set.tags)} tags: wanted two intents or more, and slots (B-…)"
            )

    def _set_labels(self, labels: tuple[str, ...]) -> None:
        self.runtime = IntentSlots(labels=labels)

    def strata(self, gold: Any) -> Sequence[str]:
        return (gold[0],)

    def alike(self, gold: Any) -> Hashable | None:
        intent: str = gold[0]
        return intent

    def gold(self, examples: Examples, encoded: Encoded) -> Ragged | None:
        if examples.gold is None:
            return self.unlabelled_gold(encoded)
        found = self.tag_gold([words for _, words in examples.gold], encoded)
        first = len(self.runtime.intents)
        values = torch.where(found.values == IGNORED, IGNORED, found.values + first)
        index = {f"{INTENT}{intent}": column for column, intent in enumerate(self.runtime.intents)}
        starts = found.starts if found.starts is not None else np.zeros(1, dtype=np.int64)
        owners = np.arange(len(encoded.rows)) if encoded.owners is None else encoded.owners
        for row in np.flatnonzero(np.append(True, owners[1:] != owners[:-1])[: len(owners)]).tolist():
            if (encoded.notes or [])[row].offsets[0, 0] != SPECIAL:
                raise TrainingError(
                    "intent-slots reads the intent at a token before the text ([CLS], <s>), which this tokenizer "
                    "does not give: choose another --base"
                )
            values[starts[row]] = index.get(f"{INTENT}{examples.gold[owners[row]][0]}", IGNORED)
        return Ragged(values, found.starts)

    def loss(self, outputs: torch.Tensor, batch: Batch, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy of the intents, mean over the texts, plus that of the tags, mean over the words."""
        total, gold, first = outputs.sum() * 0.0, batch.gold, len(self.runtime.intents)
        if gold is None:
            return total
        intents, slots = (gold >= 0) & (gold < first), gold >= first
        if bool(intents.any()):
            total = total + F.cross_entropy(outputs[intents, :first], gold[intents], label_smoothing=label_smoothing)
        if bool(slots.any()):
            tags = gold[slots] - first
            total = total + F.cross_entropy(outputs[slots, first:], tags, label_smoothing=label_smoothing)
        return total

    def soft_loss(
        self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """T²·KL(teacher ‖ student) of the intents at the first tokens, plus that of the tags at all others."""
        lengths = batch.inputs["attention_mask"].sum(dim=1)
        head = torch.zeros(len(outputs), dtype=torch.bool, device=outputs.device)
        head[lengths.cumsum(0) - lengths] = True
        first = len(self.runtime.intents)
        total = soft_cross_entropy(outputs[head, :first], teacher_outputs[head, :first], temperature)
        if bool(head.all()):
            return total
        return total + soft_cross_entropy(outputs[~head, first:], teacher_outputs[~head, first:], temperature)

    def onward(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        first = len(self.runtime.intents)
        return np.concatenate([values[:, :first], super().onward(values[:, first:])], axis=1)


TRAIN_TASK = TrainIntentSlots
