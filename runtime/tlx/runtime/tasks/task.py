"""What every task's torch-free half offers to the predictor, to evaluation, to export and to training.

The way from inputs to answers, which every task walks:

    inputs ──encode──▶ rows of token ids ──model──▶ raw outputs ──collect──▶ values ──answers──▶ answers
                                                                                    ──metrics──▶ figures

An input is a str, or a tuple of str (a pair of sentences, a question and its context). Most inputs give one row; a long
one may give several overlapping windows. Values are one line for each row (classification, embeddings), or where the
task is `per_token` one for each token (tagging, answering).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.errors import UsageError
from tlx.runtime.tasks.limits import Limits, at_most, truncation_of

if TYPE_CHECKING:
    from tlx.runtime.examples import Examples
    from tlx.runtime.folder import Manifest
    from tlx.runtime.tables import Source
    from tlx.runtime.tokens import Tokens

__all__ = ["Encoded", "Floats", "Input", "Outputs", "Task", "join_outputs", "unit_index", "unit_starts"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Input = str | tuple[str, ...]


class Encoded(NamedTuple):
    """Inputs as rows of token ids, `(tokens,)` int64 each.

    `types` are the rows' token_type_ids (None: all 0). `owners[r]` is the input that row r belongs to, ascending (None: row r
    is input r). `notes` is what the task keeps for decoding, one a row. `truncated` inputs lost their end.
    """

    rows: list[Ints]
    types: list[Ints] | None = None
    owners: Ints | None = None
    notes: list[Any] | None = None
    truncated: int = 0


class Outputs(NamedTuple):
    """What a model gave for `inputs`: `values` is `(units, width)` float32, the rows' units one after another."""

    inputs: Sequence[Input]
    encoded: Encoded
    values: Floats


class Task(ABC):
    """One task, without torch. A subclass is a frozen value made from a manifest's labels and settings."""

    name: ClassVar[str]
    architecture: ClassVar[str]
    """The end of transformers' class names: AutoModelFor<architecture>; "" stands for AutoModel."""
    optimum_task: ClassVar[str | None] = None
    """What Optimum calls the export, where that is not `name`."""
    heads: ClassVar[tuple[str, ...]] = ("logits",)
    """The model outputs that are read, by their names in ONNX and in transformers."""
    per_token: ClassVar[bool] = False
    """Whether a row has one line of values a token; else it has one."""
    truncation: ClassVar[str] = "longest_first"
    """Which of a pair is cut: tokenizers' names, longest_first or only_second."""
    window: ClassVar[int | None] = None
    """Tokens of a window, where long inputs are read in several."""
    unread_weights: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the names of weights that the task does not use: a model may lack them."""
    many_answers: ClassVar[str] = "answers"
    """What a record of `tlx predict` calls a list of answers."""
    inputs_at_once: ClassVar[int | None] = None
    """The most inputs whose values are in memory together, where a task's values are wide."""
    open_labels: ClassVar[bool] = False
    """Whether data to measure on may hold labels that the model does not know: each counts as an error."""
    neutral: ClassVar[Mapping[str, tuple[Any, ...] | None]] = {"batch_size": None, "num_workers": None, "padding": None}
    """Keywords of transformers.pipeline, or of sentence-transformers, that change no answer here: with which values (None:
    with any)."""
    instead: ClassVar[Mapping[str, str]] = {}
    """Keywords of theirs that are refused: what to do instead."""
    labels: tuple[str, ...] = ()

    @classmethod
    @abstractmethod
    def from_manifest(cls, manifest: Manifest) -> Task: ...

    @classmethod
    @abstractmethod
    def read(cls, source: Source, columns: Mapping[str, str], *, split: str = "train") -> Examples:
        """Typed examples with gold from a file; `columns` overrides guessed columns (`{"text": …, "label": …}`).

        Raises DataError naming file and line.
        """

    @classmethod
    def read_beside(cls, source: Source, columns: Mapping[str, str], examples: Examples, *, split: str) -> Examples:
        """As `read`, for rows of the same form as `examples`, which training learns from."""
        return cls.read(source, columns, split=split)

    def examples_of(self, source: Source, columns: Mapping[str, str], *, split: str = "test") -> Examples:
        """As `read`, for a trained model to be measured on."""
        return self.read(source, columns, split=split)

    @classmethod
    def recognises(cls, suffix: str, columns: Mapping[str, Any]) -> bool:
        """Whether a file looks like data for this task: its suffix (column_files.file_format), and its columns with a value
        each (Table.sample)."""
        return False

    @classmethod
    def made(cls, architectures: Sequence[str], config: Mapping[str, Any]) -> bool:
        """Whether a plain transformers checkpoint (its config.json) is a model for this task."""
        return any(name.endswith(f"For{cls.architecture}") for name in architectures)

    @classmethod
    def settings_of(cls, config: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """The manifest's settings for such a checkpoint, which lies in `path`."""
        return {}

    @classmethod
    def limit_of(cls, path: Path) -> int | None:
        """The most tokens that files of this task's kind in such a checkpoint allow; None where they say nothing."""
        return None

    @property
    @abstractmethod
    def main_metric(self) -> str:
        """The metric that training selects by and export verifies; greater is better."""

    def main_of(self, metrics: Mapping[str, float]) -> str:
        """The main one of these metrics, where it depends on the data which there are."""
        return self.main_metric

    def guarded(self, metrics: Mapping[str, float]) -> Sequence[str]:
        """The metrics of which none may drop when a model is converted, the main one of these first."""
        return (self.main_of(metrics),)

    @property
    def input_names(self) -> tuple[str, ...]:
        """What the parts of an input are called in records and files."""
        return ("text",)

    @property
    def width(self) -> int | None:
        """Columns of the model's outputs, where the labels tell."""
        return len(self.labels) or None

    @property
    def usage(self) -> Sequence[str]:
        """Lines of Python for the model card, `model` being the loaded folder."""
        given = ", ".join(f"{name}='…'" for name in self.input_names) if len(self.input_names) > 1 else '"a text"'
        return (f"model({given})",)

    @property
    def command_options(self) -> Mapping[str, Any]:
        """Options that `tlx predict` gives where nothing is said."""
        return {}

    def stride(self, max_tokens: int) -> int:
        """Tokens by which the windows of a long input overlap; 0 where the task truncates."""
        return 0

    def limits(self, max_tokens: int) -> Limits:
        """How inputs are cut where the call says nothing."""
        return Limits(max_tokens, self.stride(max_tokens), self.truncation)

    def limited(self, limits: Limits, *, truncation: Any = None, max_length: Any = None) -> Limits:
        """The limits that a call's keywords ask for: those of the peers that say how an input is cut.

        Raises UsageError for a wrong value.
        """
        if truncation is not None:
            limits = limits._replace(truncation=truncation_of(truncation, len(self.input_names), self.truncation))
        if max_length is not None:
            limits = limits._replace(max_tokens=at_most("max_length", max_length, limits.max_tokens))
        return limits

    def understood(self, keywords: Mapping[str, Any], limits: Limits) -> tuple[Limits, dict[str, Any]]:
        """What the keywords of a call say: how inputs are cut, and the options of `answers`.

        They are the keyword-only parameters of `limited` and of `answers`, and those that are `neutral`. Raises UsageError for
        another, naming what is there instead.
        """
        cuts, options = _keywords(self.limited), _keywords(self.answers)
        for name, value in keywords.items():
            if name not in cuts and name not in options and not self._changes_nothing(name, value):
                there = self.instead.get(name) or f"it has {', '.join([*options, *cuts]) or 'none'}"
                raise UsageError(f"{self.name} has no option {name!r}: {there}")
        asked = {name: value for name, value in keywords.items() if name in cuts}
        limits = self.limited(limits, **asked) if asked else limits
        return limits, {name: value for name, value in keywords.items() if name in options}

    def _changes_nothing(self, name: str, value: Any) -> bool:
        values = self.neutral.get(name, ())
        return values is None or value in values

    def take(self, item: Any) -> Input:
        """The caller's item as an input. Raises UsageError saying what was wanted."""
        names = self.input_names
        parts = tuple(item.get(name) for name in names) if isinstance(item, Mapping) else item
        if len(names) == 1:
            if isinstance(item, Mapping):
                strange = [name for name in item if name not in names]
                if strange:
                    raise UsageError(
                        f"found {strange[0]!r}: this model reads {names[0]!r} alone (one that reads pairs is trained or "
                        "exported with data of pairs)"
                    )
                (parts,) = parts
            if isinstance(parts, str):
                return parts
            raise UsageError(f"found a {type(parts).__name__}: wanted {self.wanted}")
        if isinstance(parts, (tuple, list)) and len(parts) == len(names) and all(isinstance(p, str) for p in parts):
            return tuple(parts)
        raise UsageError(f"found {_shown(item)}: wanted {self.wanted}")

    @property
    def wanted(self) -> str:
        """What one input is, for messages."""
        names = self.input_names
        if len(names) == 1:
            return "str"
        return f"a tuple ({', '.join(names)}) of str or a dict with {' and '.join(map(repr, names))}"

    def inputs_of(self, source: Source, columns: Mapping[str, str]) -> list[Input]:
        """The inputs of a file whose gold, if any, does not matter. Raises DataError naming file and line."""
        from tlx.runtime.columns import read_inputs
        from tlx.runtime.tables import read_table

        return read_inputs(read_table(source, split="test"), columns, self.input_names)

    def encode(self, tokens: Tokens, inputs: Sequence[Input], *, parallel: bool = True) -> Encoded:
        """Rows of token ids. `parallel` lets the tokenizer use its own threads."""
        if len(self.input_names) > 1:
            return tokens.encode_pairs(inputs, parallel=parallel)
        rows, truncated = tokens.encode_many(inputs, parallel=parallel)  # type: ignore[arg-type]
        return Encoded(rows, truncated=truncated)

    def units(self, encoded: Encoded) -> Ints | None:
        """How many lines of values each row has, `(rows,)`; None: one each."""
        if not self.per_token:
            return None
        return np.fromiter(map(len, encoded.rows), dtype=np.int64, count=len(encoded.rows))

    def collect(
        self, raw: Sequence[Floats], encoded: Encoded, rows: Ints, mask: NDArray[np.bool_] | NDArray[np.int64] | None
    ) -> Floats:
        """The units of a batch, `(units, width)`, from its raw outputs (in the order of `heads`).

        `rows` are the batch's rows of `encoded`; `mask`, `(rows, tokens)`, is 0 where padded, None where nothing is.
        """
        if not self.per_token:
            return raw[0]
        return raw[0].reshape(-1, raw[0].shape[-1]) if mask is None else raw[0][mask.astype(np.bool_)]

    @abstractmethod
    def answers(self, outputs: Outputs, /, *_: Any, **options: Any) -> Sequence[Any]:
        """One answer for each input, in the shapes of transformers.pipeline. The keyword-only parameters of a task's own are
        its options. Raises UsageError for a wrong value."""

    def answer(self, outputs: Outputs, **options: Any) -> Any:
        """The answer for one input, in the shape that transformers.pipeline gives for one."""
        return self.answers(outputs, **options)[0]

    def joined(self, parts: Sequence[Any]) -> Any:
        """The answers of several `answers` as one call gives them."""
        return [answer for part in parts for answer in part]

    @abstractmethod
    def metrics(self, outputs: Outputs, examples: Examples) -> dict[str, float]:
        """The task's metrics; `main_metric` is among them."""

    @abstractmethod
    def flips(self, outputs: Outputs, reference: Outputs) -> float:
        """The share of inputs whose answer differs between the two, which are of the same inputs."""

    def calibrated(self, outputs: Outputs) -> dict[str, Any]:
        """Settings for the manifest that torch's outputs on the evaluation data tell."""
        return {}

    def labels_of(self, gold: Any) -> Sequence[str]:
        """The labels that one item of gold holds."""
        return (gold,) if isinstance(gold, str) else gold

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises UsageError for a wrong value of an option of `answers`, before anything runs."""
        nothing = np.zeros((0, self.width or 1), dtype=np.float32)
        self.answers(Outputs([], Encoded([]), nothing), **options)

    def golden(self, texts: Sequence[str]) -> list[Input]:
        """Inputs made of plain texts, for folders to carry and replay."""
        parts = len(self.input_names)
        if parts == 1:
            return list(texts)
        return [tuple(texts[(i + k) % len(texts)] for k in range(parts)) for i in range(len(texts))]

    def asked(self, inputs: Sequence[Input]) -> Sequence[Input]:
        """The inputs of examples as an app would give them, to be timed and replayed."""
        return inputs

    def record(self, item: Input, answer: Any) -> dict[str, Any]:
        """One JSON-able line of `tlx predict`: the input's parts and the answer."""
        parts = dict(zip(self.input_names, (item,) if isinstance(item, str) else item, strict=True))
        return {**parts, **answer} if isinstance(answer, dict) else {**parts, self.many_answers: answer}

    def show(self, answer: Any) -> str:
        """The answer on one line of a terminal."""
        items = answer if isinstance(answer, list) else [answer]
        return ", ".join(" ".join(_cell(value) for value in item.values()) for item in items) or "(nothing)"


def unit_starts(units: Ints | None, rows: int) -> Ints:
    """Where each row's units begin, `(rows + 1,)`."""
    if units is None:
        return np.arange(rows + 1, dtype=np.int64)
    starts = np.zeros(rows + 1, dtype=np.int64)
    np.cumsum(units, out=starts[1:])
    return starts


def unit_index(starts: Ints, rows: Ints) -> Ints:
    """The numbers of the units of `rows`, in that order; `starts` is that of `unit_starts`."""
    counts = starts[rows + 1] - starts[rows]
    before = np.cumsum(counts) - counts
    return np.repeat(starts[rows] - before, counts) + np.arange(int(counts.sum()), dtype=np.int64)


def join_outputs(parts: Sequence[Outputs], width: int | None) -> Outputs:
    """Several outputs as one, in order."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Outputs([], Encoded([]), np.zeros((0, width or 1), dtype=np.float32))
    inputs: list[Input] = []
    rows: list[Ints] = []
    owners: list[Ints] = []
    types: list[Ints] = []
    notes: list[Any] = []
    for part in parts:
        encoded = part.encoded
        own = np.arange(len(encoded.rows), dtype=np.int64) if encoded.owners is None else encoded.owners
        owners.append(own + len(inputs))
        inputs += part.inputs
        rows += encoded.rows
        types += encoded.types or []
        notes += encoded.notes or []
    joined = Encoded(
        rows,
        None if parts[0].encoded.types is None else types,
        np.concatenate(owners) if any(part.encoded.owners is not None for part in parts) else None,
        None if parts[0].encoded.notes is None else notes,
        sum(part.encoded.truncated for part in parts),
    )
    return Outputs(inputs, joined, np.concatenate([part.values for part in parts]))


def _keywords(method: Callable[..., Any]) -> Mapping[str, Any]:
    """The method's keyword-only parameters with their defaults."""
    return method.__kwdefaults__ or {}


def _shown(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _cell(value: Any) -> str:
    if value is None:
        return "(none)"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
