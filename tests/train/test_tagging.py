"""token-classification and intent-slots in training: where labels go, what teachers hand over, and whole small runs."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.conftest import recipe
from transformers import AutoModelForTokenClassification, AutoTokenizer

from tlx.runtime.errors import DataError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.tasks.task import Outputs, unit_starts
from tlx.runtime.tokens import Tokens
from tlx.train.batches import Batch, encode, tokens_of
from tlx.train.console import Console
from tlx.train.students import build_student
from tlx.train.tasks.joint import TrainIntentSlots
from tlx.train.tasks.tagging import TrainTagging
from tlx.train.terms.labels import IGNORED
from tlx.train.train import train
from tlx.train.vocabulary import count_tokens, prune_tokenizer

KINDS = {
    "card": ["cancel", "card", "send", "block", "lost"],
    "lights": ["turn", "off", "lights", "dark", "lamp"],
    "music": ["play", "some", "music", "song", "loud"],
}
FILLERS = ["please", "the", "now", "me", "a", "i"]
TAGS = ("O", "B-card", "B-lights", "B-music", "I-card", "I-lights", "I-music")


def sentences(count: int, seed: int) -> list[tuple[str, list[tuple[str, str]]]]:
    """(intent, words with tags): fillers around a span of two words of one kind."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        kind = chance.choice(sorted(KINDS))
        first, second = chance.choice(KINDS[kind][:3]), chance.choice(KINDS[kind][3:])
        words = [(word, "O") for word in chance.sample(FILLERS, 3)]
        at = chance.randint(0, 3)
        words[at:at] = [(first, f"B-{kind}"), (second, f"I-{kind}")]
        found.append((kind, words))
    return found


def write_pair(folder: Path, rows: list[tuple[str, list[tuple[str, str]]]], name: str = "train") -> Path:
    """The .csv with intents and the .conll beside it; the latter's path."""
    texts = [f"{' '.join(word for word, _ in words)},{intent}\n" for intent, words in rows]
    (folder / f"{name}.csv").write_text("text,label\n" + "".join(texts))
    blocks = ["".join(f"{word}\t{tag}\n" for word, tag in words) for _, words in rows]
    (folder / f"{name}.conll").write_text("\n".join(blocks))
    return folder / f"{name}.conll"


@pytest.fixture(scope="module")
def conll(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("tagged"), sentences(120, 0))


@pytest.fixture(scope="module")
def tagging_teacher(base: Path, conll: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "model"
    train(recipe(conll, base).updated("train", epochs=10.0), out, console=Console(quiet=True))
    return out


@pytest.fixture(scope="module")
def joint_teacher(base: Path, conll: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("joint") / "model"
    asked = recipe(conll.with_suffix(".csv"), base, model={"task": "intent-slots"}).updated("train", epochs=14.0)
    train(asked, out, console=Console(quiet=True))
    return out


def examples_of(*words: tuple[tuple[int, int, str], ...], texts: list[str]) -> Examples:
    return Examples(source="here", inputs=texts, gold=list(words), labels=TAGS)


def tokens_for(base: Path, task: Any, max_tokens: int = 32) -> Tokens:
    return tokens_of(AutoTokenizer.from_pretrained(base), max_tokens, task.runtime)


def test_a_words_label_goes_to_its_first_token_alone(base: Path) -> None:
    examples = examples_of(((0, 4, "B-music"), (5, 8, "I-music"), (9, 11, "B-card")), texts=["play xyz me"])
    task = TrainTagging(examples, {})
    encoded = encode(task.runtime, tokens_for(base, task), examples.inputs)
    gold = task.gold(examples, encoded)
    assert gold is not None
    at = {tag: i for i, tag in enumerate(TAGS)}
    # [CLS] play x ##y ##z me [SEP]
    wanted = [IGNORED, at["B-music"], at["I-music"], IGNORED, IGNORED, at["B-card"], IGNORED]
    assert gold.values.tolist() == wanted


def test_windows_label_every_word_and_never_a_word_that_began_before(base: Path) -> None:
    texts = ["play abcdef " * 12]
    words = tuple(
        (start, end, "B-music") for i in range(12) for start, end in ((12 * i, 12 * i + 4), (12 * i + 5, 12 * i + 11))
    )
    examples = examples_of(words, texts=texts)
    task = TrainTagging(examples, {})
    encoded = encode(task.runtime, tokens_for(base, task, 16), examples.inputs)
    gold = task.gold(examples, encoded)
    assert gold is not None
    starts = unit_starts(task.runtime.units(encoded), len(encoded.rows))
    assert len(encoded.rows) > 3
    labelled = set()
    for row, note in enumerate(encoded.notes or []):
        here = gold.values.numpy()[starts[row] : starts[row + 1]]
        places = note.offsets[here != IGNORED, 0].tolist()
        assert set(places) <= {start for start, _, _ in words}
        labelled |= set(places)
    assert labelled == {start for start, _, _ in words}


def test_a_teacher_with_other_tokens_is_read_by_characters(base: Path) -> None:
    examples = examples_of(((0, 4, "B-music"), (5, 8, "O")), texts=["play the lights"])
    task = TrainTagging(examples, {})
    theirs_tokens = tokens_for(base, task)
    theirs = encode(task.runtime, theirs_tokens, examples.inputs)  # [CLS] play the lights [SEP]
    pruned, _ = prune_tokenizer(
        AutoTokenizer.from_pretrained(base), count_tokens(AutoTokenizer.from_pretrained(base), ["play the"]), 200
    )
    document = pruned.backend_tokenizer.to_str().replace('"play"', '"qqqq"')
    from tokenizers import Tokenizer

    from tlx.runtime.tokens import tokens_over

    own = encode(task.runtime, tokens_over(Tokenizer.from_str(document), 32, "here", task.runtime), examples.inputs)
    names = [own.notes[0].spelling.tokenizer.id_to_token(i) for i in own.rows[0]]  # type: ignore[index]
    assert names == ["[CLS]", "p", "##l", "##a", "##y", "the", "lights", "[SEP]"]
    values = np.random.default_rng(0).normal(size=(5, len(TAGS))).astype(np.float32)
    values[1, 3] = 9.0  # play: B-music
    lines = task.aligned(Outputs(examples.inputs, theirs, values), own)
    np.testing.assert_array_equal(lines[[0, 1, 5, 6, 7]], values)
    assert lines[2:5].argmax(axis=1).tolist() == [6, 6, 6]  # I-music
    np.testing.assert_array_equal(task.aligned(Outputs(examples.inputs, theirs, values), theirs), values)


def test_a_teacher_whose_tokens_begin_with_the_space_before_them_teaches_no_continuation(base: Path) -> None:
    """ALBERT and DeBERTa-v3: the offsets of ▁lights take in the space."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    from tlx.runtime.tokens import tokens_over

    examples = examples_of(((0, 4, "O"), (5, 11, "B-music")), texts=["play lights"])
    task = TrainTagging(examples, {})
    pieces = ["<unk>", "[CLS]", "[SEP]", "▁play", "▁lights"]
    unigram = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.add_special_tokens(["[CLS]", "[SEP]"])
    unigram.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    theirs = encode(task.runtime, tokens_over(unigram, 32, "here", task.runtime), examples.inputs)
    assert theirs.notes[0].offsets[2].tolist() == [4, 11]  # type: ignore[index]
    own = encode(task.runtime, tokens_for(base, task), examples.inputs)
    assert own.notes[0].offsets[2].tolist() == [5, 11]  # type: ignore[index]
    values = np.random.default_rng(0).normal(size=(4, len(TAGS))).astype(np.float32)
    np.testing.assert_array_equal(task.aligned(Outputs(examples.inputs, theirs, values), own), values)


def test_a_teachers_windows_are_read_in_the_students_own(base: Path) -> None:
    text = " ".join(random.Random(0).choices(FILLERS, k=60))
    examples = examples_of(((0, 1, "O"),), texts=[text])
    task = TrainTagging(examples, {})
    theirs = encode(task.runtime, tokens_for(base, task, 12), examples.inputs)
    own = encode(task.runtime, tokens_for(base, task, 20), examples.inputs)
    rows = [
        np.stack([note.offsets[:, 0], *[ids] * 6], axis=1)
        for note, ids in zip(theirs.notes or [], theirs.rows, strict=True)
    ]
    lines = task.aligned(Outputs(examples.inputs, theirs, np.concatenate(rows).astype(np.float32)), own)
    starts = np.concatenate([note.offsets[:, 0] for note in own.notes or []])
    np.testing.assert_array_equal(lines[starts >= 0, 0], starts[starts >= 0])


def test_training_learns_tags_and_transformers_loads_the_folder(tagging_teacher: Path) -> None:
    from transformers import pipeline

    from tlx.runtime.folder import open_folder

    manifest = open_folder(tagging_teacher).manifest
    assert manifest.task == "token-classification"
    assert manifest.variants["torch"].metrics["f1"] > 0.9
    model = AutoModelForTokenClassification.from_pretrained(tagging_teacher)
    assert tuple(model.config.id2label.values()) == TAGS
    tag = pipeline("token-classification", str(tagging_teacher), aggregation_strategy="simple")
    found = tag("please play song now")
    assert [(e["entity_group"], e["start"], e["end"]) for e in found] == [("music", 7, 16)]
    assert 'aggregation_strategy="first"' in (tagging_teacher / "README.md").read_text()


@pytest.mark.parametrize(
    "section",
    [
        {"layers": 1, "vocabulary": 200},
        {"student": "convolution", "hidden": 32},
        {"student": "gru", "hidden": 24},
    ],
    ids=lambda section: section.get("student", "transformer"),
)
@pytest.mark.parametrize("kind", ["tagging_teacher", "joint_teacher"])
def test_students_learn_from_a_teacher_and_augmented_texts(
    kind: str, section: dict[str, Any], conll: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    teacher = request.getfixturevalue(kind)
    data = conll if kind == "tagging_teacher" else conll.with_suffix(".csv")
    task = "token-classification" if kind == "tagging_teacher" else "intent-slots"
    asked = recipe(data, model={"task": task, "teachers": [str(teacher)], **section}, augment={"count": 200})
    asked = asked.updated("train", epochs=14.0, learning_rate=1e-2)
    result = train(asked, tmp_path / "student", console=Console(quiet=True))
    figures = result.metrics
    assert result.rows > 250
    assert figures["f1" if task == "token-classification" else "slot_f1"] > 0.8
    assert figures.get("intent_accuracy", 1.0) > 0.8


def test_a_bag_is_refused_since_it_knows_no_order(base: Path, conll: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a bag knows no order of words, so it cannot tag them"):
        train(recipe(conll, base, model={"student": "bag"}), tmp_path / "out", console=Console(quiet=True))


def test_unknown_tags_of_validation_data_are_warned_of(base: Path) -> None:
    task = TrainTagging(examples_of(((0, 1, "O"),), texts=["a"]), {})
    gold = [((0, 1, "B-new"),), ((0, 1, "O"),)]
    strange = Examples(source="there", inputs=["a", "b"], gold=gold, labels=("B-new", "O"))
    with pytest.warns(UserWarning, match=r"there: 1 of 2 examples have a label .*'B-new'.*: each counts as an error"):
        task.check_examples(strange)
    with pytest.raises(DataError, match="there: the model knows none of its labels \\('B-new'; it knows 'O'"):
        task.check_examples(replace(strange, labels=("B-new",)))


def test_data_with_one_tag_or_without_slots_are_refused() -> None:
    with pytest.raises(DataError, match="here has only the tag 'O': wanted two or more"):
        TrainTagging(Examples(source="here", inputs=["a"], gold=[((0, 1, "O"),)], labels=("O",)), {})
    labels = ("intent:A", "O", "B-X")
    examples = Examples(source="here", inputs=["a"], gold=[("A", ((0, 1, "O"),))], labels=labels)
    with pytest.raises(DataError, match="here has 1 intents and 2 tags"):
        TrainIntentSlots(examples, {})


def test_intents_are_learnt_at_the_first_token_and_slots_at_the_words(base: Path) -> None:
    labels = ("intent:A", "intent:B", "O", "B-X")
    gold = [("B", ((0, 4, "O"), (5, 8, "B-X"))), ("A", ((0, 2, "B-X"),))]
    examples = Examples(source="here", inputs=["play xyz", "me"], gold=gold, labels=labels)
    task = TrainIntentSlots(examples, {})
    encoded = encode(task.runtime, tokens_for(base, task), examples.inputs)
    found = task.gold(examples, encoded)
    assert found is not None
    assert found.values.tolist() == [1, 2, 3, IGNORED, IGNORED, IGNORED, 0, 3, IGNORED]
    outputs = torch.randn(9, 4, generator=torch.manual_seed(0))
    mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    batch = Batch(inputs={"input_ids": mask, "attention_mask": mask}, gold=found.values)
    wanted = torch.nn.functional.cross_entropy(outputs[[0, 6], :2], torch.tensor([1, 0]))
    wanted = wanted + torch.nn.functional.cross_entropy(outputs[[1, 2, 7], 2:], torch.tensor([0, 1, 1]))
    torch.testing.assert_close(task.loss(outputs, batch, 0.0), wanted)
    assert task.soft_loss(outputs, outputs, batch, 2.0).item() == pytest.approx(0.0, abs=1e-6)
    moved = outputs.clone()
    moved[0, 2:] += torch.tensor([3.0, -1.0])  # the tags' columns of a first token are nobody's
    moved[1, :2] += torch.tensor([3.0, -1.0])
    assert task.soft_loss(moved, outputs, batch, 2.0).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", ["convolution", "gru"])
def test_a_token_students_answer_does_not_depend_on_padding(kind: str) -> None:
    torch.manual_seed(0)
    model = build_student(
        kind, vocab_size=50, num_labels=4, embedding_size=16, hidden_size=32, head_size=12, head="TokenClassification"
    ).eval()
    for length in (1, 2, 7):
        ids = torch.randint(1, 50, (1, length))
        padded = torch.cat([ids, torch.randint(1, 50, (1, 4))], dim=1)
        mask = torch.cat([torch.ones_like(ids), torch.zeros(1, 4, dtype=torch.int64)], dim=1)
        torch.testing.assert_close(model(padded, mask).logits[:, :length], model(ids).logits)


@pytest.mark.parametrize("kind", ["convolution", "gru"])
def test_a_token_students_tags_look_to_both_sides(kind: str) -> None:
    torch.manual_seed(0)
    model = build_student(
        kind, vocab_size=50, num_labels=4, embedding_size=16, hidden_size=32, head_size=12, head="TokenClassification"
    ).eval()
    states = model.encoder(torch.tensor([[5, 6, 7, 8, 9]]), torch.ones(1, 5, dtype=torch.int64))[0]
    changed = model.encoder(torch.tensor([[5, 6, 7, 8, 4]]), torch.ones(1, 5, dtype=torch.int64))[0]
    earlier = model.encoder(torch.tensor([[4, 6, 7, 8, 9]]), torch.ones(1, 5, dtype=torch.int64))[0]
    middle = [model.encoder.around(found)[0, 2] for found in (states, changed, earlier)]
    assert not torch.allclose(middle[0], middle[1])
    assert not torch.allclose(middle[0], middle[2])


@pytest.mark.parametrize("kind", ["convolution", "gru"])
def test_labels_give_a_token_student_the_usual_loss(kind: str) -> None:
    model = build_student(kind, vocab_size=50, num_labels=4, hidden_size=16, head="TokenClassification").eval()
    ids, labels = torch.tensor([[5, 6, 7]]), torch.tensor([[1, IGNORED, 2]])
    output = model(ids, labels=labels, output_hidden_states=True)
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits[0], labels[0]))
    assert output.hidden_states[0].shape[:2] == (1, 3)
