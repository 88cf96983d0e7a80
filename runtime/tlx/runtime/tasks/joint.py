"""intent-slots: what a text asks for and the slots that it fills, both from one run of one model.

The model is an ordinary token classifier. Its labels are the intents ("intent:PlayMusic") and behind them the slots' tags
("O", "B-artist", …): the intent is read at the first token ([CLS] or <s>) over the intents' columns, the slots at the words'
tokens over the tags' columns, each with a softmax of its own. So there is one graph with one output: every family that
Optimum exports for token-classification works, and ORTModelForTokenClassification loads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from tlx.runtime.errors import DataError, FolderError
from tlx.runtime.tasks.entities import Entity, TagSet
from tlx.runtime.tasks.tagging import INTENT, TokenTask, flipped, tag_metrics
from tlx.runtime.tasks.task import Floats, Outputs, unit_starts
from tlx.runtime.tasks.token_windows import text_tokens

if TYPE_CHECKING:
    from tlx.runtime.examples import Examples
    from tlx.runtime.folder import Manifest
    from tlx.runtime.tables import Source

__all__ = ["TASK", "IntentSlots", "IntentSlotsAnswer"]


class Intent(TypedDict):
    """The best intent with its probability."""

    label: str
    score: float


class IntentSlotsAnswer(TypedDict):
    """Both answers for one text; slots are entities as token-classification gives them."""

    intent: Intent
    slots: list[Entity]


@dataclass(frozen=True, kw_only=True)
class IntentSlots(TokenTask):
    """Gold of one example is (intent, words). Options are token-classification's, and are about the slots."""

    labels: tuple[str, ...]

    name = "intent-slots"

    @property
    def main_metric(self) -> str:
        return "exact"

    @property
    def usage(self) -> Sequence[str]:
        return ('model("a text")   # {"intent": {"label", "score"}, "slots": [{"entity_group", "start", "end", …}]}',)

    @cached_property
    def intents(self) -> tuple[str, ...]:
        """Their names, in the order of their columns, which are the first."""
        return tuple(label.removeprefix(INTENT) for label in self.labels if label.startswith(INTENT))

    @cached_property
    def tag_set(self) -> TagSet:
        return TagSet(self.labels[len(self.intents) :])

    @classmethod
    def recognises(cls, suffix: str, columns: Mapping[str, Any]) -> bool:
        from tlx.runtime.tagged import holds_tags

        return any(name.lower() == "intent" for name in columns) and holds_tags(columns)

    @classmethod
    def made(cls, architectures: Sequence[str], config: Mapping[str, Any]) -> bool:
        labels = (config.get("id2label") or {}).values()
        return super().made(architectures, config) and any(str(label).startswith(INTENT) for label in labels)

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> IntentSlots:
        task = cls(labels=manifest.labels)
        ordered = all(label.startswith(INTENT) for label in manifest.labels[: len(task.intents)])
        if len(task.intents) < 2 or not task.tag_set.tags or not ordered:
            raise FolderError(
                f"the manifest has {len(task.intents)} intents and {len(task.tag_set.tags)} tags: wanted two intents or "
                f"more, each label beginning with {INTENT!r}, and behind them the tags"
            )
        return task

    @classmethod
    def read(cls, source: Source, columns: Mapping[str, str], *, split: str = "train") -> Examples:
        """Texts with intents from a table, words with slots from the .conll file of the same name beside it, row for row.

        A table with tokens and tags, or with spans, has both itself. Raises DataError naming file and row.
        """
        from tlx.runtime.examples import Examples
        from tlx.runtime.tagged import ordered_tags
        from tlx.runtime.tagged_intents import read_intents_and_slots

        found = read_intents_and_slots(source, columns, split=split)
        intents = tuple(f"{INTENT}{name}" for name in sorted(set(found.intents)))
        return Examples(
            source=found.source,
            inputs=found.texts,
            gold=list(zip(found.intents, found.words, strict=True)),
            labels=intents + ordered_tags(found.words),
            sha256=found.sha256,
        )

    def labels_of(self, gold: Any) -> Sequence[str]:
        intent, words = gold
        return [f"{INTENT}{intent}", *(tag for _, _, tag in words)]

    def answers(
        self,
        outputs: Outputs,
        *,
        aggregation_strategy: str | None = None,
        ignore_labels: Sequence[str] | None = None,
    ) -> list[IntentSlotsAnswer]:
        """Both answers for each input. Raises UsageError for a wrong option."""
        tokens = text_tokens(outputs)
        values = outputs.values[tokens.units, len(self.intents) :]
        slots = self.found_entities(values, tokens, outputs, aggregation_strategy, ignore_labels)
        logits = self.intent_logits(outputs)
        best = logits.argmax(axis=1).tolist()
        scores = 1.0 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
        return [
            {"intent": {"label": self.intents[i], "score": score}, "slots": found}
            for i, score, found in zip(best, scores.tolist(), slots, strict=True)
        ]

    def intent_logits(self, outputs: Outputs) -> Floats:
        """`(inputs, intents)`, from the first token of each input's first row."""
        encoded = outputs.encoded
        starts = unit_starts(self.units(encoded), len(encoded.rows))[:-1]
        if encoded.owners is not None:
            starts = starts[np.searchsorted(encoded.owners, np.arange(len(outputs.inputs)))]
        logits: Floats = outputs.values[starts, : len(self.intents)]
        return logits

    def metrics(self, outputs: Outputs, examples: Examples) -> dict[str, float]:
        """exact (intent and all tags of an input right), intent_accuracy, and the slots' f1, precision, recall and accuracy."""
        if examples.gold is None:
            raise DataError(f"{examples.source} has no intents and slots: nothing to measure against")
        words = [words for _, words in examples.gold]
        tokens = text_tokens(outputs)
        predicted = self.predicted_tags(outputs.values[tokens.units, len(self.intents) :], tokens, words)
        tags = [[tag for _, _, tag in row] for row in words]
        best = self.intent_logits(outputs).argmax(axis=1).tolist()
        right = [self.intents[i] == intent for i, (intent, _) in zip(best, examples.gold, strict=True)]
        both = [intent and theirs == ours for intent, theirs, ours in zip(right, tags, predicted, strict=True)]
        slots = tag_metrics(tags, predicted, self.tag_set)
        return {
            "exact": float(np.mean(both)),
            "intent_accuracy": float(np.mean(right)),
            **{f"slot_{name}": value for name, value in slots.items()},
        }

    def flips(self, outputs: Outputs, reference: Outputs) -> float:
        """The share of inputs whose intent, or the tag of some token, differs."""
        tokens, first = text_tokens(outputs), len(self.intents)
        slots = flipped(tokens, outputs.values[tokens.units, first:], reference.values[tokens.units, first:])
        best, other = (self.intent_logits(item).argmax(axis=1) for item in (outputs, reference))
        return float(np.mean(slots | (best != other)))

    def show(self, answer: Any) -> str:
        slots = super().show(answer["slots"])
        return f"{answer['intent']['label']} {answer['intent']['score']:.4f}: {slots}"


TASK: type[IntentSlots] = IntentSlots
