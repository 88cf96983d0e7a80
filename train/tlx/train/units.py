"""Texts as sequences of units, and back: words, or characters in scripts that write no spaces between words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["Units"]

_UNSPACED = (
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
"""Kana, Chinese characters, Thai, Lao, Burmese, Khmer."""
_PUNCTUATION = "\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
_MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u17b4-\u17d3\u3099\u309a"
"""Vowel signs and tones that stand on the character before them."""
_UNIT = re.compile(rf"[{_UNSPACED}{_PUNCTUATION}][{_MARKS}]*|[^\s{_UNSPACED}{_PUNCTUATION}]+")
_CHARACTER = re.compile(rf"[{_UNSPACED}{_PUNCTUATION}]")
_SEGMENTED = 2.5
"""Characters between spaces, on average, up to which the spaces separate words (Chinese segmented beforehand: 1.7)."""
_CORE = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)


class Units:
    """How a set of texts is written: with or without spaces, with or without a capital at the beginning."""

    def __init__(self, texts: Sequence[str]) -> None:
        runs = [n for text in texts for word in text.split() if (n := len(_CHARACTER.findall(word)))]
        self._by_character = sum(runs) > _SEGMENTED * len(runs)
        letters = [text.lstrip()[0] for text in texts if text.strip() and text.lstrip()[0].isalpha()]
        self._capital = sum(letter.isupper() for letter in letters) > 0.8 * len(letters) > 0
        self._inside = {word for text in texts for word in text.split()[1:]} if self._capital else set()

    def split(self, text: str) -> list[str]:
        """The text's units. Never empty for a text that holds more than white space."""
        units = _UNIT.findall(text) if self._by_character else text.split()
        if self._capital and units and units[0].lower() in self._inside:
            units[0] = units[0].lower()
        return units

    def join(self, units: Sequence[str]) -> str:
        """A text of the units: no space beside a character that needs none, a capital first where that is the rule."""
        if self._by_character:
            text = self._join_characters(units)
        else:
            text = " ".join(units)
        if self._capital and text[:1].islower():
            text = text[0].upper() + text[1:]
        return text

    def _join_characters(self, units: Sequence[str]) -> str:
        parts: list[str] = []
        spaced = False
        for unit in units:
            needs = _CHARACTER.match(unit) is None
            if needs and spaced:
                parts.append(" ")
            parts.append(unit)
            spaced = needs
        return "".join(parts)

    def words(self, texts: Sequence[str]) -> list[str]:
        """The distinct words of the texts' units, without punctuation around them, in the order of their first coming."""
        units = dict.fromkeys(unit for text in texts for unit in self.split(text))
        return list(dict.fromkeys(core for unit in units if (core := _core(unit)[1])))

    def dress(self, unit: str, neighbours: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """The neighbours of a unit's word, in the unit's case and with its punctuation; none for a unit without any."""
        before, core, after = _core(unit)
        found = neighbours.get(core) or neighbours.get(core.lower(), ())
        if len(core) > 1 and core.isupper():
            found = [word.upper() for word in found]
        elif core[:1].isupper():
            found = [word[:1].upper() + word[1:] for word in found]
        return tuple(f"{before}{word}{after}" for word in found if word and word != core)


def _core(unit: str) -> tuple[str, str, str]:
    """What is before the word, the word, what is behind it."""
    found = _CORE.fullmatch(unit)
    return (found[1], found[2], found[3]) if found else ("", unit, "")
