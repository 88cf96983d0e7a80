"""fill-mask: the tokens that fit a text's masks, and how well a model guesses the tokens of plain text; without torch.

An input is one of two things:

- a `str` that holds the tokenizer's mask token, as an app gives it: "paris is the [MASK] of france";
- a text to be scored, `(text,)`, as examples hold it: each of its rows has a share of its tokens masked. Which ones is told by
  the row's own ids, so that every model with that tokenizer is asked the same, in whatever order the texts come.

Only masked tokens have values. For an app they are the logits over the vocabulary; for a text that is scored, three numbers
are enough (`masking.scored_lines`), so that a large evaluation file fits into memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.errors import DataError, FolderError, UsageError
from tlx.runtime.tasks.limits import Limits, is_count
from tlx.runtime.tasks.masking import (
    IGNORED,
    Masks,
    best_of_lines,
    mask_windows,
    sampled_row,
    scored_lines,
    special_ids,
)
from tlx.runtime.tasks.task import Encoded, Floats, Input, Ints, Outputs, Task, unit_starts

if TYPE_CHECKING:
    from pathlib import Path

    from tlx.runtime.examples import Examples
    from tlx.runtime.folder import Manifest
    from tlx.runtime.tables import Source
    from tlx.runtime.tokens import Tokens

__all__ = ["TASK", "Fill", "FillMask"]


class Fill(TypedDict):
    """One token for a mask: its probability, its id, its text, and the whole text with it."""

    score: float
    token: int
    token_str: str
    sequence: str


@dataclass(frozen=True, kw_only=True)
class FillMask(Task):
    """Answers are those of transformers.pipeline("fill-mask"): the `top_k` (5) likeliest tokens of each mask, best first.

    One mask gives a list of Fill, several give a list for each. `targets`, a word or several, limits the answer to these
    tokens; a word that is no token stands for its first piece, with a warning. A text that is longer than the model is read in
    a window around its masks, or in several where they are far apart; `sequence` is then the window's text.
    """

    mask_token: str
    clean_up_spaces: bool = False

    name = "fill-mask"
    architecture = "MaskedLM"
    many_answers = "fills"
    inputs_at_once = 256
    instead: ClassVar[Mapping[str, str]] = {"topk": "say top_k"}

    @property
    def main_metric(self) -> str:
        return "token_accuracy"

    @property
    def usage(self) -> Sequence[str]:
        return (f'model("a text with a {self.mask_token} in it", top_k=3)',)

    @property
    def wanted(self) -> str:
        return f"str with the mask token {self.mask_token}"

    @classmethod
    def recognises(cls, suffix: str, columns: Mapping[str, Any]) -> bool:
        return suffix == ".txt"

    @classmethod
    def settings_of(cls, config: Mapping[str, Any], path: Path) -> dict[str, Any]:
        import json

        told: dict[str, Any] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (path / name).is_file():
                told |= json.loads((path / name).read_text(encoding="utf-8"))
        mask = told.get("mask_token")
        return {
            "mask_token": mask.get("content") if isinstance(mask, dict) else mask,
            "clean_up_spaces": bool(told.get("clean_up_tokenization_spaces", False)),
        }

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> FillMask:
        mask = manifest.settings.get("mask_token")
        if not isinstance(mask, str) or not mask:
            raise FolderError("the model's tokenizer names no mask token: it cannot fill masks")
        return cls(mask_token=mask, clean_up_spaces=bool(manifest.settings.get("clean_up_spaces", False)))

    @classmethod
    def read(cls, source: Source, columns: Mapping[str, str], *, split: str = "train") -> Examples:
        """Plain texts, to be scored: the lines of a .txt, or the text column of another file. Blank ones are left out."""
        from tlx.runtime.columns import TEXT_NAMES, pick_column
        from tlx.runtime.examples import Examples
        from tlx.runtime.tables import is_missing, read_table

        if columns.get("label") is not None:
            raise UsageError(
                f"{source} is read as plain text for fill-mask, where --label {columns['label']} names nothing: leave it out, or name "
                "the --task; a table in a .txt is one as .tsv or .csv"
            )
        table = read_table(source, split=split)
        column = pick_column(table, "text", TEXT_NAMES, columns.get("text"))
        there = [not is_missing(value) for value in table.columns[column]]
        if not any(there):
            raise DataError(f"{table.source}: column {column!r} holds no text: wanted at least one")
        table = table.kept(there, "have no text")
        texts: list[Input] = []
        for row, value in enumerate(table.columns[column]):
            if not isinstance(value, str):
                raise DataError(f"{table.where(row)}: column {column!r} holds a {type(value).__name__}: wanted a text")
            texts.append((value,))
        return Examples(source=table.source, inputs=texts, sha256=table.sha256)

    def take(self, item: Any) -> Input:
        if isinstance(item, tuple) and len(item) == 1 and isinstance(item[0], str):
            return item
        found = super().take(item)
        if self.mask_token not in found:
            raise UsageError(f"{found[:60]!r} has no mask token: write {self.mask_token} where a word is wanted")
        return found

    def golden(self, texts: Sequence[str]) -> list[Input]:
        return [f"{self.mask_token} {text}" for text in texts]

    def asked(self, inputs: Sequence[Input]) -> Sequence[Input]:
        """Texts without a mask get one before their first word."""
        texts = [item if isinstance(item, str) else item[0] for item in inputs]
        return [text if self.mask_token in text else f"{self.mask_token} {text}" for text in texts]

    def limited(self, limits: Limits, *, tokenizer_kwargs: Any = None) -> Limits:  # type: ignore[override]
        """`tokenizer_kwargs` may hold truncation, max_length (the tokens of a window) and padding, as in the pipeline."""
        if not isinstance(tokenizer_kwargs, (Mapping, NoneType)):
            raise UsageError(f"tokenizer_kwargs is {tokenizer_kwargs!r}: wanted a dict, e.g. {{'max_length': 64}}")
        asked = dict(tokenizer_kwargs or {})
        asked.pop("padding", None)
        strange = sorted(set(asked) - {"truncation", "max_length"})
        if strange:
            raise UsageError(f"tokenizer_kwargs holds {strange[0]!r}: it may hold truncation, max_length and padding")
        return super().limited(limits, **asked)

    def encode(self, tokens: Tokens, inputs: Sequence[Input], *, parallel: bool = True) -> Encoded:
        """Rows with their masks as notes. Raises UsageError for a text of an app without a mask token."""
        mask = self._mask_id(tokens)
        scored = bool(inputs) and not isinstance(inputs[0], str)
        if any(isinstance(item, str) == scored for item in inputs):
            raise UsageError("texts with masks and texts to score are mixed: ask for them apart")
        texts = [item if isinstance(item, str) else item[0] for item in inputs]
        never = special_ids(tokens.tokenizer) if scored else np.zeros(0, dtype=np.int64)
        rows: list[Ints] = []
        notes: list[Masks] = []
        owners: list[int] = []
        truncated = 0
        for owner, encoding in enumerate(tokens.encodings(texts, parallel=parallel, offsets=False)):
            if scored:
                parts = [np.array(part.ids, dtype=np.int64) for part in (encoding, *encoding.overflowing)]
                found = [sampled_row(ids, tokens, mask, never) for ids in parts if len(ids)]
            elif encoding.overflowing:
                found = mask_windows(encoding, tokens, mask)
                truncated += 1
            else:
                ids = np.array(encoding.ids, dtype=np.int64)
                found = [(ids, Masks(tokens, np.flatnonzero(ids == mask), None))]
            if not scored and not any(len(note.at) for _, note in found):
                raise UsageError(
                    f"{texts[owner][:60]!r} has no mask token: write {self.mask_token} where a word is wanted"
                )
            rows += [ids for ids, _ in found]
            notes += [note for _, note in found]
            owners += [owner] * len(found)
        single = len(rows) == len(inputs)
        return Encoded(rows, None, None if single else np.array(owners, dtype=np.int64), notes, truncated)

    def _mask_id(self, tokens: Tokens) -> int:
        found = tokens.tokenizer.token_to_id(self.mask_token)
        if found is None:
            raise FolderError(f"the tokenizer has no token {self.mask_token}, which the manifest names as its mask")
        return int(found)

    def units(self, encoded: Encoded) -> Ints | None:
        return np.array([len(note.at) for note in encoded.notes or ()], dtype=np.int64)

    def collect(
        self, raw: Sequence[Floats], encoded: Encoded, rows: Ints, mask: NDArray[np.bool_] | NDArray[np.int64] | None
    ) -> Floats:
        notes: list[Masks] = [(encoded.notes or [])[row] for row in rows]
        lines = np.repeat(np.arange(len(notes)), [len(note.at) for note in notes])
        logits: Floats = raw[0][lines, np.concatenate([note.at for note in notes])]
        gold = [note.gold for note in notes if note.gold is not None]
        return scored_lines(logits, np.concatenate(gold)) if gold else logits

    def answers(self, outputs: Outputs, *, top_k: int = 5, targets: str | Sequence[str] | None = None) -> list[Any]:
        """One answer for each input. Raises UsageError for a wrong option, and for a text that was only scored."""
        if not is_count(top_k):
            raise UsageError(f"top_k is {top_k!r}: wanted a whole number from 1")
        words = [targets] if isinstance(targets, str) else targets
        if words is not None and (not len(words) or not all(isinstance(word, str) for word in words)):
            raise UsageError(f"targets is {targets!r}: wanted a word or a list of words")
        notes: list[Masks] = outputs.encoded.notes or []
        if not notes:
            return []
        if notes[0].gold is not None:
            raise UsageError(f"a text to be scored has no answer: give {self.wanted}")
        chosen = None if words is None else _target_ids(notes[0].tokens, words)
        scores, ids = _best(outputs.values, top_k, chosen)
        owners = outputs.encoded.owners
        owner_of = np.arange(len(notes)) if owners is None else owners
        starts = unit_starts(self.units(outputs.encoded), len(notes))
        counts = np.bincount(owner_of, weights=np.diff(starts), minlength=len(outputs.inputs))
        answers: list[list[list[Fill]]] = [[] for _ in outputs.inputs]
        for row, note in enumerate(notes):
            for unit, at in zip(range(starts[row], starts[row + 1]), note.at.tolist(), strict=True):
                owner = int(owner_of[row])
                fills = self._fills(outputs.encoded.rows[row], note.tokens, at, ids[unit], counts[owner] == 1)
                for fill, score in zip(fills, scores[unit].tolist(), strict=True):
                    fill["score"] = score
                answers[owner].append(fills)
        return [answer[0] if len(answer) == 1 else answer for answer in answers]

    def _fills(self, row: Ints, tokens: Tokens, at: int, ids: Ints, alone: bool) -> list[Fill]:
        """As the pipeline writes it: special tokens are left out where there is one mask, else the others would go."""
        fills: list[Fill] = []
        for token in ids.tolist():
            filled = row.copy()
            filled[at] = token
            kept = filled if tokens.pad_id is None else filled[filled != tokens.pad_id]
            sequence = self._text(tokens, kept.tolist(), skip_special_tokens=alone)
            word = self._text(tokens, [token], skip_special_tokens=False)
            fills.append({"score": 0.0, "token": token, "token_str": word, "sequence": sequence})
        return fills

    def _text(self, tokens: Tokens, ids: list[int], *, skip_special_tokens: bool) -> str:
        text: str = tokens.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        return _clean(text) if self.clean_up_spaces else text

    def metrics(self, outputs: Outputs, examples: Examples) -> dict[str, float]:
        """token_accuracy, the share of the masked tokens that the model names first; log_likelihood, the mean of
        log p(token); pseudo_perplexity, e to minus that. (Salazar et al. 2019, arXiv:1910.14659, mask one token at a time; here
        a text's share goes at once.)
        """
        gold, values = _gold(outputs), outputs.values
        there = gold != IGNORED
        if not there.any():
            raise DataError(f"{examples.source} has no token to mask: wanted plain text")
        likelihood = float(values[there, 0].mean(dtype=np.float64))
        return {
            "token_accuracy": float(np.mean(best_of_lines(values)[there] == gold[there])),
            "log_likelihood": likelihood,
            "pseudo_perplexity": float(np.exp(min(-likelihood, 80.0))),
        }

    def flips(self, outputs: Outputs, reference: Outputs) -> float:
        """The share of masked tokens for which another token is named first."""
        if not len(outputs.values):
            return 0.0
        if _scores(outputs):
            return float(np.mean(best_of_lines(outputs.values) != best_of_lines(reference.values)))
        return float(np.mean(outputs.values.argmax(axis=1) != reference.values.argmax(axis=1)))

    def show(self, answer: Any) -> str:
        masks = answer if answer and isinstance(answer[0], list) else [answer]
        shown = (", ".join(f"{fill['token_str'].strip()} {fill['score']:.4f}" for fill in fills) for fills in masks)
        return " | ".join(shown)


def _target_ids(tokens: Tokens, words: Sequence[str]) -> Ints:
    """The ids of the words; the first piece of one that is no token. Raises UsageError when none gives any."""
    found: list[int] = []
    for word in words:
        index = tokens.tokenizer.token_to_id(word)
        if index is None:
            pieces = tokens.tokenizer.encode(word, add_special_tokens=False).ids
            if not pieces:
                warnings.warn(f"the target {word!r} gives no token: it is left out", UserWarning, stacklevel=4)
                continue
            index = pieces[0]
            piece = tokens.tokenizer.id_to_token(index)
            warnings.warn(f"the target {word!r} is no token: {piece!r} stands for it", UserWarning, stacklevel=4)
        found.append(int(index))
    if not found:
        raise UsageError(f"targets is {list(words)!r}: no word gives a token; name words of the vocabulary")
    return np.array(sorted(set(found)), dtype=np.int64)


def _best(logits: Floats, top_k: int, chosen: Ints | None) -> tuple[Floats, Ints]:
    """The probabilities over the whole vocabulary and the ids of the best tokens (of `chosen`), `(units, k)`, best first."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    if chosen is not None:
        scores = scores[:, chosen]
    k = min(top_k, scores.shape[1])
    near = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
    near = np.take_along_axis(
        near, np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1, kind="stable"), axis=1
    )
    best: Floats = np.take_along_axis(scores, near, axis=1)
    return best, near if chosen is None else chosen[near]


def _scores(outputs: Outputs) -> bool:
    return bool(outputs.encoded.notes) and (outputs.encoded.notes or [])[0].gold is not None


def _gold(outputs: Outputs) -> Ints:
    gold = [note.gold for note in outputs.encoded.notes or () if note.gold is not None]
    return np.concatenate(gold) if gold else np.zeros(0, dtype=np.int64)


def _clean(text: str) -> str:
    """As transformers' clean_up_tokenization."""
    for mark in (".", "?", "!", ","):
        text = text.replace(f" {mark}", mark)
    text = text.replace(" ' ", "'")
    for ending in ("n't", "'m", "'s", "'ve", "'re"):
        text = text.replace(f" {ending}", ending)
    return text


TASK: type[FillMask] = FillMask
