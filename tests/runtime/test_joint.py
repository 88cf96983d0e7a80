"""intent-slots: two files in step, both answers from one run, and what counts as right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.runtime.tagging_oracle import Tagger, assert_same
from tests.taggers import save_tagger, tagger, tokenizer_of, varied_texts

from tlx.runtime import load
from tlx.runtime.errors import DataError, FolderError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.folder import Manifest
from tlx.runtime.predictor import Predictor
from tlx.runtime.tasks.joint import IntentSlots
from tlx.runtime.tasks.tagging import TokenClassification

LABELS = ("intent:Fly", "intent:Play", "intent:Stay", "O", "B-PER", "I-PER", "B-LOC", "I-LOC")
CSV = "text,label\nfly to New York ,Fly\nplay it!,Play\n"
CONLL = "fly\tO\nto\tO\nNew\tB-LOC\nYork\tI-LOC\n\nplay\tO\nit!\tO\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = tokenizer_of("wordpiece")
    folder = tmp_path_factory.mktemp("joint") / "model"
    return save_tagger(tagger(tokenizer, LABELS), tokenizer, folder, task="intent-slots")


@pytest.fixture(scope="module")
def joint(folder: Path) -> Predictor:
    return load(folder, threads=1)


def pair(tmp_path: Path, table: str = CSV, slots: str = CONLL, name: str = "train.csv") -> Path:
    (tmp_path / name).write_text(table, encoding="utf-8")
    (tmp_path / "train.conll").write_text(slots, encoding="utf-8")
    return tmp_path / name


@pytest.mark.parametrize("named", ["train.csv", "train.conll"])
def test_a_table_and_the_conll_file_beside_it_are_read_together(named: str, tmp_path: Path) -> None:
    pair(tmp_path)
    found = IntentSlots.read(tmp_path / named, {})
    assert found.inputs == ["fly to New York ", "play it!"]
    assert found.gold == [
        ("Fly", ((0, 3, "O"), (4, 6, "O"), (7, 10, "B-LOC"), (11, 15, "I-LOC"))),
        ("Play", ((0, 4, "O"), (5, 8, "O"))),
    ]
    assert found.labels == ("intent:Fly", "intent:Play", "O", "B-LOC", "I-LOC")


def test_words_are_found_in_the_tables_own_text(tmp_path: Path) -> None:
    found = IntentSlots.read(
        pair(tmp_path, "text,label\nfly  to NewYork,Fly\n", "fly\tO\nto\tO\nNew\tB-LOC\nYork\tI-LOC\n"), {}
    )
    assert found.inputs == ["fly  to NewYork"]
    assert (found.gold or [])[0][1] == ((0, 3, "O"), (5, 7, "O"), (8, 11, "B-LOC"), (11, 15, "I-LOC"))


def test_one_table_may_hold_both(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"tokens": ["play", "it"], "tags": ["O", "B-X"], "intent": "Play"}\n')
    found = IntentSlots.read(path, {})
    assert found.gold == [("Play", ((0, 4, "O"), (5, 7, "B-X")))]


@pytest.mark.parametrize(
    ("table", "slots", "message"),
    [
        (CSV, CONLL.replace("it!", "that"), r"train.csv line 3 and .*train.conll line 6 are not the same words \(from 'that' on\)"),
        (CSV, CONLL.replace("York\tI-LOC\n", ""), r"train.csv line 2 and .*train.conll line 1 .*from its end on"),
        (CSV, CONLL + "\nmore\tO\n", "train.csv has 2 rows but .*train.conll has 3 sentences"),
        (CSV.replace("Play\n", "\n"), CONLL, "train.csv line 3: column 'label' is empty"),
        (CSV, "fly\tQ-X\n", "train.conll line 1: the tag 'Q-X'|are not the same"),
    ],
)  # fmt: skip
def test_files_out_of_step_are_told_with_their_rows(table: str, slots: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        IntentSlots.read(pair(tmp_path, table, slots), {})


def test_a_file_without_its_other_half_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    with pytest.raises(DataError, match=r"a\.csv has no slots: put them into a\.conll beside it"):
        IntentSlots.read(tmp_path / "a.csv", {})
    (tmp_path / "b.conll").write_text(CONLL)
    with pytest.raises(DataError, match=r"b\.conll has slots but no intents: put them into b\.csv beside it"):
        IntentSlots.read(tmp_path / "b.conll", {})


def test_slots_are_those_of_a_tagger_over_the_tags_alone(joint: Predictor) -> None:
    texts = varied_texts(60)
    outputs = joint.run(texts)
    alone = TokenClassification(labels=LABELS[3:])
    for strategy in ("none", "simple", "first", "average", "max"):
        answers = joint(texts, aggregation_strategy=strategy)
        wanted = alone.answers(outputs._replace(values=outputs.values[:, 3:]), aggregation_strategy=strategy)
        assert [answer["slots"] for answer in answers] == wanted


def test_both_answers_are_those_of_transformers_over_the_halves_of_the_head(
    joint: Predictor, folder: Path, tmp_path: Path
) -> None:
    """The slots of transformers' pipeline over a copy whose head has the tags alone, the intents of torch at the first token."""
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    slots = tagger(tokenizer, LABELS[3:])
    weights = {
        name: value[3:] if name.startswith("classifier") else value for name, value in model.state_dict().items()
    }
    slots.load_state_dict(weights)
    both = Tagger(save_tagger(slots, tokenizer, tmp_path / "slots"))
    texts = both.fitting(varied_texts(700, seed=3), 500)
    assert len(texts) == 500
    answers = joint(texts)
    assert_same([answer["slots"] for answer in answers], both.expected(texts, ["simple"])["simple"], texts)
    with torch.no_grad():
        for text, answer in zip(texts, answers, strict=True):
            scores = model(**tokenizer(text, return_tensors="pt")).logits[0, 0, :3].softmax(0)
            best = int(scores.argmax())
            assert answer["intent"]["label"] == LABELS[best].removeprefix("intent:")
            assert answer["intent"]["score"] == pytest.approx(float(scores[best]), abs=1e-4)


def test_the_intent_is_the_softmax_at_the_first_token_over_the_intents(joint: Predictor) -> None:
    import torch

    text = "Anna flew to Paris"
    logits = torch.tensor(joint.run([text]).values)[0, :3]
    best = int(logits.argmax())
    answer = joint(text)
    assert answer["intent"]["label"] == LABELS[best].removeprefix("intent:")
    assert answer["intent"]["score"] == pytest.approx(float(torch.softmax(logits, 0)[best]), abs=1e-5)
    assert list(answer) == ["intent", "slots"]
    assert joint.task.show(answer).startswith(answer["intent"]["label"])


def test_the_intent_of_a_long_text_is_that_of_its_first_window(joint: Predictor) -> None:
    long = " ".join(varied_texts(40))
    outputs = joint.run(["Anna", long, "Paris"])
    assert outputs.encoded.owners is not None
    answers = joint(["Anna", long, "Paris"])
    assert [answer["intent"] for answer in answers] == [joint(text)["intent"] for text in ("Anna", long, "Paris")]
    row = int(np.searchsorted(outputs.encoded.owners, 1))
    start = sum(len(ids) for ids in outputs.encoded.rows[:row])
    assert answers[1]["intent"]["label"] == LABELS[int(outputs.values[start, :3].argmax())].removeprefix("intent:")


def test_exact_wants_the_intent_and_every_tag(joint: Predictor) -> None:
    texts = ["Anna flew", "to Paris", "on Monday"]
    outputs = joint.run(texts)
    task = joint.task
    words = [tuple((a, b, "O") for a, b in spans) for spans in ([(0, 4), (5, 9)], [(0, 2), (3, 8)], [(0, 2), (3, 9)])]
    first = IntentSlots(labels=LABELS)
    from tlx.runtime.tasks.token_windows import text_tokens

    tokens = text_tokens(outputs)
    tags = first.predicted_tags(outputs.values[tokens.units, 3:], tokens, words)
    gold = [
        (answer["intent"]["label"], tuple((a, b, tag) for (a, b, _), tag in zip(row, found, strict=True)))
        for answer, row, found in zip(joint(texts), words, tags, strict=True)
    ]
    examples = Examples(source="here", inputs=texts, gold=gold, labels=LABELS)
    assert task.metrics(outputs, examples)["exact"] == 1.0
    wrong = "B-PER" if gold[0][1][0][2] != "B-PER" else "O"
    changed = [(gold[0][0], ((0, 4, wrong), gold[0][1][1])), ("Other", gold[1][1]), gold[2]]
    figures = task.metrics(outputs, Examples(source="here", inputs=texts, gold=changed, labels=LABELS))
    assert figures["exact"] == pytest.approx(1 / 3)
    assert figures["intent_accuracy"] == pytest.approx(2 / 3)
    assert figures["slot_accuracy"] == pytest.approx(5 / 6)


def test_flips_count_texts_whose_intent_or_slots_changed(joint: Predictor) -> None:
    outputs = joint.run(["Anna flew", "to Paris"])
    changed = outputs.values.copy()
    changed[0, :3] *= -1
    assert joint.task.flips(outputs, outputs) == 0.0
    assert joint.task.flips(outputs, outputs._replace(values=changed)) == 0.5
    changed = outputs.values.copy()
    changed[0, 3:] *= -1  # slots are not read at the first token
    assert joint.task.flips(outputs, outputs._replace(values=changed)) == 0.0


def test_wrong_options_and_manifests_are_refused(joint: Predictor) -> None:
    with pytest.raises(UsageError, match="intent-slots has no option 'top_k'"):
        joint("Anna", top_k=2)
    for labels in (("O", "B-X"), ("intent:A", "O"), ("O", "intent:A", "intent:B"), ("intent:A", "intent:B")):
        with pytest.raises(FolderError, match="wanted two intents or more"):
            IntentSlots.from_manifest(Manifest(task="intent-slots", labels=labels, max_tokens=64))


def test_a_checkpoint_is_told_apart_from_a_tagger_by_its_labels() -> None:
    names = ["BertForTokenClassification"]
    joint, plain = {"id2label": dict(enumerate(LABELS))}, {"id2label": {0: "O", 1: "B-X"}}
    assert IntentSlots.made(names, joint)
    assert not TokenClassification.made(names, joint)
    assert TokenClassification.made(names, plain)
    assert not IntentSlots.made(names, plain)
