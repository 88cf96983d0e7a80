"""How a long piece of work tells where it is: stages with a bar on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Advance", "Console"]

Advance = Callable[[int, str], None]
"""Called with how much more is done, and a note to show behind the bar."""


class Console:
    """Bars on stderr when it is a terminal, else a line for every tenth; nothing at all when `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def say(self, text: str) -> None:
        """One line on stderr."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def _lines(self, name: str, total: int) -> Advance:
        """A line for every tenth of the work, for logs."""
        done, told = 0, 0

        def advance(amount: int, note: str) -> None:
            nonlocal done, told
            done += amount
            if 10 * done // total > told:
                told = 10 * done // total
                self.say(f"{name} {10 * told} % {note}".rstrip())

        return advance

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Advance]:
        """A named piece of work of `total` units."""
        if self.quiet:
            yield lambda amount, note: None
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        screen = RichConsole(stderr=True)
        if not screen.is_terminal:
            yield self._lines(name, max(total, 1))
            return
        columns = (TextColumn("{task.description:<12}"), BarColumn(30), TextColumn("{task.percentage:>3.0f} %"))
        with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=screen) as bars:
            bar = bars.add_task(name, total=max(total, 1), note="")
            yield lambda amount, note: bars.update(bar, advance=amount, note=note)
