"""question-answering, extractive: windows over a context, the spans in them that answer a question, without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tlx.runtime.errors import DataError, UsageError
from tlx.runtime.folder import Manifest
from tlx.runtime.spelling import past_marks
from tlx.runtime.tasks.limits import Limits, at_most, is_count
from tlx.runtime.tasks.question_windows import Window, encode_windows
from tlx.runtime.tasks.task import Encoded, Floats, Input, Ints, Outputs, Task, unit_starts

if TYPE_CHECKING:
    from tlx.runtime.examples import Examples
    from tlx.runtime.tables import Source
    from tlx.runtime.tokens import Tokens

__all__ = ["TASK", "Answer", "QuestionAnswering"]

WINDOW, STRIDE = 384, 128
NO_SPANS = np.zeros((2, 0), dtype=np.int64)


class Answer(TypedDict):
    """`answer` is `context[start:end]`, characters; all of it empty where there is no answer."""

    score: float
    start: int
    end: int
    answer: str


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering(Task):
    """Answers are those of transformers.pipeline, an Answer for each question and context.

    Options of the call: `top_k` (1: an Answer, more: a list of them, best first), `max_answer_len` in tokens,
    `handle_impossible_answer` (whether "" may be the answer) and `align_to_words` (whether an answer is widened to whole
    words). Left out, the last three are the folder's, which training chose: 15, False and True where it says nothing.
    `max_seq_len` is how many tokens a window has, `doc_stride` how many of them the next one shares. `null_threshold` moves
    the choice between "" and the best answer: "" is chosen where ln(its score / the best score) is over it; at 0, where its
    score is greater, which is the pipeline's rule.

    A context that does not fit is read in windows of `max_tokens`. A question that would leave the windows little more
    than their overlap is cut, and counted as truncated (the pipeline's tokenizer panics where there is no more).
    """

    max_answer_len: int = 15
    no_answer: bool = False
    align_to_words: bool = True
    null_threshold: float = 0.0

    name = "question-answering"
    architecture = "QuestionAnswering"
    heads = ("start_logits", "end_logits")
    per_token = True
    truncation = "only_second"
    window = WINDOW
    neutral: ClassVar[Mapping[str, tuple[Any, ...] | None]] = {
        **Task.neutral,
        "max_question_len": None,  # the pipeline does not look at it either, with fast tokenizers
    }
    instead: ClassVar[Mapping[str, str]] = {"topk": "say top_k"}

    @property
    def main_metric(self) -> str:
        return "f1"

    @property
    def input_names(self) -> tuple[str, ...]:
        return ("question", "context")

    @property
    def width(self) -> int | None:
        return 2

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> QuestionAnswering:
        settings = manifest.settings
        return cls(
            max_answer_len=int(settings.get("max_answer_len", cls.max_answer_len)),
            no_answer=bool(settings.get("no_answer", False)),
            align_to_words=bool(settings.get("align_to_words", True)),
            null_threshold=float(settings.get("null_threshold", 0.0)),
        )

    @classmethod
    def recognises(cls, suffix: str, columns: Mapping[str, Any]) -> bool:
        from tlx.runtime.squad_files import ANSWER_NAMES, is_squad

        there = {name.lower() for name in columns}
        return is_squad(columns) or ({"question", "context"} <= there and not there.isdisjoint(ANSWER_NAMES))

    @classmethod
    def read(cls, source: Source, columns: Mapping[str, str], *, split: str = "train") -> Examples:
        """Questions with their contexts and answers, from SQuAD JSON or a table. An item of gold is `squad_files.Gold`.

        `columns` may hold "text" (the question), "text_pair" (the context) and "label" (the answers).
        """
        from tlx.runtime.examples import Examples
        from tlx.runtime.squad_files import answer_spans, read_questions

        table, rows = read_questions(source, columns, split=split)
        gold = answer_spans(rows, table.source)
        return Examples(
            source=table.source,
            inputs=[(row.question, row.context) for row in rows],
            gold=gold,
            settings={"no_answer": not all(gold), "align_to_words": _has_spaces([row.context for row in rows])},
            sha256=table.sha256,
        )

    def inputs_of(self, source: Source, columns: Mapping[str, str]) -> list[Input]:
        from tlx.runtime.squad_files import read_questions

        return [(row.question, row.context) for row in read_questions(source, columns, gold=False)[1]]

    @classmethod
    def limit_of(cls, path: Path) -> int | None:
        return WINDOW

    @property
    def usage(self) -> Sequence[str]:
        return ('model(question="Where does it rain?", context="It rains in Bergen, and seldom in Oslo.")',)

    def stride(self, max_tokens: int) -> int:
        return min(max_tokens // 2, STRIDE) if max_tokens >= 16 else 0

    def limited(  # type: ignore[override]  # its own keywords
        self, limits: Limits, *, max_seq_len: Any = None, doc_stride: Any = None
    ) -> Limits:
        """`max_seq_len`: the tokens of a window; `doc_stride`: those that windows share."""
        size, stride = limits.max_tokens, limits.stride
        if max_seq_len is not None:
            size = at_most("max_seq_len", max_seq_len, size)
            stride = self.stride(size)
        if doc_stride is not None:
            stride = at_most("doc_stride", doc_stride, size, least=0)
        return limits._replace(max_tokens=size, stride=stride)

    def encode(self, tokens: Tokens, inputs: Sequence[Input], *, parallel: bool = True) -> Encoded:
        return encode_windows(tokens, inputs, parallel=parallel)

    def collect(
        self, raw: Sequence[Floats], encoded: Encoded, rows: Ints, mask: NDArray[np.bool_] | NDArray[np.int64] | None
    ) -> Floats:
        return super().collect([np.stack(raw[:2], axis=-1)], encoded, rows, mask)

    def answers(
        self,
        outputs: Outputs,
        *,
        top_k: int = 1,
        max_answer_len: int | None = None,
        handle_impossible_answer: bool | None = None,
        align_to_words: bool | None = None,
    ) -> list[Answer] | list[list[Answer]]:
        longest = self.max_answer_len if max_answer_len is None else max_answer_len
        for name, value in (("top_k", top_k), ("max_answer_len", longest)):
            if not is_count(value):
                raise UsageError(f"{name} is {value!r}: wanted a whole number from 1")
        align = self.align_to_words if align_to_words is None else align_to_words
        nothing = self.no_answer if handle_impossible_answer is None else handle_impossible_answer
        ranked = [
            self._with_null(found, null)[:top_k] if nothing else found[:top_k]
            for found, null in self.candidates(outputs, top_k=top_k, max_answer_len=longest, align_to_words=align)
        ]
        if top_k > 1:
            return ranked
        return [found[0] if found else _null_answer(0.0) for found in ranked]

    def candidates(
        self, outputs: Outputs, *, top_k: int, max_answer_len: int, align_to_words: bool
    ) -> list[tuple[list[Answer], float]]:
        """For each input its answers, best first, and the score of there being none.

        As in transformers.pipeline: a span's score is p_start·p_end, softmaxes over the window's context and its first
        token; of each window the best 2·top_k + 10 spans count (top_k without alignment), spans of the same text add up, and
        the least score of no answer over the windows holds. Unlike there, a span takes in the combining marks behind it
        that no token has.
        """
        encoded, values = outputs.encoded, outputs.values
        starts = unit_starts(self.units(encoded), len(encoded.rows)).tolist()
        owners = range(len(encoded.rows)) if encoded.owners is None else encoded.owners.tolist()
        merged: list[dict[str, Answer]] = [{} for _ in outputs.inputs]
        nulls = [1.0] * len(outputs.inputs)
        count = 2 * top_k + 10 if align_to_words else top_k
        for row, (owner, window) in enumerate(zip(owners, encoded.notes or (), strict=True)):
            scores, spans, null = _best_spans(values[starts[row] : starts[row + 1]], window, count, max_answer_len)
            nulls[owner] = min(nulls[owner], null)
            context, found = outputs.inputs[owner][1], merged[owner]
            for score, start, end in zip(scores, *_characters(window, spans, align_to_words), strict=True):
                if not context.isascii():
                    end = past_marks(context, end, window.spans[:, 0])
                text = context[start:end]
                known = found.get(text.lower())
                if known is None:
                    found[text.lower()] = Answer(score=score, start=start, end=end, answer=text)
                else:
                    known["score"] += score
        return [
            (sorted(found.values(), key=lambda answer: -answer["score"]), null)
            for found, null in zip(merged, nulls, strict=True)
        ]

    def metrics(self, outputs: Outputs, examples: Examples) -> dict[str, float]:
        """exact_match and f1, 0 to 1, of the best answers (squad_scores); also for questions with and without an answer."""
        from tlx.runtime.squad_scores import answer_scores

        if examples.gold is None:
            raise DataError(f"{examples.source} has no answers: nothing to measure against")
        right = [[text for _, _, text in gold] for gold in examples.gold]
        return answer_scores(self._texts(outputs), right)

    def flips(self, outputs: Outputs, reference: Outputs) -> float:
        """The share of inputs whose best answer's text differs."""
        pairs = list(zip(self._texts(outputs), self._texts(reference), strict=True))
        return sum(own != other for own, other in pairs) / max(len(pairs), 1)

    def labels_of(self, gold: Any) -> Sequence[str]:
        return ()

    def golden(self, texts: Sequence[str]) -> list[Input]:
        """Neighbouring texts, the longer one as the context."""
        pairs = [(texts[i], texts[(i + 1) % len(texts)]) for i in range(len(texts))]
        return [(min(pair, key=len), max(pair, key=len)) for pair in pairs]

    def show(self, answer: Any) -> str:
        items = answer if isinstance(answer, list) else [answer]
        shown = (f"{' '.join(a['answer'].split()) or '(no answer)'} {a['score']:.4f}" for a in items)
        return ", ".join(shown) or "(nothing)"

    def _texts(self, outputs: Outputs) -> list[str]:
        return [answer["answer"] for answer in cast(list[Answer], self.answers(outputs))]

    def _with_null(self, found: list[Answer], null: float) -> list[Answer]:
        """The answers with "" among them, at its place."""
        weight = null * math.exp(-self.null_threshold)
        place = sum(answer["score"] >= weight for answer in found)
        return [*found[:place], _null_answer(null), *found[place:]]


def _null_answer(score: float) -> Answer:
    return Answer(score=score, start=0, end=0, answer="")


def _best_spans(logits: Floats, window: Window, count: int, max_answer_len: int) -> tuple[list[float], Ints, float]:
    """The scores of the window's `count` best spans, best first, the spans `(2, spans)` as first and last token of the
    context, and the score of no answer. `logits` is `(tokens, 2)`."""
    size = len(window.spans)
    inside = logits[window.first : window.first + size]
    if window.null:
        inside = np.concatenate([logits[:1], inside])
    if not len(inside):
        return [], NO_SPANS, 0.0
    exponentials = np.exp(inside - inside.max(axis=0))
    probabilities = exponentials / exponentials.sum(axis=0)
    null = float(probabilities[0, 0] * probabilities[0, 1]) if window.null else 0.0
    if not size:
        return [], NO_SPANS, null
    longest = min(max_answer_len, size)
    ends = np.full(size + longest - 1, -1.0, dtype=np.float32)
    ends[:size] = probabilities[-size:, 1]
    # scores[i, n] = p_start(i)·p_end(i + n); beyond the last token they are not positive.
    scores = (probabilities[-size:, 0, None] * sliding_window_view(ends, longest)).reshape(-1)
    best = np.argpartition(-scores, count)[:count] if count < len(scores) else np.arange(len(scores))
    best = best[np.argsort(-scores[best], kind="stable")]
    first, length = np.divmod(best, longest)
    last = first + length
    kept = last < size
    return scores[best[kept]].tolist(), np.stack([first[kept], last[kept]]), null


def _characters(window: Window, spans: Ints, align_to_words: bool) -> tuple[list[int], list[int]]:
    """Where each span begins and ends in the context: its tokens' characters, or their words' where both are in one."""
    first, last = spans
    start, end = window.spans[first, 0], window.spans[last, 1]
    if align_to_words:
        word_start, word_end = window.words[first, 0], window.words[last, 1]
        inside = (word_start >= 0) & (word_end >= 0)
        start, end = np.where(inside, word_start, start), np.where(inside, word_end, end)
    return start.tolist(), end.tolist()


def _has_spaces(contexts: Sequence[str]) -> bool:
    """Whether the contexts write spaces between words: else a tokenizer's word may be a whole clause."""
    sample = "".join(contexts[:: max(len(contexts) // 100, 1)])
    unspaced = sum("\u3040" <= c <= "\u30ff" or "\u3400" <= c <= "\u9fff" or "\u0e00" <= c <= "\u0eff" for c in sample)
    return unspaced < 0.2 * len(sample)


TASK: type[QuestionAnswering] = QuestionAnswering
