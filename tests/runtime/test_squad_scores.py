"""Exact match and F1 against a second writing-down of the published rules of SQuAD 1.1, SQuAD 2.0 and CMRC 2018."""

from __future__ import annotations

import collections
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlx.runtime.squad_scores import answer_score, answer_scores, best_threshold

# ── the rules, as the published scripts have them ──


def squad_normal(text: str) -> str:
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text).split())


def squad_f1(gold: str, found: str) -> float:
    gold_tokens, found_tokens = squad_normal(gold).split(), squad_normal(found).split()
    common = collections.Counter(gold_tokens) & collections.Counter(found_tokens)
    same = sum(common.values())
    if len(gold_tokens) == 0 or len(found_tokens) == 0:
        return float(gold_tokens == found_tokens)
    if same == 0:
        return 0.0
    precision, recall = 1.0 * same / len(found_tokens), 1.0 * same / len(gold_tokens)
    return (2 * precision * recall) / (precision + recall)


def squad_official(found: str, gold: list[str]) -> tuple[float, float]:
    answers = [text for text in gold if squad_normal(text)] or [""]
    exact = max(float(squad_normal(text) == squad_normal(found)) for text in answers)
    return exact, max(squad_f1(text, found) for text in answers)


CMRC_MARKS = [*"-:_*^/\\~`+=，。：？！“”；’《》", "……", *"·、「」（）－～『』"]


def cmrc_segments(text: str) -> list[str]:
    """Without the runs of other scripts than Chinese, which the script gives to nltk."""
    segments, run = [], ""
    for char in text.lower().strip():
        if char in CMRC_MARKS:
            continue
        if re.search(r"[\u4e00-\u9fa5]", char):
            segments += run.split()
            run = ""
            segments.append(char)
        else:
            run += char
    return segments + run.split()


def cmrc_lcs(first: list[str], second: list[str]) -> int:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    longest = 0
    for i in range(len(first)):
        for j in range(len(second)):
            if first[i] == second[j]:
                table[i + 1][j + 1] = table[i][j] + 1
                longest = max(longest, table[i + 1][j + 1])
    return longest


def cmrc_official(found: str, gold: list[str]) -> tuple[float, float]:
    scores = []
    for text in gold:
        own, wanted = cmrc_segments(found), cmrc_segments(text)
        longest = cmrc_lcs(wanted, own)
        precision, recall = longest / max(len(own), 1), longest / max(len(wanted), 1)
        scores.append(2 * precision * recall / (precision + recall) if longest else 0.0)
    plain = ["".join(c for c in text.lower().strip() if c not in CMRC_MARKS) for text in (found, *gold)]
    return float(plain[0] in plain[1:]), max(scores)


# ── the tests ──

WORDS = st.lists(st.sampled_from(["the", "a", "Cat", "cat,", "sat", "on", "mat.", "", "--", "e\u0301"]), max_size=6)
HAN = st.text(alphabet="挪威国会通过法案，。《》abc 12", min_size=1, max_size=12)


@given(WORDS.map(" ".join), st.lists(WORDS.map(" ".join), max_size=3))
def test_english_scores_are_those_of_squad(found: str, gold: list[str]) -> None:
    assert answer_score(found, gold) == pytest.approx(squad_official(found, gold))


@given(HAN, st.lists(HAN, min_size=1, max_size=3))
def test_chinese_scores_are_those_of_cmrc(found: str, gold: list[str]) -> None:
    gold = [f"挪威国会通过法案挪威国会通过法案{text}" for text in gold]  # more of it than of other words
    assert answer_score(found, gold) == pytest.approx(cmrc_official(found, gold))


@pytest.mark.parametrize(
    ("found", "gold", "score"),
    [
        ("The Cat!", ["cat"], (1.0, 1.0)),
        ("the black cat", ["cat"], (0.0, 2 / 3)),
        ("dog", ["cat", "a dog"], (1.0, 1.0)),
        ("", [], (1.0, 1.0)),
        ("cat", [], (0.0, 0.0)),
        ("", ["cat"], (0.0, 0.0)),
        ("", ["the"], (1.0, 1.0)),
        ("挪威国会", ["挪威国会"], (1.0, 1.0)),
        ("《挪威国会》", ["挪威国会。"], (1.0, 1.0)),
        ("国会", ["挪威国会"], (0.0, 2 / 3)),
        ("2008年6月", ["2008年"], (0.0, 2 / 3)),
        ("NBA总冠军", ["NBA总冠军。"], (1.0, 1.0)),
        ("CPU时间", ["CPU"], (0.0, 0.5)),
        ("the Emperor 李 Bai", ["Emperor 李 Bai"], (1.0, 1.0)),
    ],
)
def test_known_values(found: str, gold: list[str], score: tuple[float, float]) -> None:
    assert answer_score(found, gold) == pytest.approx(score)


def test_questions_without_an_answer_have_figures_of_their_own() -> None:
    figures = answer_scores(["cat", "dog", ""], [["the cat"], [], []])
    assert figures == pytest.approx(
        {
            "exact_match": 2 / 3,
            "f1": 2 / 3,
            "has_answer_exact_match": 1.0,
            "has_answer_f1": 1.0,
            "no_answer_exact_match": 0.5,
            "no_answer_f1": 0.5,
        }
    )
    assert set(answer_scores(["cat"], [["cat"]])) == {"exact_match", "f1"}


MARGINS = st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=12)


@given(MARGINS)
def test_the_threshold_is_as_good_as_any_other(rows: list[tuple[int, int, int]]) -> None:
    margins, answered, empty = [[float(x) for x in column] for column in zip(*rows, strict=True)]

    def worth(threshold: float) -> float:
        return sum(e if m > threshold else a for m, a, e in zip(margins, answered, empty, strict=True))

    chosen = best_threshold(margins, answered, empty)
    assert worth(chosen) == max(worth(t / 2) for t in range(-13, 13))
    assert chosen == 0.0 or worth(0.0) < worth(chosen)
