"""What the teacher's layer of outputs reads teaches a small student."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.train.conftest import recipe, rows
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from tlx.runtime import UsageError
from tlx.train.batches import Batch
from tlx.train.console import Console
from tlx.train.students import build_student
from tlx.train.terms.vectors import HeadTap, TextVectors, head_of
from tlx.train.train import train

QUIET = Console(quiet=True)
IDS = torch.tensor([[2, 3, 4], [5, 6, 7]])


def student() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_student("bag", vocab_size=50, num_labels=4, pad_token_id=0, embedding_size=16, head_size=12).eval()


def test_the_head_is_the_layer_that_gives_the_outputs(teacher: Path, base: Path) -> None:
    classifier = AutoModelForSequenceClassification.from_pretrained(teacher)
    assert head_of(classifier) is classifier.classifier
    small = student()
    assert head_of(small) is small.classifier
    assert head_of(AutoModel.from_pretrained(base)) is None


def test_a_tap_catches_what_the_head_reads_in_copies_of_the_model_too() -> None:
    model = student()
    tap = HeadTap(head_of(model))
    logits = copy.deepcopy(model)(IDS).logits
    assert tap.caught is not None
    assert tap.caught.shape == (2, tap.width) == (2, 12)
    torch.testing.assert_close(model.classifier(tap.caught), logits)
    tap.remove()
    tap.caught = None
    model(IDS)
    assert tap.caught is None


def test_a_head_that_reads_every_token_has_no_vector_of_the_text() -> None:
    config = GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=2, num_labels=4, pad_token_id=0)
    model = GPT2ForSequenceClassification(config).eval()
    tap = HeadTap(head_of(model))
    model(IDS)
    assert tap.caught is None


def test_the_loss_is_one_less_the_cosine_of_the_mapped_vector_times_the_weight() -> None:
    model = student()
    term = TextVectors(head_of(model), 5, 3.0)
    tap = HeadTap(head_of(model))
    model(IDS)
    theirs = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float16)
    batch = Batch(inputs={"input_ids": IDS}, teacher_vectors=torch.from_numpy(theirs))
    loss, answers = term(batch, None)
    ours = term.map(tap.caught).detach().numpy()
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs.astype(np.float32), axis=1)
    assert answers is None
    assert loss.item() == pytest.approx(3.0 * (1.0 - cosines).mean(), abs=1e-3)


def test_vectors_are_asked_once_kept_with_the_answers_and_change_what_is_learnt(
    data: Path, teacher: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"

    def learnt(name: str, weight: float, seed: int = 0) -> dict[str, torch.Tensor]:
        made = recipe(
            data,
            model={"teachers": [str(teacher)], "student": "bag", "vocabulary": 210},
            distil={"cache": str(cache), "vectors": weight},
            augment={"count": 40},
            train={"epochs": 1, "seed": seed},
        )
        train(made, tmp_path / name, console=QUIET)
        weights: dict[str, torch.Tensor] = load_file(tmp_path / name / "model.safetensors")
        return weights

    without = learnt("without", 0.0)
    assert not list(cache.glob("vectors-*"))
    taught = learnt("taught", 2.0)
    (kept,) = cache.glob("vectors-*.npy")
    vectors, made = np.load(kept), kept.stat().st_mtime_ns
    assert vectors.dtype == np.float16
    assert vectors.shape[1] == 32
    assert np.abs(vectors.mean(axis=0, dtype=np.float32)).max() < 1e-3
    assert taught.keys() == without.keys()  # the map stays behind
    assert not torch.equal(taught["dense.weight"], without["dense.weight"])
    learnt("again", 2.0)
    assert kept.stat().st_mtime_ns == made
    assert list(cache.glob("vectors-*.npy")) == [kept]


def plain_texts(folder: Path) -> Path:
    path = folder / "texts.txt"
    path.write_text("\n".join(text for text, _ in rows(120, 3)), encoding="utf-8")
    return path


@torch.no_grad()
def cosine_of_pooler(folder: Path, base: Path) -> float:
    """Between what the folder's pooler says of texts and the mean of the base's states."""
    student, oracle = (AutoModel.from_pretrained(place).eval() for place in (folder, base))
    inputs = AutoTokenizer.from_pretrained(base)([text for text, _ in rows(40, 8)], padding=True, return_tensors="pt")
    weight = inputs["attention_mask"].unsqueeze(-1)
    wanted = (oracle(**inputs).last_hidden_state * weight).sum(1) / weight.sum(1)
    return float(torch.cosine_similarity(student(**inputs).pooler_output, wanted).mean())


def test_a_pooler_learns_to_say_the_teachers_vector_where_the_recipe_asks(base: Path, tmp_path: Path) -> None:
    found = {}
    for weight in (0.0, 5.0):
        model = {"task": "feature-extraction", "teachers": [str(base)], "layers": 1, "random_weights": True}
        distil = {"alpha": 1.0, "pooler": weight}
        made = recipe(plain_texts(tmp_path), model=model, train={"epochs": 4}, distil=distil)
        train(made, tmp_path / str(weight), console=QUIET)
        found[weight] = cosine_of_pooler(tmp_path / str(weight), base)
    assert found[5.0] > 0.9 > 0.5 > found[0.0]


def test_a_pooler_of_another_width_is_refused(base: Path, tmp_path: Path) -> None:
    model = {"task": "feature-extraction", "teachers": [str(base)], "hidden": 16}
    made = recipe(plain_texts(tmp_path), model=model, distil={"alpha": 1.0, "pooler": 1.0})
    with pytest.raises(UsageError, match="distil.pooler is for encoders with a pooler, of their teacher's width 32"):
        train(made, tmp_path / "model", console=QUIET)
    assert not (tmp_path / "model").exists()
