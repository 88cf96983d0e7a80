"""How inputs are cut into rows of token ids, and what a call's keywords say of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tlx.runtime.errors import UsageError

__all__ = ["Limits", "at_most", "is_count", "truncation_of"]

STRATEGIES = ("longest_first", "only_first", "only_second")


class Limits(NamedTuple):
    """Rows of at most `max_tokens`, special tokens included; the windows of a long input share `stride` tokens, and without
    windows `truncation` tells which of a pair is cut (tokenizers' names: longest_first, only_first, only_second)."""

    max_tokens: int
    stride: int
    truncation: str


def at_most(name: str, value: Any, most: int, *, least: int = 1) -> int:
    """The value of a keyword that counts tokens. Raises UsageError for what is no number from `least` to `most`."""
    if not is_count(value, least):
        raise UsageError(f"{name} is {value!r}: wanted a whole number from {least}")
    if value > most:
        raise UsageError(f"{name} is {value}: the model reads {most} tokens; choose at most that, or leave it out")
    return int(value)


def is_count(value: Any, least: int = 1) -> bool:
    """Whether it is a whole number, Python's or numpy's, of `least` or more."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= least


def truncation_of(value: Any, texts: int, own: str) -> str:
    """What the pipelines' keyword `truncation` asks for, where an input has so many `texts`; True is the task's `own`.

    Raises UsageError for False: what is longer than the model is always cut.
    """
    if value is True or value == own or (texts == 1 and value == "only_first"):
        return own
    if texts > 1 and value in STRATEGIES:
        return str(value)
    names = ", ".join(map(repr, STRATEGIES)) if texts > 1 else "'only_first'"
    raise UsageError(
        f"truncation is {value!r}: wanted True or {names}; what is longer than the model is always cut, and `truncated` "
        "counts it"
    )
