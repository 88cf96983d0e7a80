"""Masks in rows of token ids: which tokens of a text are masked, windows around masks, and what is kept of a model's guess."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlx.runtime.tasks.task import Floats, Ints

if TYPE_CHECKING:
    from tlx.runtime.tokens import Tokens

__all__ = ["IGNORED", "MASKED", "Masks", "best_of_lines", "mask_windows", "sampled_row", "scored_lines", "special_ids"]

MASKED = 0.15  # the share of a scored text's tokens that are masked (Devlin et al. 2018, arXiv:1810.04805)
IGNORED = -100
SMALL = 2.0**-34  # scales token ids below the size of any difference that matters, without loss


class Masks(NamedTuple):
    """The note of a row: where its masks are, `(masks,)`, and where the row is scored the ids that stood there
    (IGNORED where the text itself held a mask token)."""

    tokens: Tokens
    at: Ints
    gold: Ints | None


def special_ids(tokenizer: Any) -> Ints:
    """The ids of special tokens, the unknown token among them, ascending: they are never masked."""
    added = tokenizer.get_added_tokens_decoder()
    found = {int(index) for index, token in added.items() if token.special}
    unknown = getattr(tokenizer.model, "unk_token", None)
    index = tokenizer.token_to_id(unknown) if unknown else None
    return np.array(sorted(found | ({index} if index is not None else set())), dtype=np.int64)


def sampled_row(ids: Ints, tokens: Tokens, mask: int, never: Ints) -> tuple[Ints, Masks]:
    """The row with MASKED of its tokens (at least one) replaced by the mask, the same ones for the same row."""
    free = np.flatnonzero(~np.isin(ids, never))
    count = max(round(MASKED * len(free)), 1)
    chosen = np.random.default_rng(zlib.crc32(ids.tobytes())).permutation(free)[:count]
    row, gold = ids.copy(), np.where(ids == mask, IGNORED, ids)
    row[chosen] = mask
    at = np.flatnonzero(row == mask)
    return row, Masks(tokens, at, gold[at])


def mask_windows(encoding: Any, tokens: Tokens, mask: int) -> list[tuple[Ints, Masks]]:
    """Rows of at most `max_tokens` that hold a long text's masks: its beginning where they all lie there, as the pipeline
    truncates, else windows with masks in their middle."""
    parts = [encoding, *encoding.overflowing]
    if (tokens.tokenizer.truncation or {}).get("direction") == "left":
        parts.reverse()
    special = np.array(encoding.special_tokens_mask, dtype=np.bool_)
    inside = np.flatnonzero(~special)
    first, behind = int(inside[0]), len(special) - 1 - int(inside[-1])
    begin, end = encoding.ids[:first], encoding.ids[len(special) - behind :]
    body = np.concatenate([np.array(part.ids[first : len(part.ids) - behind], dtype=np.int64) for part in parts])
    room = tokens.max_tokens - first - behind
    found = []
    masks = np.flatnonzero(body == mask)
    while len(masks):
        group = masks[masks < room] if masks[-1] < room else masks[masks - masks[0] < room]
        middle = (int(group[0]) + int(group[-1]) + 1) // 2 - room // 2
        start = 0 if masks[-1] < room else min(max(middle, 0), len(body) - room)
        row = np.array([*begin, *body[start : start + room], *end], dtype=np.int64)
        found.append((row, Masks(tokens, group - start + first, None)))
        masks = masks[len(group) :]
    return found


def scored_lines(logits: Floats, gold: Ints) -> Floats:
    """`(units, 3)`: log p of the gold token (0 where IGNORED), log p of the likeliest token, and that token's id · 2⁻³⁴.

    The id is scaled so that it is exact, and yet no difference between two models' lines.
    """
    top = logits.max(axis=1) if len(logits) else np.zeros(0, dtype=np.float32)
    spread = np.log(np.exp(logits - top[:, None]).sum(axis=1))
    told = np.take_along_axis(logits, np.maximum(gold, 0)[:, None], axis=1)[:, 0] - top - spread
    lines = [np.where(gold == IGNORED, 0.0, told), -spread, logits.argmax(axis=1) * SMALL]
    return np.stack(lines, axis=1).astype(np.float32)


def best_of_lines(values: Floats) -> Ints:
    """The ids in scored lines."""
    best: Ints = np.rint(values[:, 2] / SMALL).astype(np.int64)
    return best
