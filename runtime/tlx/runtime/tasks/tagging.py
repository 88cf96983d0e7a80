"""token-classification (entities, slots, parts of speech): data, answers and metrics, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from tlx.runtime.errors import DataError, FolderError, UsageError
from tlx.runtime.tasks.entities import STRATEGIES, Entity, Strategy, TagSet, TokenEntity, entities
from tlx.runtime.tasks.limits import Limits, at_most
from tlx.runtime.tasks.task import Encoded, Floats, Input, Outputs, Task
from tlx.runtime.tasks.token_windows import TextTokens, encode_windows, first_tokens, text_tokens

if TYPE_CHECKING:
    from tlx.runtime.examples import Examples
    from tlx.runtime.folder import Manifest
    from tlx.runtime.tables import Source
    from tlx.runtime.tagged import Words
    from tlx.runtime.tokens import Tokens

__all__ = ["INTENT", "TASK", "TokenClassification", "TokenTask"]

INTENT = "intent:"
"""What the labels of intents begin with, in models that give intent and slots (joint.py)."""
NO_TAG = "O"


class TokenTask(Task):
    """What tasks with a line of logits a token share: windows, and the tags of words.

    Gold of one example holds its words in order, (start, end, tag) characters each. The tag that a model gives a word is
    that of its first token; a word without any (control characters) has the tag O.
    """

    architecture = "TokenClassification"
    optimum_task = "token-classification"
    per_token = True
    window = 256
    open_labels = True
    neutral: ClassVar[Mapping[str, tuple[Any, ...] | None]] = {
        **Task.neutral,
        "is_split_into_words": (False,),
        "delimiter": (None,),
        "offset_mapping": (None,),
    }
    instead: ClassVar[Mapping[str, str]] = {
        "is_split_into_words": "join the words with spaces; start and end are characters of that text",
        "delimiter": "join the words yourself; start and end are characters of that text",
        "offset_mapping": "start and end are characters of your own text in any case",
        "grouped_entities": "say aggregation_strategy='simple'",
        "ignore_subwords": "say aggregation_strategy='first'",
    }

    @property
    def tag_set(self) -> TagSet:
        """The tags of words, in the order of their columns."""
        raise NotImplementedError

    def stride(self, max_tokens: int) -> int:
        """A quarter of a window is read twice, so that every token has context on both sides."""
        return max_tokens // 4

    def limited(self, limits: Limits, *, stride: Any = None) -> Limits:  # type: ignore[override]  # its own keywords
        """`stride`: the tokens that windows share."""
        return (
            limits if stride is None else limits._replace(stride=at_most("stride", stride, limits.max_tokens, least=0))
        )

    def encode(self, tokens: Tokens, inputs: Sequence[Input], *, parallel: bool = True) -> Encoded:
        return encode_windows(tokens, inputs, parallel=parallel)

    def inputs_of(self, source: Source, columns: Mapping[str, str]) -> list[Input]:
        """The texts of a file, tagged or not."""
        from tlx.runtime.tables import read_table
        from tlx.runtime.tagged import is_columns, joined_words, read_conll

        if is_columns(source):
            return list(read_conll(source, columns, every_row=True).texts)
        table = read_table(source)
        texts = joined_words(table, columns.get("text"))
        return super().inputs_of(table, columns) if texts is None else list(texts)

    def found_entities(
        self, values: Floats, tokens: TextTokens, outputs: Outputs, strategy: str | None, ignore_labels: Any
    ) -> list[list[Any]]:
        """Each input's entities. `values` are the lines of `tokens`, one column a tag. Raises UsageError for a wrong option."""
        if ignore_labels is None:
            ignore_labels = (NO_TAG,)
        if strategy is None:
            strategy = "simple" if self.tag_set.prefixed else "none"
        if strategy not in STRATEGIES:
            raise UsageError(f"aggregation_strategy is {strategy!r}: wanted one of {', '.join(STRATEGIES)}")
        if isinstance(ignore_labels, str) or not (
            isinstance(ignore_labels, Sequence) and all(isinstance(label, str) for label in ignore_labels)
        ):
            raise UsageError(f"ignore_labels is {ignore_labels!r}: wanted a list of labels, e.g. ['O']")
        notes = outputs.encoded.notes
        spelling = notes[0].spelling if notes else None
        chosen = cast(Strategy, strategy)
        return entities(values, tokens, outputs.inputs, spelling, self.tag_set, chosen, ignore_labels)

    def predicted_tags(self, values: Floats, tokens: TextTokens, words: Sequence[Words]) -> list[list[str]]:
        """The tag of each word of each input, `words` being those of the gold."""
        best = values.argmax(axis=1) if len(values) else np.zeros(0, dtype=np.int64)
        tags, onward = np.array([*self.tag_set.tags, NO_TAG], dtype=object), self.tag_set.goes_on
        found = []
        for a, b, row in zip(tokens.bounds, tokens.bounds[1:], words, strict=False):
            spans = np.array([word[:2] for word in row], dtype=np.int64).reshape(-1, 2)
            first, leads = first_tokens(spans, tokens.starts[a:b], tokens.ends[a:b])
            given = best[a:b][first] if b > a else np.zeros(len(row), dtype=np.int64)
            given = np.where(leads, given, onward[given])
            found.append(tags[np.where(first >= 0, given, -1)].tolist())
        return found


@dataclass(frozen=True, kw_only=True)
class TokenClassification(TokenTask):
    """Answers are those of transformers.pipeline: a list of entities, where they stand in the caller's own string.

    `aggregation_strategy`: "none" (each token with its tag), "simple", "first", "average" or "max". Left out it is "simple"
    where the tags have prefixes (B-PER, I-PER), else "none" (parts of speech); the pipeline's is always "none".
    `ignore_labels`: what is not told, ["O"] unless given. Long texts are read in overlapping windows (token_windows.py);
    `stride` says how many tokens they share.
    """

    labels: tuple[str, ...]

    name = "token-classification"
    many_answers = "entities"

    @property
    def main_metric(self) -> str:
        return "f1" if self.tag_set.prefixed else "accuracy"

    @property
    def usage(self) -> Sequence[str]:
        return (*super().usage, 'model(["one text", "another"], aggregation_strategy="first")   # whole words')

    @cached_property
    def tag_set(self) -> TagSet:
        return TagSet(self.labels)

    @classmethod
    def recognises(cls, suffix: str, columns: Mapping[str, Any]) -> bool:
        from tlx.runtime.column_files import COLUMNS
        from tlx.runtime.tagged import holds_tags

        return suffix in COLUMNS or holds_tags(columns)

    @classmethod
    def made(cls, architectures: Sequence[str], config: Mapping[str, Any]) -> bool:
        return super().made(architectures, config) and not any(
            str(label).startswith(INTENT) for label in (config.get("id2label") or {}).values()
        )

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> TokenClassification:
        if len(manifest.labels) < 2:
            raise FolderError(f"the manifest has {len(manifest.labels)} labels: wanted two tags or more")
        return cls(labels=manifest.labels)

    @classmethod
    def read(cls, source: Source, columns: Mapping[str, str], *, split: str = "train") -> Examples:
        """Texts, and as gold their words with tags. `columns` may hold "text" (or tokens) and "label" (tags or spans).

        Raises DataError naming file and line.
        """
        from tlx.runtime.examples import Examples
        from tlx.runtime.tagged import ordered_tags, read_tagged

        found = read_tagged(source, columns, split=split)
        labels = ordered_tags(found.words)
        return Examples(source=found.source, inputs=found.texts, gold=found.words, labels=labels, sha256=found.sha256)

    def labels_of(self, gold: Any) -> Sequence[str]:
        return [tag for _, _, tag in gold]

    def answers(
        self,
        outputs: Outputs,
        *,
        aggregation_strategy: str | None = None,
        ignore_labels: Sequence[str] | None = None,
    ) -> list[list[Entity]] | list[list[TokenEntity]]:
        """One list of entities for each input. Raises UsageError for a wrong option."""
        tokens = text_tokens(outputs)
        return self.found_entities(outputs.values[tokens.units], tokens, outputs, aggregation_strategy, ignore_labels)

    def metrics(self, outputs: Outputs, examples: Examples) -> dict[str, float]:
        """f1, precision and recall of spans (seqeval's), and the accuracy of words; accuracy alone for tags without prefixes.

        A tag of the gold that the model does not know counts as an error.
        """
        if examples.gold is None:
            raise DataError(f"{examples.source} has no tags: nothing to measure against")
        tokens = text_tokens(outputs)
        predicted = self.predicted_tags(outputs.values[tokens.units], tokens, examples.gold)
        return tag_metrics([[tag for _, _, tag in row] for row in examples.gold], predicted, self.tag_set)

    def flips(self, outputs: Outputs, reference: Outputs) -> float:
        """The share of inputs in which the tag of some token differs."""
        tokens = text_tokens(outputs)
        return float(flipped(tokens, outputs.values[tokens.units], reference.values[tokens.units]).mean())


def tag_metrics(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], tag_set: TagSet) -> dict[str, float]:
    """The span scores, where tags have prefixes, and the share of words whose tag is right."""
    from tlx.runtime.span_metrics import span_scores

    pairs = [pair for theirs, ours in zip(gold, predicted, strict=True) for pair in zip(theirs, ours, strict=True)]
    accuracy = sum(wanted == found for wanted, found in pairs) / len(pairs) if pairs else 0.0
    return {**(span_scores(gold, predicted) if tag_set.prefixed else {}), "accuracy": accuracy}


def flipped(tokens: TextTokens, values: Floats, reference: Floats) -> Any:
    """Whether some token's best column differs, `(texts,)` bool; both `(tokens, columns)`."""
    differs = values.argmax(axis=1) != reference.argmax(axis=1) if len(values) else np.zeros(0, dtype=np.bool_)
    before = np.concatenate([[0], np.cumsum(differs)])
    return before[tokens.bounds[1:]] > before[tokens.bounds[:-1]]


TASK: type[TokenClassification] = TokenClassification
