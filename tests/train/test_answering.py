"""question-answering in training: gold in windows, losses over rows, splits by context, teachers, the whole way to int8."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.conftest import WORDS, recipe

from tlx.runtime.errors import RecipeError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.tasks.answering import QuestionAnswering
from tlx.runtime.tasks.task import Input, Outputs, unit_starts
from tlx.train.batches import Batch, encode, tokens_of
from tlx.train.split import stratified_split
from tlx.train.tasks.answering import TrainAnswering
from tlx.train.terms.labels import IGNORED

ALL_WORDS = sorted({word for group in WORDS.values() for word in group})


def squad(path: Path, contexts: int = 12, *, words: int = 12, impossible: bool = False, seed: int = 0) -> Path:
    """Three questions a context: the word behind a word; with `impossible` a fourth about a word that is not there."""
    chance = random.Random(seed)
    paragraphs = []
    for number in range(contexts):
        drawn = chance.sample(ALL_WORDS[:-1], min(words, len(ALL_WORDS) - 1))
        drawn += chance.choices(drawn[:2], k=max(words - len(drawn), 0))
        context, qas = " ".join(drawn), []
        for place in chance.sample(range(len(drawn) // 2), 3):
            start = sum(len(word) + 1 for word in drawn[: place + 1])
            answer = {"text": drawn[place + 1], "answer_start": start}
            qas.append({"id": f"{number}-{place}", "question": f"on {drawn[place]}", "answers": [answer]})
        if impossible:
            qas.append({"id": f"{number}-x", "question": f"on {ALL_WORDS[-1]}", "answers": [], "is_impossible": True})
        paragraphs.append({"context": context, "qas": qas})
    path.write_text(json.dumps({"version": "2.0", "data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return path


def made(base: Path, examples: Examples, max_tokens: int = 24, **options: Any) -> tuple[TrainAnswering, Any]:
    from tlx.train.pretrained import load_tokenizer

    task = TrainAnswering(examples, options)
    return task, tokens_of(load_tokenizer(str(base)), max_tokens, task.runtime)


def examples_of(*rows: tuple[str, str, Any]) -> Examples:
    gold = [
        () if answer is None else ((context.index(answer), context.index(answer) + len(answer), answer),)
        for _, context, answer in rows
    ]
    inputs = [(question, context) for question, context, _ in rows]
    return Examples(source="test", inputs=inputs, gold=gold, settings={"no_answer": not all(gold)})


LONG = "play some music loud song please turn off lights now " * 2 + "cancel my card"


def test_gold_names_the_tokens_that_decode_to_the_answer(base: Path) -> None:
    rows = [
        ("my card", "play some music, please", "music"),
        ("on", LONG, "cancel my"),
        ("off", "lights 😀 é dark", "é"),
        ("off", "lights dark", " dark"),
        ("now", "lamp bright", None),
    ]
    task, tokens = made(base, examples_of(*rows))
    encoded = encode(task.runtime, tokens, [row[:2] for row in rows])
    gold = task.gold(examples_of(*rows), encoded)
    assert gold is not None
    seen: dict[int, list[str]] = {}
    for row, (owner, window) in enumerate(zip(encoded.owners.tolist(), encoded.notes, strict=True)):  # type: ignore
        first, last = gold.values[row].tolist()
        if first:
            start, end = window.spans[first - window.first, 0], window.spans[last - window.first, 1]
            seen.setdefault(owner, []).append(rows[owner][1][start:end])
        else:
            assert (first, last) == (0, 0)
    assert len(encoded.rows) > len(rows)
    assert {owner: set(texts) for owner, texts in seen.items()} == {
        0: {"music"},
        1: {"cancel my"},
        2: {"é"},
        3: {"dark"},
    }


def test_unlabelled_windows_do_not_count(base: Path) -> None:
    rows = [("on", "play some music", "music"), ("on", LONG, "card")]
    task, tokens = made(base, examples_of(*rows))
    encoded = encode(task.runtime, tokens, [row[:2] for row in rows])
    rest = task.unlabelled_gold(encoded)
    gold = task.gold(examples_of(*rows), encoded)
    assert gold is not None
    assert rest is not None
    assert len(gold.followed_by(rest).values) == 2 * len(encoded.rows)
    lengths = torch.tensor([len(row) for row in encoded.rows])
    inputs = {"attention_mask": (torch.arange(int(lengths.max())) < lengths[:, None]).long()}
    outputs = torch.randn(int(lengths.sum()), 2, requires_grad=True)
    loss = task.loss(outputs, Batch(inputs=inputs, gold=rest.values), 0.1)
    assert loss.item() == 0.0
    half = rest.values.clone()
    half[0] = gold.values[0]
    alone = {"attention_mask": inputs["attention_mask"][:1]}
    expected = task.loss(outputs[: int(lengths[0])], Batch(inputs=alone, gold=half[:1]), 0.0)
    torch.testing.assert_close(task.loss(outputs, Batch(inputs=inputs, gold=half), 0.0), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_losses_are_torchs_own_row_by_row(base: Path, smoothing: float) -> None:
    task, _ = made(base, examples_of(("on", "play music", "music")))
    lengths, generator = [5, 9, 3], torch.Generator().manual_seed(0)
    outputs, theirs = (torch.randn(sum(lengths), 2, generator=generator) for _ in range(2))
    gold = torch.tensor([[1, 3], [0, 0], [IGNORED, IGNORED]])
    mask = (torch.arange(9) < torch.tensor(lengths)[:, None]).long()
    batch = Batch(inputs={"attention_mask": mask}, gold=gold)
    hard, soft = [], []
    for row, (own, other) in enumerate(zip(outputs.split(lengths), theirs.split(lengths), strict=True)):
        for end in (0, 1):
            if row < 2:
                line = own[None, :, end]
                hard.append(
                    torch.nn.functional.cross_entropy(line, gold[row, end : end + 1], label_smoothing=smoothing)
                )
            target, log = torch.softmax(other[:, end] / 3, 0), torch.log_softmax(own[:, end] / 3, 0)
            soft.append(torch.nn.functional.kl_div(log, target, reduction="sum") * 9)
    torch.testing.assert_close(task.loss(outputs, batch, smoothing), torch.stack(hard).mean())
    torch.testing.assert_close(task.soft_loss(outputs, theirs, batch, 3.0), torch.stack(soft).mean())


def test_long_answers_are_allowed_as_the_training_data_has_them(base: Path) -> None:
    rows = examples_of(
        ("on", LONG, "music loud song please turn off lights now play some music loud song please turn off")
    )
    task, tokens = made(base, rows, max_tokens=32)
    task.gold(rows, encode(task.runtime, tokens, rows.inputs))
    assert task.settings["max_answer_len"] == task.runtime.max_answer_len == 16
    task, _ = made(base, rows, max_tokens=32, max_answer_len=4)
    task.gold(rows, encode(task.runtime, tokens, rows.inputs))
    assert task.settings["max_answer_len"] == 4
    with pytest.raises(RecipeError, match="task.max_answer_len is 0: wanted 1 to 512"):
        TrainAnswering(rows, {"max_answer_len": 0})


def test_questions_about_one_context_stay_on_one_side_of_a_split(tmp_path: Path) -> None:
    examples = QuestionAnswering.read(squad(tmp_path / "data.json", contexts=20), {})
    task = TrainAnswering(examples, {})
    first, held = stratified_split(examples, 0.2, 0, task.strata, task.split_group)
    contexts = [{item[1] for item in part.inputs} for part in (first, held)]
    assert not contexts[0] & contexts[1]
    assert len(first) + len(held) == len(examples)
    assert len(held) == 12
    lone = examples.select([0, 1, 2])
    assert len(stratified_split(lone, 0.2, 0, task.strata, task.split_group)[1]) == 0


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("sizes", [[95, 1, 1, 1, 1, 1], [300, *[2] * 100], [3] * 30])
def test_a_context_of_most_questions_is_not_held_out(sizes: list[int], seed: int) -> None:
    inputs: list[Input] = [(f"question {n}", f"context {c}") for c, size in enumerate(sizes) for n in range(size)]
    examples = Examples(source="x", inputs=inputs, gold=[()] * len(inputs))
    held = stratified_split(examples, 0.1, seed, lambda gold: (), lambda item: item[1])[1]
    assert 1 <= len(held) <= 0.15 * len(inputs)


def test_a_teacher_with_another_tokenizer_teaches_by_characters(base: Path) -> None:
    from tests.families.tokenizers import byte_pairs

    rows = examples_of(("on music", "play some music 😀 please", "music"), ("off", "lights dark", "dark"))
    task, tokens = made(base, rows, max_tokens=32)
    own = encode(task.runtime, tokens, rows.inputs)
    other = encode(task.runtime, tokens_of(byte_pairs(), 60, task.runtime), rows.inputs)
    starts = unit_starts(task.runtime.units(other), len(other.rows))
    values = np.random.default_rng(0).normal(size=(int(starts[-1]), 2)).astype(np.float32)
    gold = task.gold(rows, other)
    assert gold is not None
    for row in range(2):
        for end in (0, 1):
            values[starts[row] + int(gold.values[row, end]), end] = 20.0
    lines = task.aligned(Outputs(rows.inputs, other, values), own)
    answers = task.runtime.answers(Outputs(rows.inputs, own, lines))
    assert [answer["answer"] for answer in answers] == ["music", "dark"]  # type: ignore[index]
    assert np.isfinite(lines).all()


def test_a_teacher_with_other_windows_is_refused(base: Path) -> None:
    rows = examples_of(("on", LONG, "card"))
    task, tokens = made(base, rows)
    own = encode(task.runtime, tokens, rows.inputs)
    with pytest.raises(
        UsageError, match=r"another tokenizer, .* longer than a window: make the student of the teacher"
    ):
        task.aligned(Outputs(rows.inputs, own, np.zeros((9, 2), dtype=np.float32)), own)


def test_the_threshold_for_no_answer_is_the_best_on_the_validation_rows(base: Path) -> None:
    rows = examples_of(*[("on", "play music", "music")] * 6, *[("on", "lamp bright", None)] * 6)
    task, tokens = made(base, rows)
    encoded = encode(task.runtime, tokens, rows.inputs)
    starts = unit_starts(task.runtime.units(encoded), len(encoded.rows))
    values = np.zeros((int(starts[-1]), 2), dtype=np.float32)
    for row, window in enumerate(encoded.notes or ()):
        values[starts[row] + window.first + 1] = 6.0
        values[starts[row]] = 7.0 if row < 6 else 9.0  # the model says "no answer" too often
    outputs = Outputs(rows.inputs, encoded, values)
    assert task.runtime.metrics(outputs, rows)["f1"] == 0.5
    assert task.metrics(outputs, rows, None)["f1"] == 1.0  # with what it would choose
    task.tune(outputs, rows)
    assert 2.0 < task.settings["null_threshold"] < 6.0
    assert task.runtime.metrics(outputs, rows)["f1"] == 1.0


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_a_trained_folder_answers_in_every_variant_as_torch_does(base: Path, tmp_path: Path) -> None:
    from tlx.export.config import ExportConfig
    from tlx.export.export import export
    from tlx.export.torch_engine import open_torch
    from tlx.runtime import load
    from tlx.runtime.folder import open_folder
    from tlx.train.console import Console
    from tlx.train.train import train

    source = squad(tmp_path / "data.json", words=40, impossible=True)
    out = tmp_path / "model"
    result = train(recipe(source, base, train={"epochs": 1}), out, console=Console(quiet=True))
    assert {"f1", "exact_match", "has_answer_f1", "no_answer_f1"} <= set(result.metrics)
    folder = open_folder(out)
    assert folder.manifest.settings["no_answer"] is True
    assert folder.manifest.max_tokens == 32
    export(out, config=ExportConfig(data=source, precisions=("int8",), seconds=0, max_drop=1.0))
    examples = QuestionAnswering.read(source, {})
    model, torch_engine = load(out, "fp32", "cpu", 1), open_torch(open_folder(out), "cpu")
    expected = torch_engine.run(examples.inputs)
    assert len(expected.encoded.rows) > 2 * len(examples)
    np.testing.assert_allclose(model.run(examples.inputs).values, expected.values, atol=1e-4)
    assert [a["answer"] for a in model(examples.inputs)] == [a["answer"] for a in model.task.answers(expected)]
    quantized = load(out, "int8", "cpu", 1)
    assert set(quantized(examples.inputs[0])) == {"score", "start", "end", "answer"}
    assert model.task.flips(model.run(examples.inputs), expected) == 0.0
    assert 'model(question="Where does it rain?"' in (out / "README.md").read_text()


def test_a_smaller_student_learns_from_a_teacher(base: Path, tmp_path: Path) -> None:
    from tlx.train.console import Console
    from tlx.train.train import train

    source, quiet = squad(tmp_path / "data.json", words=20), Console(quiet=True)
    quick = {"epochs": 1, "batch_rows": 64}
    train(recipe(source, base, train=quick), tmp_path / "teacher", console=quiet)
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"question": "on music", "context": "play some music"}) + "\n", encoding="utf-8")
    sections: dict[str, Any] = {
        "model": {"teachers": [str(tmp_path / "teacher")], "layers": 1},
        "data": {"unlabelled": [str(more)]},
        "train": quick,
    }
    result = train(recipe(source, **sections), tmp_path / "student", console=quiet)
    assert result.rows == 34  # 33 of the 36 questions, and the one without an answer
