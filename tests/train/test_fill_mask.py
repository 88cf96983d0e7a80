"""Masked-language-model training: what is masked, how texts become rows, and what the folder is then good for."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.families.tokenizers import byte_pairs, unigram, word_piece
from tests.train.conftest import WORDS, recipe

from tlx.runtime.errors import RecipeError, UsageError
from tlx.runtime.tasks import task_named
from tlx.runtime.tasks.task import Encoded


def lines(path: Path, count: int = 150, seed: int = 0) -> Path:
    """Texts of one word again and again, of several lengths, so that what is masked can be seen beside it."""
    draw, words = random.Random(seed), sorted({word for group in WORDS.values() for word in group})
    texts = (" ".join([draw.choice(words)] * draw.randint(6, 14)) for _ in range(count))
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lines(tmp_path_factory.mktemp("corpus") / "corpus.txt")


@pytest.fixture(scope="session")
def language_model(base: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `train` made of an encoder without a head, on plain text."""
    out = tmp_path_factory.mktemp("language-model") / "model"
    trained(corpus, base, out, train={"epochs": 30, "batch_rows": 16, "patience": 30}, task={"block": False})
    return out


def trained(source: Path, base: Path | None, out: Path, **sections: dict[str, Any]) -> Any:
    from tlx.train.console import Console
    from tlx.train.train import train

    return train(recipe(source, base, **sections), out, console=Console(quiet=True))


def made_task(tokenizer: Any, source: str = "texts.jsonl", **options: Any) -> Any:
    from tlx.runtime.examples import Examples
    from tlx.train.tasks.filling import TrainFilling

    task = TrainFilling(Examples(source=source, inputs=[("a",)]), options)
    task.adopt_tokenizer(tokenizer)
    return task


def encoded(task: Any, tokenizer: Any, texts: list[str]) -> tuple[Encoded, Any]:
    from tlx.train.batches import encode, tokens_of

    tokens = tokens_of(tokenizer, 16, task.runtime)
    return encode(task.runtime, tokens, [(text,) for text in texts]), tokens


def batch_of(task: Any, tokenizer: Any, texts: list[str]) -> Any:
    from tlx.train.batches import Rows, token_rows

    rows, tokens = encoded(task, tokenizer, texts)
    arranged = task.arranged(rows, 16)
    student = token_rows(arranged, tokens.pad_id or 0)
    return Rows(student=student).batch(np.arange(len(arranged.rows)))


def test_a_base_without_head_learns_to_fill_masks(language_model: Path) -> None:
    from tlx.runtime.folder import open_folder

    manifest = open_folder(language_model).manifest
    assert manifest.task == "fill-mask"
    assert manifest.settings["mask_token"] == "[MASK]"
    assert manifest.labels == ()
    figures = manifest.variants["torch"].metrics
    assert figures["token_accuracy"] > 0.8
    assert figures["pseudo_perplexity"] < 4


@pytest.mark.parametrize(
    "kind", ["bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "mpnet", "modernbert"]
)
def test_a_fresh_head_begins_with_the_frequencies_of_the_tokens(kind: str) -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM

    from tlx.train.batches import token_rows

    tokenizer = word_piece(lowercase=True)
    task = made_task(tokenizer)
    rows, tokens = encoded(task, tokenizer, ["the lights in the kitchen", "the card"])
    width = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 1}
    width |= {"dim": 16, "n_heads": 2, "hidden_dim": 16, "n_layers": 1} if kind == "distilbert" else {}
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer) + 3, pad_token_id=0, **width)
    model = AutoModelForMaskedLM.from_config(config)
    before = model.get_output_embeddings().bias.detach().clone()
    train = token_rows(task.arranged(rows, 16), tokens.pad_id or 0)
    task.acquaint(model, {"another.weight"}, train)
    assert torch.equal(model.get_output_embeddings().bias, before)
    task.acquaint(model, {name for name, _ in model.named_parameters()}, train)
    share = model.get_output_embeddings().bias.detach().exp()
    the, card, never = (tokenizer.convert_tokens_to_ids(word) for word in ("the", "card", "[CLS]"))
    assert share.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (share[the] / share[never]).item() == pytest.approx(4.0, rel=1e-5)
    assert (share[card] / share[never]).item() == pytest.approx(2.0, rel=1e-5)


def test_the_tables_stay_tied(language_model: Path) -> None:
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(language_model)
    assert model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()


def test_a_classifier_starts_from_what_was_learnt(language_model: Path, data: Path, tmp_path: Path) -> None:
    result = trained(data, language_model, tmp_path / "classifier", train={"epochs": 3})
    assert result.task == "text-classification"
    assert result.metrics["accuracy"] > 0.5


def test_a_run_gives_the_same_model_twice(base: Path, corpus: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for name in ("one", "two"):
        trained(corpus, base, tmp_path / name, train={"epochs": 1})
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_stopped_run_masks_on_where_it_was(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    import tlx.train.loop as loop
    from tlx.train.console import Console
    from tlx.train.recipe import Recipe
    from tlx.train.train import train

    settings = {"epochs": 3, "batch_rows": 8, "checkpoint_seconds": 0.0}
    trained(corpus, base, tmp_path / "whole", train=settings)
    true, steps = loop._note, []

    def killed(*arguments: Any) -> None:
        true(*arguments)
        steps.append(1)
        if len(steps) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_note", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(corpus, base, tmp_path / "stopped", train=settings)
    monkeypatch.setattr(loop, "_note", true)
    train(Recipe(), tmp_path / "stopped", resume=True, console=Console(quiet=True))
    whole, stopped = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_a_student_learns_beside_its_teacher(language_model: Path, corpus: Path, tmp_path: Path) -> None:
    model = {"teachers": [str(language_model)], "layers": 1}
    result = trained(corpus, None, tmp_path / "student", model=model, train={"epochs": 6}, task={"block": False})
    assert result.metrics["token_accuracy"] > 0.5


@pytest.mark.parametrize("section", [{}, {"distil": {"hidden": 0.0, "relations": 0.0}}])
def test_a_teacher_that_cannot_run_beside_is_refused(
    corpus: Path, language_model: Path, tmp_path: Path, section: dict[str, Any]
) -> None:
    model = {"teachers": [str(language_model)] * (1 if section else 2)}
    with pytest.raises(UsageError, match="its teacher answers beside the student: give one --teacher"):
        trained(corpus, None, tmp_path / "out", **{**section, "model": model})


def test_texts_of_another_script_extend_the_vocabulary(base: Path, tmp_path: Path) -> None:
    from tlx.runtime.folder import open_folder
    from tlx.train.pretrained import load_pretrained, load_tokenizer
    from tlx.train.tasks.filling import TrainFilling

    source = tmp_path / "zh.txt"
    texts = [f"{text} {n}" for text in ("请帮我取消信用卡", "明天天气怎么样", "关掉厨房的灯") for n in range(8)]
    source.write_text("\n".join(texts), encoding="utf-8")
    trained(source, base, tmp_path / "zh", train={"epochs": 1})
    before, after = len(load_tokenizer(str(base))), len(load_tokenizer(str(tmp_path / "zh")))
    assert after > before + 15
    model, missing = load_pretrained(str(tmp_path / "zh"), TrainFilling.auto_class(), {})
    assert not missing
    assert model.get_output_embeddings().weight.shape[0] == after
    assert open_folder(tmp_path / "zh").manifest.variants["torch"].metrics["pseudo_perplexity"] > 0


def test_a_pruned_language_model_answers_as_the_whole_one_for_what_it_keeps(language_model: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    from tlx.train.building import _keep_rows
    from tlx.train.vocabulary import count_tokens, prune_tokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model)
    texts = ["play some music now", "please cancel the card"]
    small, rows = prune_tokenizer(tokenizer, count_tokens(tokenizer, texts), 60)
    whole, pruned = (AutoModelForMaskedLM.from_pretrained(language_model).eval() for _ in range(2))
    _keep_rows(pruned, rows, small)
    with torch.inference_mode():
        expected = whole(**tokenizer("play [MASK] music", return_tensors="pt")).logits[..., torch.from_numpy(rows)]
        found = pruned(**small("play [MASK] music", return_tensors="pt")).logits
    assert found.shape[-1] == len(rows) == 60
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


TEXTS = ["please cancel my card and send me a new one", "what is the weather in paris tomorrow", "thanks"] * 40


@pytest.mark.parametrize("make", [word_piece, byte_pairs, unigram])
def test_eight_in_ten_masks_are_masks_one_is_another_token_one_stays(make: Any) -> None:
    tokenizer = make()
    task = made_task(tokenizer)
    batch = batch_of(task, tokenizer, TEXTS)
    before = batch.inputs["input_ids"]
    chosen = masks = same = 0
    for step in range(30):
        after = task.corrupted(batch, np.random.default_rng(step))
        where = after.inputs["masked"]
        assert torch.equal(after.gold, before[where])
        assert torch.equal(after.inputs["input_ids"][~where], before[~where])
        assert not set(after.gold.tolist()) & set(tokenizer.all_special_ids)
        new = after.inputs["input_ids"][where]
        assert not set(new[new != tokenizer.mask_token_id].tolist()) & set(tokenizer.all_special_ids)
        chosen += int(where.sum())
        masks += int((new == tokenizer.mask_token_id).sum())
        same += int((new == after.gold).sum())
    free = sum(len(row) - 2 for row in encoded(task, tokenizer, TEXTS)[0].rows)
    assert chosen / (30 * free) == pytest.approx(0.15, abs=0.01)
    assert masks / chosen == pytest.approx(0.8, abs=0.03)
    assert same / chosen == pytest.approx(0.1, abs=0.03)


def test_a_step_masks_the_same_whenever_it_is_run() -> None:
    tokenizer = word_piece()
    task = made_task(tokenizer)
    batch = batch_of(task, tokenizer, TEXTS[:6])
    one, two = (task.corrupted(batch, np.random.default_rng([0, 3, 17])) for _ in range(2))
    assert torch.equal(one.inputs["input_ids"], two.inputs["input_ids"])


@pytest.mark.parametrize("make", [word_piece, byte_pairs, unigram])
def test_whole_words_are_masked_or_left(make: Any) -> None:
    tokenizer = make()
    task = made_task(tokenizer, whole_word=True)
    batch = batch_of(task, tokenizer, ["unknownish wordings of paristomorrow 12345 money"] * 8)
    for step in range(20):
        after = task.corrupted(batch, np.random.default_rng(step))
        for ids, where in zip(batch.inputs["input_ids"], after.inputs["masked"], strict=True):
            tokens = tokenizer.convert_ids_to_tokens(ids.tolist())
            for i in range(1, len(tokens)):
                goes_on = tokens[i].startswith("##") if make is word_piece else tokens[i][0] not in "▁Ġ"
                if goes_on and not {tokens[i], tokens[i - 1]} & set(tokenizer.all_special_tokens):
                    assert where[i] == where[i - 1]


@pytest.mark.parametrize("make", [word_piece, byte_pairs, unigram])
def test_blocks_hold_all_texts_with_an_end_token_between(make: Any) -> None:
    tokenizer = make()
    task = made_task(tokenizer, source="texts.txt")
    texts = [*TEXTS[:3], " ".join(TEXTS[:6])]
    found = task.arranged(encoded(task, tokenizer, texts)[0], 16).rows
    begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert all(len(row) == 16 for row in found[:-1])
    assert all(row[0] == begin and row[-1] == end for row in found)
    joined: list[int] = []
    for number, text in enumerate(texts):
        joined += [end] * bool(number) + tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert [i for row in found for i in row[1:-1].tolist()] == joined


def test_texts_of_a_table_are_rows_of_their_own() -> None:
    tokenizer = word_piece()
    task = made_task(tokenizer)
    found = task.arranged(encoded(task, tokenizer, TEXTS[:3])[0], 16).rows
    assert [tokenizer.decode(row, skip_special_tokens=True) for row in found] == TEXTS[:3]


def test_unknown_options_are_named(corpus: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"task.mask_shar is no key \(did you mean mask_share\?\)"):
        trained(corpus, base, tmp_path / "out", task={"mask_shar": 0.2})


def test_a_tokenizer_without_mask_token_is_refused() -> None:
    tokenizer = word_piece()
    tokenizer.mask_token = None
    with pytest.raises(UsageError, match="the tokenizer has no mask token: start from a --base"):
        made_task(tokenizer)


@pytest.mark.parametrize(("source", "least"), [("a.txt", 128), ("a.txt.gz", 128), ("a.jsonl", 64)])
def test_lines_are_joined_into_rows_of_more_tokens_than_a_line_has(source: str, least: int) -> None:
    task = made_task(word_piece(), source)
    assert (task.block, task.least_tokens) == (least == 128, least)


def test_a_tokenizer_that_pads_by_itself_changes_no_block(base: Path, tmp_path: Path) -> None:
    """all-MiniLM's tokenizer.json pads every text to 128: a block would be padding for the most part."""
    from tlx.train.pretrained import load_tokenizer

    padded = tmp_path / "padded"
    shutil.copytree(base, padded)
    document = json.loads((padded / "tokenizer.json").read_text())
    strategy = {"strategy": {"Fixed": 24}, "direction": "Right", "pad_to_multiple_of": None}
    document["padding"] = {**strategy, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    document["truncation"] = {"direction": "Right", "max_length": 24, "strategy": "LongestFirst", "stride": 0}
    (padded / "tokenizer.json").write_text(json.dumps(document))
    tokenizer = load_tokenizer(str(padded))
    assert (
        tokenizer.backend_tokenizer.encode("card").ids == load_tokenizer(str(base)).backend_tokenizer.encode("card").ids
    )
    assert len(tokenizer.backend_tokenizer.encode("card " * 40).ids) == 42


def test_a_label_is_refused_where_lines_are_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "spam.txt"
    path.write_text("ham\thello\nspam\twin\n")
    with pytest.raises(UsageError, match="read as plain text for fill-mask, where --label kind names nothing"):
        task_named("fill-mask").read(path, {"label": "kind"})
