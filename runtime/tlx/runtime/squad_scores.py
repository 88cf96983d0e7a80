"""How right an answer is: exact match and F1 by the rules of SQuAD, and for Chinese answers by those of CMRC 2018."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Sequence

__all__ = ["answer_score", "answer_scores", "best_threshold"]

ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
WORD = re.compile(r"[^\W\d\u3400-\u4dbf\u4e00-\u9fff]+")
CMRC_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
CMRC_TOKEN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3400-\u4dbf\u4e00-\u9fff]+|[^\w\s]")


def answer_score(prediction: str, answers: Sequence[str]) -> tuple[float, float]:
    """(exact match, F1) of a prediction, 0 to 1, the best over the right `answers`; none of them: "" is right.

    SQuAD (Rajpurkar et al. 2016, 2018): lower case, without punctuation and articles; F1 over the bags of words. As in
    its script, answers of which nothing is left do not count. Where prediction and answer hold Chinese
    characters, no fewer than other words, CMRC 2018 (Cui et al. 2019): those are tokens of their own, and F1 is over the longest
    common run.
    """
    found = [_squad_or_cmrc(prediction, answer) for answer in answers if _normalised(answer)]
    found = found or [_squad_or_cmrc(prediction, "")]
    return max(exact for exact, _ in found), max(f1 for _, f1 in found)


def answer_scores(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> dict[str, float]:
    """Means over the questions: exact_match and f1, and where some have no answer both for those with and without."""
    scores = [answer_score(prediction, right) for prediction, right in zip(predictions, answers, strict=True)]
    figures = _means(scores, "")
    if not all(answers):
        figures |= _means([score for score, right in zip(scores, answers, strict=True) if right], "has_answer_")
        figures |= _means([score for score, right in zip(scores, answers, strict=True) if not right], "no_answer_")
    return figures


def best_threshold(margins: Sequence[float], answered: Sequence[float], empty: Sequence[float]) -> float:
    """The threshold t that gives the greatest sum when a question with margin > t is left unanswered; the nearest to 0.

    A question is worth `answered[i]` with its answer and `empty[i]` without.
    """
    order = sorted(range(len(margins)), key=lambda i: margins[i])
    ascending = [margins[i] for i in order]
    value, choices = sum(empty), []
    for place in range(len(order) + 1):
        # `place` questions are answered, those with the smallest margins.
        low = ascending[place - 1] if place else -math.inf
        high = ascending[place] if place < len(order) else math.inf
        if low < high:
            choices.append((round(value, 9), _between(low, high)))
        if place < len(order):
            value += answered[order[place]] - empty[order[place]]
    return max(choices, key=lambda choice: (choice[0], -abs(choice[1])))[1]


def _between(low: float, high: float) -> float:
    """A threshold t with low <= t < high: 0, the plain rule, where that will do."""
    if low <= 0.0 < high:
        return 0.0
    if math.isinf(low):
        return high - 1.0
    return low + 1.0 if math.isinf(high) else (low + high) / 2


def _means(scores: Sequence[tuple[float, float]], prefix: str) -> dict[str, float]:
    if not scores:
        return {}
    exact, f1 = (sum(column) / len(scores) for column in zip(*scores, strict=True))
    return {f"{prefix}exact_match": exact, f"{prefix}f1": f1}


def _squad_or_cmrc(prediction: str, answer: str) -> tuple[float, float]:
    both = f"{prediction} {answer}"
    if len(WORD.findall(both)) <= len(HAN.findall(both)) > 0:
        return _cmrc(prediction, answer)
    left, right = _normalised(prediction), _normalised(answer)
    own, wanted = left.split(), right.split()
    exact = float(left == right)
    if not own or not wanted:
        return exact, float(own == wanted)
    same = sum((Counter(own) & Counter(wanted)).values())
    return exact, _f1(same, len(own), len(wanted))


def _normalised(text: str) -> str:
    return " ".join(ARTICLES.sub(" ", text.lower().translate(NO_PUNCTUATION)).split())


def _cmrc(prediction: str, answer: str) -> tuple[float, float]:
    left, right = (text.lower().strip().translate(CMRC_PUNCTUATION) for text in (prediction, answer))
    own, wanted = CMRC_TOKEN.findall(left), CMRC_TOKEN.findall(right)
    return float(left == right), _f1(_longest_run(own, wanted), len(own), len(wanted))


def _f1(same: int, own: int, wanted: int) -> float:
    return 2 * same / (own + wanted) if same else 0.0


def _longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest run of tokens that both have."""
    longest, before = 0, [0] * (len(second) + 1)
    for token in first:
        lengths = [0] * (len(second) + 1)
        for place, other in enumerate(second, start=1):
            if token == other:
                lengths[place] = before[place - 1] + 1
                longest = max(longest, lengths[place])
        before = lengths
    return longest
