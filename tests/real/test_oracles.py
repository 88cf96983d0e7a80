"""The shipped backbone under a head of every task: 500 varied inputs through torch's own pipelines and through the runtime."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import taggers
from tests.export.test_answering import assert_answers_are_the_pipelines, pairs
from tests.export.test_embedding import sentence_transformer
from tests.export.test_fill_mask import assert_same as assert_same_fillings
from tests.export.test_fill_mask import masked_texts
from tests.runtime.tagging_oracle import STRATEGIES, Tagger, assert_same
from tests.runtime.varied import varied_texts

from tlx.export.config import ExportConfig
from tlx.export.export import export
from tlx.runtime import load

BASE = Path(__file__).parents[2] / "models" / "tlx-mini-en"
TEXTS = [*taggers.varied_texts(300), *(text for text in varied_texts(220) if text.strip())]
CLASSES = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "fill-mask": "AutoModelForMaskedLM",
}

pytestmark = [
    pytest.mark.filterwarnings("ignore::tlx.runtime.engine.TruncationWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # transformers' pipeline
    pytest.mark.filterwarnings("ignore:You seem to be using the pipelines sequentially"),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a task: the backbone's weights, a head of random ones large enough that answers differ."""

    def make(task: str) -> Path:
        import torch
        import transformers

        folder = tmp_path_factory.mktemp(task) / "model"
        if task not in CLASSES:
            return Path(shutil.copytree(BASE, folder))
        more = {"num_labels": len(taggers.TAGS)} if task.endswith("classification") else {}
        torch.manual_seed(0)
        model = getattr(transformers, CLASSES[task]).from_pretrained(BASE, dtype=torch.float32, **more).eval()
        if more:
            torch.nn.init.normal_(model.classifier.weight, std=0.5)
            model.config.id2label = dict(enumerate(taggers.TAGS))
            model.config.label2id = {tag: number for number, tag in enumerate(taggers.TAGS)}
        elif task == "question-answering":
            torch.nn.init.normal_(model.qa_outputs.weight, std=0.5)
        model.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(BASE).save_pretrained(folder)
        return folder

    def ready(task: str) -> Path:
        return export(make(task), config=ExportConfig(seconds=0)).folder.path

    return ready


def test_texts_are_classified_as_in_the_pipeline(exported: Callable[[str], Path]) -> None:
    import transformers

    folder = exported("text-classification")
    oracle = transformers.pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    found = load(folder, "fp32", "cpu", 1)(TEXTS, top_k=None)
    assert len({answer[0]["label"] for answer in found}) > 2
    for text, ours in zip(TEXTS, found, strict=True):
        (theirs,) = oracle([text], truncation=True)
        assert [item["label"] for item in ours] == [item["label"] for item in theirs], text
        np.testing.assert_allclose([i["score"] for i in ours], [i["score"] for i in theirs], atol=1e-4)


def test_tokens_are_tagged_as_in_the_pipeline(exported: Callable[[str], Path]) -> None:
    """transformers takes a word piece for the rest of a word where it is shorter than its text: "ete" of "e\u0301te\u0301" goes with the
    word before. Of composed characters it is right, and tlx answers so of either."""
    both = Tagger(exported("token-classification"))
    texts = both.fitting(TEXTS, 500)
    assert len(texts) == 500
    composed = [unicodedata.normalize("NFC", text) for text in texts]
    kept = [row for row, text in enumerate(composed) if not _misread(both, text)]
    apart = [row for row in kept if _misread(both, texts[row])]
    assert len(kept) > 450
    assert len(apart) > 50
    expected = both.expected(composed, STRATEGIES[2:])
    for strategy, theirs in both.expected(texts, STRATEGIES[:2]).items():
        assert_same(both.tlx(texts, aggregation_strategy=strategy), theirs, texts)
    for strategy, theirs in expected.items():
        ours = both.tlx(texts, aggregation_strategy=strategy)
        read = [row for row in kept if row not in apart and texts[row] == composed[row]]
        assert_same([ours[row] for row in read], [theirs[row] for row in read], [texts[row] for row in read])
        for row in apart:
            found = [(group, text, score.expected) for group, text, score in _entities(ours[row], texts[row])]
            assert found == _entities(theirs[row], composed[row]), texts[row]


def _misread(both: Tagger, text: str) -> bool:
    encoding = both.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    tokens = both.tokenizer.convert_ids_to_tokens(encoding["input_ids"])
    first = [
        (t, s, e)
        for t, (s, e) in zip(tokens, encoding["offset_mapping"], strict=True)
        if t[:2] != "##" and t != "[UNK]"
    ]
    return any(len(token) != end - start for token, start, end in first)


def _entities(answers: Any, text: str) -> list[tuple[Any, ...]]:
    """Each one's group, its text in composed characters, and about its score."""
    spans = [unicodedata.normalize("NFC", text[e["start"] : e["end"]]) for e in answers]
    return [
        (e["entity_group"], s, pytest.approx(float(e["score"]), abs=1e-4)) for e, s in zip(answers, spans, strict=True)
    ]


def test_questions_are_answered_as_in_the_pipeline(exported: Callable[[str], Path]) -> None:
    import transformers

    folder = exported("question-answering")
    oracle = transformers.pipeline("question-answering", model=str(folder), device="cpu")
    assert_answers_are_the_pipelines(load(folder, "fp32", "cpu", 1), oracle, pairs(oracle.tokenizer, 500, seed=4))


def test_masks_are_filled_as_in_the_pipeline(exported: Callable[[str], Path]) -> None:
    import transformers

    folder = exported("fill-mask")
    oracle = transformers.pipeline("fill-mask", model=str(folder), device="cpu")
    texts = masked_texts("[MASK]", 500)
    for text, answer in zip(texts, load(folder, "fp32", "cpu", 1)(texts), strict=True):
        assert_same_fillings(answer, oracle(text, tokenizer_kwargs={"truncation": True}))


def test_vectors_are_those_of_sentence_transformers(exported: Callable[[str], Path]) -> None:
    folder = exported("feature-extraction")
    found = load(folder, "fp32", "cpu", 1)(TEXTS)
    np.testing.assert_allclose(found, sentence_transformer(folder).encode(TEXTS), atol=1e-4, rtol=0)
