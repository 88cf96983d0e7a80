"""Token by token over texts of any length: windows that overlap, and every token read where it has most context.

transformers.pipeline truncates long texts, or with a stride answers each window and merges what overlaps. Here a token's
values come from the one window in which its nearer edge is farthest away (an end of the text is no edge), and answers are
made of the whole text's tokens at once: no span is cut at a window's border.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.tasks.task import Encoded, Input, Ints, Outputs

if TYPE_CHECKING:
    from tlx.runtime.spelling import Spelling
    from tlx.runtime.tokens import Tokens

__all__ = ["TextTokens", "Window", "encode_windows", "first_tokens", "text_tokens"]

SPECIAL = -1
FAR = 1 << 40


class Window(NamedTuple):
    """One row's note: the characters of each token, `(tokens, 2)` int32, -1 for special ones."""

    offsets: NDArray[np.int32]
    stride: int
    spelling: Spelling


class TextTokens(NamedTuple):
    """The tokens of texts, one text after another, without special ones; all `(tokens,)` but `bounds`, `(texts + 1,)`.

    `units` are their lines of values, `numbers` their places in the row (or what would be the row without windows).
    Text i has the tokens from `bounds[i]` to `bounds[i + 1]`.
    """

    units: Ints
    ids: Ints
    starts: Ints
    ends: Ints
    numbers: Ints
    bounds: Ints


def encode_windows(tokens: Tokens, texts: Sequence[Input], *, parallel: bool) -> Encoded:
    """One row a text, or several that overlap by the tokens' stride, with a Window each as its note."""
    rows: list[Ints] = []
    notes: list[Window] = []
    owners: list[int] = []
    spelling, stride = tokens.spelling, tokens.stride
    for owner, first in enumerate(tokens.encodings(texts, parallel=parallel)):
        for encoding in (first, *first.overflowing) if first.overflowing else (first,):
            ids = encoding.ids
            count = len(ids)
            offsets = np.fromiter(chain.from_iterable(encoding.offsets), dtype=np.int32, count=2 * count)
            offsets = offsets.reshape(count, 2)
            offsets[np.fromiter(encoding.special_tokens_mask, dtype=np.bool_, count=count)] = SPECIAL
            if not count:
                ids, offsets = [tokens.pad_id or 0], np.full((1, 2), SPECIAL, dtype=np.int32)
            rows.append(np.array(ids, dtype=np.int64))
            notes.append(Window(offsets, stride, spelling))
            owners.append(owner)
    several = len(rows) != len(texts)
    return Encoded(rows, owners=np.array(owners, dtype=np.int64) if several else None, notes=notes)


def text_tokens(outputs: Outputs) -> TextTokens:
    """The texts' tokens, each once."""
    encoded = outputs.encoded
    notes: Sequence[Window] = encoded.notes or ()
    if not notes:
        nothing = np.zeros(0, dtype=np.int64)
        bounds = np.zeros(len(outputs.inputs) + 1, dtype=np.int64)
        return TextTokens(nothing, nothing, nothing, nothing, nothing, bounds)
    if len(notes) == 1:
        offsets, ids = notes[0].offsets, encoded.rows[0]
        units = np.flatnonzero(offsets[:, 0] >= 0)
        kept = offsets[units].astype(np.int64)
        return TextTokens(units, ids[units], kept[:, 0], kept[:, 1], units, np.array([0, len(units)]))
    offsets = np.concatenate([note.offsets for note in notes])
    units = np.flatnonzero(offsets[:, 0] >= 0)
    lengths = np.fromiter((len(note.offsets) for note in notes), dtype=np.int64, count=len(notes))
    begins = np.cumsum(lengths) - lengths
    row = np.repeat(np.arange(len(notes)), lengths)[units]
    numbers = units - begins[row]
    if encoded.owners is not None:
        chosen, numbers = _best_windows(encoded.owners, notes[0].stride, row, numbers)
        units, row = units[chosen], row[chosen]
    owner = row if encoded.owners is None else encoded.owners[row]
    bounds = np.searchsorted(owner, np.arange(len(outputs.inputs) + 1))
    kept = offsets[units].astype(np.int64)
    ids = np.concatenate(encoded.rows)[units]
    return TextTokens(units, ids, kept[:, 0], kept[:, 1], numbers, bounds.astype(np.int64))


def _best_windows(owners: Ints, stride: int, row: Ints, numbers: Ints) -> tuple[Ints, Ints]:
    """(which of the tokens stay, in the order of the texts; their numbers as if each text were one row).

    `owners` are the texts of the rows; `row` and `numbers` belong to the tokens.
    """
    first_of = np.searchsorted(owners, owners)  # each row's text's first row
    window = np.arange(len(owners)) - first_of
    last = np.append(owners[1:] != owners[:-1], True)
    content = np.bincount(row, minlength=len(owners))
    behind = np.cumsum(content) - content
    rank = np.arange(len(row)) - behind[row]  # the token's place among its row's
    step = content[first_of] - stride
    place = window[row] * step[row] + rank
    left = np.where(window[row] == 0, FAR, rank)
    right = np.where(last[row], FAR, content[row] - 1 - rank)
    order = np.lexsort((window[row], -np.minimum(left, right), place, owners[row]))
    ordered_place, ordered_owner = place[order], owners[row][order]
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = (ordered_place[1:] != ordered_place[:-1]) | (ordered_owner[1:] != ordered_owner[:-1])
    chosen = order[fresh]
    return chosen, (place + numbers - rank)[chosen]


def first_tokens(words: Ints, starts: Ints, ends: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Each word's first token, -1 where none touches it, and whether that token belongs to no word before.

    `words` is `(words, 2)`, characters in order; `starts` and `ends` are those of the text's tokens, in order. Offsets may
    take in white space before a word.
    """
    if not len(starts) or not len(words):
        return np.full(len(words), -1, dtype=np.int64), np.zeros(len(words), dtype=np.bool_)
    token = np.searchsorted(np.maximum.accumulate(ends), words[:, 0], side="right")
    inside = np.minimum(token, len(starts) - 1)
    touches = (token < len(starts)) & (starts[inside] < words[:, 1])
    found = np.where(touches, inside, -1)
    leads = touches.copy()
    leads[1:] &= found[1:] != found[:-1]
    return found, leads
