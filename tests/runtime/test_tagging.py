"""token-classification against transformers.pipeline (torch), and where transformers is plainly wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.runtime.tagging_oracle import KINDS, STRATEGIES, Tagger, assert_same
from tests.taggers import TAGS, varied_texts

from tlx.runtime.errors import FolderError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.folder import Manifest
from tlx.runtime.predictor import Predictor
from tlx.runtime.tasks.tagging import TokenClassification

PLAIN = [text for text in varied_texts(900, seed=3, longest=9) if text.isascii() and "  " not in text.strip()]


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_and_simple_groups_are_the_pipelines_own(kind: str, taggers: dict[str, Tagger]) -> None:
    both = taggers[kind]
    texts = both.fitting(varied_texts(700), 520)
    assert len(texts) >= 500
    expected = both.expected(texts, STRATEGIES[:2])
    for strategy in STRATEGIES[:2]:
        assert_same(both.tlx(texts, aggregation_strategy=strategy), expected[strategy], texts)
        assert sum(map(len, expected[strategy])) > 1000


def test_words_of_every_strategy_are_the_pipelines_own(taggers: dict[str, Tagger]) -> None:
    both = taggers["wordpiece"]
    texts = both.fitting(varied_texts(700, seed=1), 500)
    expected = both.expected(texts, STRATEGIES[2:])
    for strategy in STRATEGIES[2:]:
        assert_same(both.tlx(texts, aggregation_strategy=strategy), expected[strategy], texts)


@pytest.mark.parametrize("strategy", STRATEGIES[2:])
def test_words_of_byte_level_tokens_are_the_pipelines_own_in_plain_texts(
    strategy: str, taggers: dict[str, Tagger]
) -> None:
    both = taggers["bytes"]
    texts = [text for text in both.fitting(PLAIN, 200) if not set(text) & set("\t\n")]
    texts = [text for text in map(str.strip, texts) if "Ġ" not in both.tokenizer.tokenize(text)]
    assert len(texts) > 50
    assert_same(both.tlx(texts, aggregation_strategy=strategy), both.expected(texts, [strategy])[strategy], texts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_answered_alike_alone_and_among_others(kind: str, taggers: dict[str, Tagger]) -> None:
    tlx = taggers[kind].tlx
    texts = varied_texts(60, seed=2)
    together = tlx(texts, aggregation_strategy="first")
    assert_same([tlx(text, aggregation_strategy="first") for text in texts], together, texts)
    assert_same(list(tlx(iter(texts), aggregation_strategy="first")), together, texts)


def test_simple_is_the_default_where_tags_have_prefixes_and_none_where_not(taggers: dict[str, Tagger]) -> None:
    tlx = taggers["wordpiece"].tlx
    text = "Anna flew to Paris"
    assert tlx(text) == tlx(text, aggregation_strategy="simple")
    outputs = tlx.run([text])
    plain = TokenClassification(labels=("O", "NOUN", "VERB", "DET", "ADJ"))
    assert plain.answers(outputs) == plain.answers(outputs, aggregation_strategy="none")
    assert plain.main_metric == "accuracy"


def test_ignored_labels_are_the_callers_choice(taggers: dict[str, Tagger]) -> None:
    both = taggers["wordpiece"]
    text = "Anna flew to Paris and New York on Monday"
    both_ways = [both.tlx(text, ignore_labels=[]), both.tlx(text, ignore_labels=["O", "PER"])]
    (chunk,) = both.pipeline.preprocess(text, is_split_into_words=False)
    outputs = both.pipeline.forward(chunk)
    _, _, options = both.pipeline._sanitize_parameters(aggregation_strategy="simple")
    for ours, ignored in zip(both_ways, ([], ["O", "PER"]), strict=True):
        theirs = both.pipeline.postprocess([outputs], ignore_labels=ignored, **options)
        assert_same([ours], [theirs], [text])


@pytest.mark.parametrize("stride", [0, 8, 30])
def test_windows_share_as_many_tokens_as_transformers_gives_them(stride: int, taggers: dict[str, Tagger]) -> None:
    both = taggers["wordpiece"]
    text = "Anna flew to Paris and New York on Monday " * 12
    preparing, _, _ = both.pipeline._sanitize_parameters(stride=stride, aggregation_strategy="simple")
    chunks = list(both.pipeline.preprocess(text, **preparing))
    engine, task = both.tlx._engine, both.tlx.task
    limits, _ = task.understood({"stride": stride}, engine.limits)
    rows = engine.one(text, limits).encoded.rows
    assert len(rows) == len(chunks) > 2
    for row, chunk in zip(rows, chunks, strict=True):
        assert row.tolist() == chunk["input_ids"][chunk["attention_mask"].bool()].tolist()
    found, expected = both.tlx(text, stride=stride), both.pipeline(text, stride=stride, aggregation_strategy="simple")
    assert found[0]["start"] == expected[0]["start"]
    assert found[-1]["end"] == expected[-1]["end"]


def test_keywords_that_say_what_is_so_in_any_case_change_nothing(taggers: dict[str, Tagger]) -> None:
    tlx, text = taggers["wordpiece"].tlx, "Anna flew to Paris"
    neutral = {"is_split_into_words": False, "offset_mapping": None, "ignore_labels": None, "batch_size": 8}
    assert tlx(text, **neutral) == tlx(text)
    assert tlx([text], **neutral) == tlx([text])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"aggregation_strategy": "best"},
            "aggregation_strategy is 'best': wanted one of none, simple, first, average",
        ),
        ({"ignore_labels": "O"}, r"ignore_labels is 'O': wanted a list of labels"),
        (
            {"top_k": 3},
            "token-classification has no option 'top_k': it has aggregation_strategy, ignore_labels, stride",
        ),
        ({"stride": -1}, "stride is -1: wanted a whole number from 0"),
        ({"stride": 63}, "rows of 64 tokens leave no room beside the 2 special ones and the 63 that windows share"),
        ({"is_split_into_words": True}, "no option 'is_split_into_words': join the words with spaces"),
        ({"offset_mapping": [(0, 1)]}, "no option 'offset_mapping': start and end are characters of your own text"),
        ({"grouped_entities": True}, "no option 'grouped_entities': say aggregation_strategy='simple'"),
    ],
)
def test_a_wrong_option_is_refused_with_what_was_wanted(
    options: dict[str, Any], message: str, taggers: dict[str, Tagger]
) -> None:
    for inputs in ("Anna", ["Anna"], []):
        with pytest.raises(UsageError, match=message):
            taggers["wordpiece"].tlx(inputs, **options)


def test_a_manifest_with_one_label_is_refused() -> None:
    manifest = Manifest(task="token-classification", labels=("O",), max_tokens=64)
    with pytest.raises(FolderError, match="1 labels: wanted two tags or more"):
        TokenClassification.from_manifest(manifest)


# Where transformers is plainly wrong.


def inside_words(tlx: Predictor, text: str) -> list[tuple[int, int, bool]]:
    """Each token's characters, and whether it goes on with the word of the one before."""
    encoded = tlx.run([text]).encoded
    note = (encoded.notes or [])[0]
    kept = note.offsets[:, 0] >= 0
    starts, ends = note.offsets[kept].T.astype(np.int64)
    inside = note.spelling.inside(encoded.rows[0][kept], text, starts, ends)
    return list(zip(starts.tolist(), ends.tolist(), inside.tolist(), strict=True))


def test_a_letter_and_its_accent_apart_do_not_glue_words_together(taggers: dict[str, Tagger]) -> None:
    """transformers takes a token for a continuation when it is not as long as its text, and glues it to the word before:
    "in" stands for the three characters of "i\u0301n"."""
    both = taggers["wordpiece"]
    text = "go i\u0301n"
    (chunk,) = both.pipeline.preprocess(text, is_split_into_words=False)
    offsets = chunk["offset_mapping"][0].tolist()
    assert [3, 6] in offsets
    found = both.pipeline.gather_pre_entities(
        text,
        chunk["input_ids"][0].numpy(),
        np.zeros((len(offsets), 1)),
        chunk["offset_mapping"][0],
        chunk["special_tokens_mask"][0].numpy(),
        "first",
    )
    assert [e["is_subword"] for e in found if e["start"] == 3] == [True]
    assert (3, 6, False) in inside_words(both.tlx, text)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_entity_does_not_end_before_the_accent_of_its_last_letter(strategy: str, taggers: dict[str, Tagger]) -> None:
    """transformers cuts the accent off, where the tokenizer strips accents: "Jose\u0301" ends as "Jose"."""
    both = taggers["wordpiece"]
    text = "Jose\u0301\u0323 went\u0301"
    (chunk,) = both.pipeline.preprocess(text, is_split_into_words=False)
    assert {4, 11} <= {end for _, end in chunk["offset_mapping"][0].tolist()}
    ends = [entity["end"] for entity in both.tlx(text, aggregation_strategy=strategy, ignore_labels=[])]
    assert ends[-1] == len(text)
    assert 4 not in ends


def test_a_mark_that_is_a_token_of_its_own_belongs_to_that(taggers: dict[str, Tagger]) -> None:
    both = taggers["bytes"]
    text = "Jose\u0301 went"
    offsets = both.tokenizer(text, return_offsets_mapping=True)["offset_mapping"][1:-1]
    assert (4, 5) in offsets
    found = both.tlx(text, aggregation_strategy="none", ignore_labels=[])
    assert [(entity["start"], entity["end"]) for entity in found] == offsets


@pytest.mark.parametrize("strategy", STRATEGIES[2:])
def test_accents_survive_byte_level_words(strategy: str, taggers: dict[str, Tagger]) -> None:
    """transformers decodes each word and then the decoded words again, which turns é into an invalid byte."""
    both = taggers["bytes"]
    text = "São Paulo"
    (theirs,) = both.expected([text], [strategy], ignore_labels=[])[strategy]
    assert "\ufffd" in theirs[0]["word"]
    ours = both.tlx(text, aggregation_strategy=strategy, ignore_labels=[])
    assert "".join(entity["word"] for entity in ours) == text


@pytest.mark.parametrize("strategy", STRATEGIES[2:])
def test_spaces_survive_sentencepiece_words(strategy: str, taggers: dict[str, Tagger]) -> None:
    """transformers decodes twice here too, and the second time writes words without the spaces between them."""
    both = taggers["unigram"]
    text = "Anna Schmidt flew from Berlin to Paris on Monday"
    (theirs,) = both.expected([text], [strategy], ignore_labels=[])[strategy]
    assert any(" " in text[e["start"] : e["end"]].strip() and " " not in e["word"] for e in theirs)
    for entity in both.tlx(text, aggregation_strategy=strategy, ignore_labels=[]):
        assert entity["word"] == text[entity["start"] : entity["end"]].strip()


@pytest.mark.parametrize("strategy", STRATEGIES[2:])
@pytest.mark.parametrize("kind", ["bytes", "unigram"])
def test_a_token_of_white_space_is_no_word(kind: str, strategy: str, taggers: dict[str, Tagger]) -> None:
    """transformers makes a word of it, with a tag that no training ever gave it: an entity of one space, or one in two."""
    tlx = taggers[kind].tlx
    for text in ("  Anna  flew \t to   Paris  ", "Paris 7 on  Monday", "\n\n", "   "):
        assert not [
            place for place in inside_words(tlx, text)[1:] if not text[place[0] : place[1]].strip() and not place[2]
        ]
        for entity in tlx(text, aggregation_strategy=strategy, ignore_labels=[]):
            inside = text[entity["start"] : entity["end"]]
            assert inside.strip()
            assert inside == inside.rstrip()


@pytest.mark.parametrize("strategy", STRATEGIES[2:])
def test_a_token_of_white_space_has_no_say_in_the_word_before(strategy: str, taggers: dict[str, Tagger]) -> None:
    tlx = taggers["bytes"].tlx
    outputs = tlx.run(["New-York tomorrow"])  # "tomorrow" begins with a lone Ġ in this vocabulary
    names = [tlx._engine.tokens.tokenizer.id_to_token(i) for i in outputs.encoded.rows[0].tolist()]
    blank = names.index("Ġ")
    values = np.full_like(outputs.values, -5.0)
    values[:, TAGS.index("O")] = 3.0
    values[blank] = np.where(np.arange(values.shape[1]) == TAGS.index("B-LOC"), 9.0, -5.0)
    assert tlx.task.answers(outputs._replace(values=values), aggregation_strategy=strategy) == [[]]
    values[1:blank] = values[blank]  # now the word itself
    values[blank] = np.where(np.arange(values.shape[1]) == TAGS.index("O"), 50.0, -5.0)
    (found,) = tlx.task.answers(outputs._replace(values=values), aggregation_strategy=strategy)
    assert [entity["entity_group"] for entity in found] == ["LOC"]
    assert found[0]["word"].strip() == "New-York"


@pytest.mark.parametrize("kind", ["bytes", "unigram"])
def test_tabs_line_ends_and_chinese_characters_part_words(kind: str, taggers: dict[str, Tagger]) -> None:
    """transformers knows only the space: two lines are one word for it, and so is a whole Chinese text."""
    text = "Paris\tBerlin\nParis 你好"
    begins = {
        next(i for i in range(a, b) if not text[i].isspace())
        for a, b, inside in inside_words(taggers[kind].tlx, text)
        if not inside and text[a:b].strip()
    }
    assert begins >= {0, 6, 13, 19}
    assert kind == "unigram" or 20 in begins  # that one has 你好 as one unknown token


def test_the_bytes_of_one_character_are_one_word(taggers: dict[str, Tagger]) -> None:
    """transformers gives an emoji after a space as several words, all at the same place."""
    ours = taggers["bytes"].tlx("a 😀 b", aggregation_strategy="first", ignore_labels=[])
    places = [(entity["start"], entity["end"]) for entity in ours]
    assert all(end <= start for (_, end), (start, _) in zip(places, places[1:], strict=False))


# Metrics.


def gold_of(text: str, tags: Sequence[str]) -> tuple[tuple[int, int, str], ...]:
    words, position = [], 0
    for word, tag in zip(text.split(), tags, strict=True):
        start = text.index(word, position)
        position = start + len(word)
        words.append((start, position, tag))
    return tuple(words)


def test_metrics_are_those_of_seqeval_on_the_tags_of_first_tokens(taggers: dict[str, Tagger]) -> None:
    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score

    both = taggers["wordpiece"]
    texts = [text for text in varied_texts(80, seed=8) if text.isascii() and text.strip()][:40]
    draw = np.random.default_rng(0)
    gold = [gold_of(text, draw.choice(TAGS, len(text.split())).tolist()) for text in texts]
    outputs = both.tlx.run(texts)
    predicted = []
    for text, words in zip(texts, gold, strict=True):
        tokens = both.tlx(text, aggregation_strategy="none", ignore_labels=[])
        at = {token["start"]: token["entity"] for token in reversed(tokens)}
        predicted.append([at[start] for start, _, _ in words])
    wanted = [[tag for _, _, tag in words] for words in gold]
    examples = Examples(source="here", inputs=texts, gold=gold, labels=TAGS)
    assert both.tlx.task.metrics(outputs, examples) == {
        "f1": pytest.approx(f1_score(wanted, predicted)),
        "precision": pytest.approx(precision_score(wanted, predicted)),
        "recall": pytest.approx(recall_score(wanted, predicted)),
        "accuracy": pytest.approx(accuracy_score(wanted, predicted)),
    }


def test_a_token_over_two_words_tags_the_second_as_going_on(taggers: dict[str, Tagger]) -> None:
    from tlx.runtime.tasks.token_windows import TextTokens

    task = TokenClassification(labels=TAGS)
    none = np.zeros(1, dtype=np.int64)
    tokens = TextTokens(none, none, np.array([0]), np.array([2]), none, np.array([0, 1]))
    values = np.eye(5, dtype=np.float32)[[3]]
    words = ((0, 1, "B-LOC"), (1, 2, "I-LOC"), (2, 3, "O"))
    assert task.predicted_tags(values, tokens, [words]) == [["B-LOC", "I-LOC", "O"]]


def test_a_word_without_a_token_has_the_tag_o_and_an_unknown_tag_is_an_error(taggers: dict[str, Tagger]) -> None:
    both = taggers["wordpiece"]
    text = "Anna \u0000 Paris"
    gold = [((0, 4, "B-NEW"), (5, 6, "O"), (7, 12, "B-NEW"))]
    examples = Examples(source="here", inputs=[text], gold=gold, labels=("O", "B-NEW"))
    figures = both.tlx.task.metrics(both.tlx.run([text]), examples)
    assert figures["accuracy"] == pytest.approx(1 / 3)
    assert figures["f1"] == 0.0


def test_flips_are_the_texts_in_which_a_tag_changed(taggers: dict[str, Tagger]) -> None:
    both = taggers["wordpiece"]
    outputs = both.tlx.run(["Anna flew", "", "to Paris"])
    changed = outputs.values.copy()
    changed[1] = -changed[1]
    assert both.tlx.task.flips(outputs, outputs) == 0.0
    assert both.tlx.task.flips(outputs, outputs._replace(values=changed)) == pytest.approx(1 / 3)
