"""Every example of README.md and docs/ runs, in the order of its section, on data of a few rows under the example's names.

Commands run with the options of QUICK behind them, Python as it is written. What cannot run here is in SKIPPED with the
reason; an example that is neither fails.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.docs.example_files import EXAMPLE_FILES

from tlx.runtime.program import run

pytestmark = pytest.mark.filterwarnings("default")  # as for a user: tiny data makes tlx warn

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")))
BASE = ROOT / "models" / "tlx-mini-en"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

QUICK = {
    "train": "--set train.epochs=1 --set train.precision=fp32 --max-tokens 24 --quiet",
    "export": "--seconds 0 --max-drop 1 --rows 8 --threads 1",
    "bench": "--seconds 0.1 --threads 1",
}
FEW_TEXTS = " --augment 10"  # behind commands with a teacher, but for the task that makes no texts
SKIPPED = {
    "tlx train --resume --out models/intent": "goes on with a run that was killed: tests/train/test_train.py kills one",
}


class Section(NamedTuple):
    """The examples under one heading of a page: (language, text), in order."""

    page: str
    heading: str
    blocks: list[tuple[str, str]]


def sections() -> Iterator[Section]:
    for page in PAGES:
        for part in re.split(r"^## ", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE):
            if blocks := BLOCK.findall(part):
                yield Section(page, part.splitlines()[0].lstrip("# "), blocks)


def commands(text: str) -> list[list[str]]:
    """The words of each command, but of those in SKIPPED."""
    lines = [line for line in text.replace("\\\n", "").splitlines() if line.strip() not in SKIPPED]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def quickened(words: list[str]) -> list[str]:
    """A command's arguments, with those that make it quick."""
    assert words[0] == "tlx", f"no command of tlx, and not in SKIPPED: {shlex.join(words)}"
    quick = QUICK.get(words[1], "") + FEW_TEXTS * ("--teacher" in words and "feature-extraction" not in words)
    return [*words[1:], *quick.split()]


@pytest.mark.parametrize("section", list(sections()), ids=lambda section: f"{section.page}: {section.heading}")
def test_the_examples_run(section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models", BASE.name).symlink_to(BASE)
    Path("all-MiniLM-L6-v2").symlink_to(BASE)  # a sentence-transformers folder too
    for name, content in EXAMPLE_FILES[section.page, section.heading].items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content, encoding="utf-8")
    names: dict[str, object] = {}
    for language, text in section.blocks:
        if language == "toml":
            Path("recipe.toml").write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, f"{section.page}: {section.heading}", "exec"), names)
        else:
            assert language == "sh", (
                f"{section.page}: a block of {language or 'no language'}: wanted sh, python or toml"
            )
            for words in commands(text):
                assert run(quickened(words)) == 0, shlex.join(words)


def test_what_is_skipped_is_still_in_the_pages() -> None:
    text = "\n".join(block for section in sections() for _, block in section.blocks)
    assert [command for command in SKIPPED if command not in text.splitlines()] == []
