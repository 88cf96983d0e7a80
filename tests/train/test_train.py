"""From a file to a model folder: what is written, what is the same after a kill, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.train.conftest import recipe, rows, write_csv

from tlx.runtime.errors import DataError, FolderError, IntegrityError, TlxError, TrainingError, UsageError
from tlx.runtime.folder import Variant, file_record, open_folder
from tlx.train.checkpoint import load_checkpoint
from tlx.train.console import Console
from tlx.train.recipe import Recipe, recipe_from
from tlx.train.runs import begin, claimed
from tlx.train.train import run_folder, train

QUIET = Console(quiet=True)


def test_fine_tuning_learns_and_writes_a_whole_folder(teacher: Path) -> None:
    folder = open_folder(teacher)
    assert folder.manifest.labels == ("card", "lights", "music")
    assert folder.manifest.variants["torch"].metrics["accuracy"] > 0.8
    for record in (*folder.manifest.files.values(), folder.manifest.variants["torch"].file):
        folder.read(record)
    names = {path.name for path in teacher.iterdir()}
    assert {"recipe.toml", "training.png", "README.md", "tokenizer.json"} <= names
    assert not run_folder(teacher).exists()
    assert (teacher / "README.md").read_text().split("# ")[1].startswith("model\n")
    lineage = folder.manifest.lineage
    assert lineage["data"][0]["rows"] == 120
    assert lineage["recipe"]["train"]["epochs"] == 12.0


def test_the_folder_loads_in_transformers_with_its_labels(teacher: Path) -> None:
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(teacher), device="cpu")
    assert classify("play some loud music")[0]["label"] == "music"


def test_the_same_seed_gives_the_same_weights_and_another_does_not(base: Path, data: Path, tmp_path: Path) -> None:
    weights = []
    for number, seed in enumerate((3, 3, 4)):
        out = tmp_path / str(number)
        train(recipe(data, base).updated("train", seed=seed), out, console=QUIET)
        weights.append(load_file(out / "model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ("---\nlicense: mit\n---\n# base\n", 'license: "mit"'),
        ("---\n: [\n---\n", None),
        ("# base\n", None),
        ("---\nlicense: [mit, gpl-3.0]\n---\n", None),
    ],
)
def test_the_licence_of_the_base_is_the_models(
    card: str, told: str | None, base: Path, data: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(base, tmp_path / "base"))
    (own / "README.md").write_text(card)
    train(recipe(data, own), tmp_path / "model", console=QUIET)
    found = [line for line in (tmp_path / "model" / "README.md").read_text().splitlines() if line.startswith("license")]
    assert found == ([] if told is None else [told])


CHILD = """
import sys, time
from tlx.train.recipe import recipe_from
from tlx.train.train import train
from tlx.train.console import Console
import json, tlx.train.loop as loop
true_judge = loop._note
def slow(*a):
    time.sleep(0.03)
    return true_judge(*a)
loop._note = slow
train(recipe_from(json.loads(sys.argv[1]), source="child"), sys.argv[2], console=Console(quiet=True))
"""


@pytest.mark.parametrize(
    ("how", "student"),
    [(signal.SIGKILL, {"layers": 1}), (signal.SIGINT, {"student": "convolution", "vocabulary": 210})],
)
def test_a_stopped_run_goes_on_to_the_weights_of_one_that_was_not(
    how: signal.Signals, student: dict[str, Any], data: Path, teacher: Path, tmp_path: Path
) -> None:
    settings = {"epochs": 4, "checkpoint_seconds": 0.0, "dropout": 0.2}
    made = recipe(data, train=settings, model={"teachers": [str(teacher)], **student}, augment={"count": 60})
    train(made, tmp_path / "whole", console=QUIET)
    out = tmp_path / "stopped"
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    child = subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(made.to_dict()), str(out)], env=environment)
    checkpoint = run_folder(out) / "checkpoint" / "progress.json"
    while child.poll() is None:
        try:
            step = json.loads(checkpoint.read_text())["step"]
        except (OSError, ValueError, KeyError):
            step = 0
        if step >= 14:
            break
        time.sleep(0.02)
    child.send_signal(how)
    assert child.wait() != 0
    assert not out.exists()
    torch.manual_seed(12345)  # whatever the process did before must not matter
    train(Recipe(), out, resume=True, console=QUIET)
    whole, stopped = (load_file(folder / "model.safetensors") for folder in (tmp_path / "whole", out))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_a_run_stopped_before_its_last_evaluation_still_makes_it(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tlx.train.loop as loop

    made = recipe(data, base, train={"checkpoint_seconds": 0.0})
    train(made, tmp_path / "whole", console=QUIET)
    true, calls = loop._evaluated, []

    def killed(*arguments: object) -> bool:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return true(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "_evaluated", killed)
    with pytest.raises(KeyboardInterrupt):
        train(made, tmp_path / "stopped", console=QUIET)
    monkeypatch.setattr(loop, "_evaluated", true)
    with pytest.raises(UsageError, match="a stopped run is in"):
        train(made, tmp_path / "stopped", console=QUIET)
    train(Recipe(), tmp_path / "stopped", resume=True, console=QUIET)
    evaluations = [
        open_folder(tmp_path / name).manifest.lineage["training"]["evaluations"] for name in ("whole", "stopped")
    ]
    assert evaluations[0] == evaluations[1]


@pytest.fixture(scope="session")
def stopped(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a run that was stopped at its second evaluation."""
    import tlx.train.loop as loop

    out, true = tmp_path_factory.mktemp("stopped") / "model", loop._evaluated

    def evaluated(run: Any, progress: Any, *rest: Any) -> bool:
        if progress.evaluations:
            raise KeyboardInterrupt
        return true(run, progress, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_evaluated", evaluated)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(data, base, train={"checkpoint_seconds": 0.0}), out, console=QUIET)
    return run_folder(out)


@pytest.mark.parametrize("left", ["", "{", "[]", "\0" * 40])
@pytest.mark.parametrize(
    "name",
    [
        "recipe.json",
        "data.json",
        "best.safetensors",
        "checkpoint/progress.json",
        "checkpoint/model.safetensors",
        "checkpoint/optimizer.safetensors",
        "checkpoint/generators.safetensors",
    ],
)
def test_a_damaged_run_is_refused_in_one_line(name: str, left: str, stopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    shutil.copytree(stopped, run_folder(out))
    (run_folder(out) / name).write_text(left)
    with pytest.raises(TrainingError, match=r"damaged .*: start again with --overwrite instead of --resume") as caught:
        train(Recipe(), out, resume=True, console=QUIET)
    assert str(run_folder(out) / name.split("/")[0]) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_checkpoint_before_serves_when_the_last_is_damaged(stopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    shutil.copytree(stopped, run_folder(out))
    last = run_folder(out) / "checkpoint"
    shutil.copytree(last, last.with_name("checkpoint-old"))
    for content in (b"", None):
        if content is None:
            shutil.rmtree(last)
        else:
            (last / "model.safetensors").write_bytes(content)
        model, optimizer = torch.nn.Linear(1, 1), torch.optim.AdamW([torch.zeros(1)])
        with pytest.raises(TrainingError, match="checkpoint-old is no checkpoint of this run"):
            load_checkpoint(last, model, optimizer)
    train(Recipe(), out, resume=True, console=QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_data_that_changed_since_the_stop_are_refused(base: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "train.csv", rows(60, 7))
    out = tmp_path / "model"
    run_folder(out).mkdir()
    (run_folder(out) / "recipe.json").write_text(json.dumps(recipe(path, base).to_dict()))
    (run_folder(out) / "data.json").write_text(json.dumps({str(path): "another hash"}))
    with pytest.raises(TrainingError, match="changed since the run was stopped"):
        train(Recipe(), out, resume=True, console=QUIET)


@pytest.mark.parametrize("name", ["teacher/model.safetensors", "base/tokenizer.json", "unlabelled.txt"])
def test_models_and_texts_that_changed_since_the_stop_are_refused(
    name: str, base: Path, data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    own = {"base": tmp_path / "base", "teacher": tmp_path / "teacher"}
    shutil.copytree(base, own["base"])
    shutil.copytree(teacher, own["teacher"])
    (tmp_path / "unlabelled.txt").write_text("play it\n", encoding="utf-8")
    made = recipe(
        data,
        own["base"],
        data={"unlabelled": [str(tmp_path / "unlabelled.txt")]},
        model={"teachers": [str(own["teacher"])]},
        augment={"count": 0},
    )
    with monkeypatch.context() as patch:
        patch.setattr("tlx.train.train.fit", stop)
        with pytest.raises(KeyboardInterrupt):
            train(made, tmp_path / "model", console=QUIET)
        with pytest.raises(KeyboardInterrupt):
            train(Recipe(), tmp_path / "model", resume=True, console=QUIET)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-1] + b" ")
    if name.startswith("teacher"):  # another teacher, and a whole one
        manifest = open_folder(own["teacher"]).manifest
        changed = Variant(name="torch", file=file_record(own["teacher"], "model.safetensors"))
        (own["teacher"] / "tlx.json").write_text(manifest.with_variant(changed).to_json())
    with pytest.raises(TrainingError, match=f"{name} changed since the run was stopped: put it back, or start again"):
        train(Recipe(), tmp_path / "model", resume=True, console=QUIET)


def test_resuming_nothing_or_another_recipe_is_refused(base: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    with pytest.raises(UsageError, match="holds no stopped run"):
        train(Recipe(), out, resume=True, console=QUIET)
    run_folder(out).mkdir()
    (run_folder(out) / "recipe.json").write_text(json.dumps(recipe(data, base).to_dict()))
    with pytest.raises(UsageError, match="had another recipe"):
        train(recipe(data, base).updated("train", epochs=9), out, resume=True, console=QUIET)


@pytest.mark.parametrize("kind", ["convolution", "gru", "bag"])
def test_a_small_student_learns_from_its_teacher(kind: str, data: Path, teacher: Path, tmp_path: Path) -> None:
    made = recipe(
        data,
        model={"teachers": [str(teacher)], "student": kind, "vocabulary": 210},
        augment={"count": 300},
        train={"epochs": 8},
    )
    result = train(made, tmp_path / "student", console=QUIET)
    assert result.metrics["accuracy"] > 0.6
    assert 400 <= result.rows <= 410
    manifest = open_folder(tmp_path / "student").manifest
    assert manifest.labels == open_folder(teacher).manifest.labels
    assert manifest.lineage["teachers"][0]["sha256"]
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(tmp_path / "student"), device="cpu")
    assert classify("play some loud music")[0]["label"] in manifest.labels


def test_two_teachers_and_unlabelled_texts_and_a_pruned_vocabulary(data: Path, teacher: Path, tmp_path: Path) -> None:
    other = tmp_path / "unlabelled.txt"
    other.write_text("play the loud song\ndark lamp now\n", encoding="utf-8")
    made = recipe(
        data,
        data={"unlabelled": [str(other)]},
        model={"teachers": [str(teacher), str(teacher)], "layers": 1, "vocabulary": 200},
        augment={"count": 10},
        train={"epochs": 1},
    )
    # 200 is the least that a recipe takes and more than the tiny vocabulary: nothing is pruned
    result = train(made, tmp_path / "student", console=QUIET)
    assert 105 + 2 + 10 <= result.rows <= 111 + 2 + 10
    config = json.loads((tmp_path / "student" / "config.json").read_text())
    assert config["num_hidden_layers"] == 1


def test_an_encoder_learns_a_teachers_embeddings(base: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(text for text, _ in rows(150, 1)), encoding="utf-8")
    made = recipe(
        corpus,
        model={"task": "feature-extraction", "teachers": [str(base)], "layers": 1},
        distil={"alpha": 1.0},
        train={"epochs": 6, "save_precision": "fp16"},
    )
    result = train(made, tmp_path / "encoder", console=QUIET)
    evaluations = open_folder(tmp_path / "encoder").manifest.lineage["training"]["evaluations"]
    assert evaluations[-1]["teacher_cosine"] > evaluations[1]["teacher_cosine"]
    assert result.metrics["teacher_cosine"] == max(found["teacher_cosine"] for found in evaluations)
    weights = load_file(tmp_path / "encoder" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}


def test_several_labels_a_row_are_learnt_as_sigmoids(base: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"text": text, "labels": [label, "any"]}) for text, label in rows(90, 2)]
    lines.append(json.dumps({"text": "nothing here", "labels": []}))
    path = tmp_path / "multi.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    result = train(recipe(path, base).updated("train", epochs=8), tmp_path / "model", console=QUIET)
    assert result.metrics["micro_f1"] > 0.6
    assert open_folder(tmp_path / "model").manifest.settings["multi_label"] is True


def test_integer_labels_keep_their_order(base: Path, tmp_path: Path) -> None:
    numbers = {"card": "10", "lights": "2", "music": "1"}
    path = write_csv(tmp_path / "train.csv", [(text, numbers[label]) for text, label in rows(60, 3)])
    train(recipe(path, base).updated("train", epochs=1), tmp_path / "model", console=QUIET)
    assert open_folder(tmp_path / "model").manifest.labels == ("1", "2", "10")


def refused(made: object, out: Path, match: str, kind: type[TlxError]) -> None:
    """The run raises in one line, and leaves everything beside `out` as it was: no folder, no parent of one."""
    assert isinstance(made, Recipe)
    before = sorted(out.parent.iterdir())
    for place in (out, out.parent / "new" / "deep" / "model"):
        with pytest.raises(kind, match=match) as caught:
            train(made, place, console=QUIET)
        assert "\n" not in str(caught.value)
        assert sorted(out.parent.iterdir()) == before


def test_bad_data_is_refused_in_one_line(base: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    one_class = write_csv(tmp_path / "one.csv", [("a b", "x"), ("c d", "x")])
    refused(recipe(one_class, base), out, "only the label 'x'", DataError)
    unseen = write_csv(tmp_path / "unseen.csv", [("play music", "music"), ("what is this", "other")])
    refused(recipe(data, base, data={"validation": str(unseen)}), out, "label 'other', which the training", DataError)
    nan = write_csv(tmp_path / "nan.csv", [("play music", "music"), ("what is this", "NaN")])
    refused(recipe(nan, base), out, "nan.csv line 3: column 'label' has no label", DataError)
    refused(recipe(tmp_path / "none.csv", base), out, "none.csv does not exist", DataError)


def test_a_refusal_leaves_a_stopped_run_as_it_was(base: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    begin(run_folder(out), recipe(tmp_path / "none.csv", base), {})
    (run_folder(out) / "checkpoint").mkdir()
    before = sorted(run_folder(out).iterdir())
    with pytest.raises(DataError, match="none.csv does not exist"):
        train(Recipe(), out, resume=True, console=QUIET)
    with pytest.raises(UsageError, match="has no config.json"):
        train(recipe(data, tmp_path), out, overwrite=True, console=QUIET)
    assert sorted(run_folder(out).iterdir()) == before


def test_two_runs_never_make_the_same_folder(base: Path, data: Path, stopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    shutil.copytree(stopped, run_folder(out))
    with claimed(run_folder(out)):
        for resume in (False, True):
            with pytest.raises(
                UsageError, match="another run works in .*: wait for it, stop it, or choose another --out"
            ):
                train(Recipe() if resume else recipe(data, base), out, resume=resume, overwrite=True, console=QUIET)
    assert (run_folder(out) / "checkpoint").exists()
    train(Recipe(), out, resume=True, console=QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_claimed_folder_goes_with_what_made_it_unless_it_holds_work(tmp_path: Path) -> None:
    folder = tmp_path / "new" / ".model.tlx-run"

    def interrupted(error: BaseException, *names: str) -> bool:
        def work() -> None:
            with claimed(folder):
                for name in names:
                    (folder / name).mkdir(parents=True)
                raise error

        with pytest.raises(type(error)):
            work()
        kept = folder.exists()
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
        return kept

    assert not interrupted(KeyboardInterrupt())
    assert not interrupted(ValueError(), "recipe.json")
    assert interrupted(KeyboardInterrupt(), "recipe.json")  # it can be resumed, from its first step on
    assert interrupted(ValueError(), "recipe.json", "cache/outputs.npy")
    assert interrupted(ValueError(), "recipe.json", "checkpoint")


def test_work_stays_for_a_resumed_run_when_an_error_ends_it(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tlx.train.loop as loop

    def full(progress: object, *rest: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "model"
    for seconds, advice in ((1e9, "start again"), (0.0, "go on with `tlx train --resume --out")):
        monkeypatch.setattr(loop, "_evaluated", full)
        with pytest.raises(FolderError, match=f"No space left on device; mend that and {advice}"):
            train(recipe(data, base, train={"checkpoint_seconds": seconds}), out, console=QUIET)
        assert run_folder(out).exists() == (seconds == 0.0)
    monkeypatch.undo()
    train(Recipe(), out, resume=True, console=QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_bad_base_or_teacher_is_refused_in_one_line(base: Path, data: Path, teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    refused(recipe(data, tmp_path), out, "has no config.json", UsageError)
    refused(recipe(data, Path("models/typo")), out, "models/typo does not exist", UsageError)
    damaged = tmp_path / "damaged"
    shutil.copytree(base, damaged)
    (damaged / "model.safetensors").write_bytes((damaged / "model.safetensors").read_bytes()[:1000])
    refused(recipe(data, damaged), out, "does not load as a model", UsageError)
    refused(recipe(data), out, "nothing to start from", UsageError)
    refused(recipe(data, model={"teachers": [str(base)]}), out, "is not trained for text-classification", UsageError)
    other = write_csv(tmp_path / "other.csv", [(text, label + "2") for text, label in rows(40, 5)])
    refused(recipe(other, model={"teachers": [str(teacher)]}), out, "does not know the label 'card2'", DataError)
    refused(recipe(data, base, model={"layers": 9}), out, "--layers 9", UsageError)
    refused(
        recipe(data, model={"teachers": [str(teacher)], "student": "gru", "layers": 2}),
        out,
        "--layers is for",
        UsageError,
    )


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("role", ["base", "teachers"])
def test_a_base_or_teacher_that_was_tampered_with_is_refused(
    role: str, name: str, data: Path, teacher: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(teacher, changed)
    content = bytearray((changed / name).read_bytes())
    content[-1] ^= 1
    (changed / name).write_bytes(content)
    made = recipe(data, model={role: str(changed) if role == "base" else [str(changed)]})
    refused(made, tmp_path / "model", f"{name} is not the file that the manifest names", IntegrityError)


def test_asking_for_texts_that_are_not_made_is_refused(base: Path, data: Path, teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    wanted = recipe(data, base, augment={"count": 50})
    refused(wanted, out, "--augment 50: the texts made need a teacher to label them; pass --teacher", UsageError)
    pairs = write_csv(
        tmp_path / "pairs.csv",
        [(a, b) for (a, _), (b, _) in zip(rows(30, 4), rows(30, 5), strict=True)],
        ("anchor", "positive"),
    )
    embedder = {"task": "feature-extraction", "teachers": [str(base)]}
    wanted = recipe(pairs, model=embedder, augment={"count": 50})
    refused(wanted, out, "--augment 50: for feature-extraction with inputs of text no texts", UsageError)
    made = train(wanted.updated("augment", count=None).updated("train", epochs=1), out, console=QUIET)
    assert made.rows <= 60


def test_what_a_teacher_cannot_teach_is_refused_in_one_line(
    base: Path, data: Path, teacher: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    bag = tmp_path / "bag"
    train(recipe(data, model={"teachers": [str(teacher)], "student": "bag"}, augment={"count": 20}), bag, console=QUIET)
    refused(recipe(data, model={"teachers": [str(bag)]}), out, "is a bag student, which has no layers", UsageError)
    several = tmp_path / "several.jsonl"
    lines = [json.dumps({"text": text, "labels": [label]}) for text, label in rows(40, 8)]
    several.write_text("\n".join(lines), encoding="utf-8")
    refused(recipe(several, model={"teachers": [str(teacher)], "layers": 1}), out, "gives one label a text", DataError)
    plain = tmp_path / "plain.txt"
    plain.write_text("one text\nanother\n", encoding="utf-8")
    refused(recipe(plain, model={"task": "feature-extraction", "base": str(base)}), out, "pass --teacher", UsageError)
    train(recipe(data, base, model={"teachers": [str(bag)]}), out, console=QUIET)  # a base can learn from any teacher
    assert "/" not in open_folder(out).manifest.lineage["teachers"][0]["path"]


def test_a_folder_that_exists_is_kept_unless_told_otherwise(base: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="exists: choose another folder or pass --overwrite"):
        train(recipe(data, base), out, console=QUIET)
    with pytest.raises(UsageError, match="is no model folder"):
        train(recipe(data, base), out, overwrite=True, console=QUIET)
    assert (out / "mine.txt").read_text() == "precious"
    (out / "mine.txt").unlink()
    (out / "config.json").write_text('{"model_type": "precious"}')
    train(recipe(data, base).updated("train", epochs=1), out, overwrite=True, console=QUIET)
    assert (out / "tlx.json").exists()
    assert "precious" not in (out / "config.json").read_text()


@pytest.mark.parametrize("named", ["train", "validation", "unlabelled", "base", "teachers", "option"])
def test_what_a_run_reads_is_never_overwritten(named: str, base: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    shutil.copytree(base, out)
    inside = str(shutil.copy(data, out / "inside.csv"))
    sections: dict[str, dict[str, dict[str, object]]] = {
        "train": {"data": {"train": inside}},
        "validation": {"data": {"validation": inside}},
        "unlabelled": {"data": {"unlabelled": [inside]}},
        "base": {"model": {"base": str(out)}},
        "teachers": {"model": {"teachers": [str(out)]}},
        "option": {"task": {"oos": inside}},
    }
    with pytest.raises(UsageError, match="--overwrite would delete .*, which this run reads"):
        train(recipe(data, base, **sections[named]), out, overwrite=True, console=QUIET)
    assert Path(inside).exists()
    assert (out / "config.json").exists()


def test_a_split_keeps_each_label_and_shares_no_row(data: Path) -> None:
    from tlx.runtime.tasks.classification import TextClassification
    from tlx.train.split import stratified_split

    examples = TextClassification.read(data, {})
    first, held = stratified_split(examples, 0.2, 0, TextClassification(labels=examples.labels).labels_of)
    assert len(first) + len(held) == 120
    assert not set(first.texts) & set(held.texts)
    assert set(held.gold or ()) == set(first.gold or ()) == {"card", "lights", "music"}


def test_settings_of_a_recipe_reach_the_model(base: Path, data: Path, tmp_path: Path) -> None:
    made = recipe_from({}, source="x", settings=["train.dropout=0.3", "model.hidden=16"], base=recipe(data, base))
    train(made, tmp_path / "model", console=QUIET)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["hidden_dropout_prob"], config["hidden_size"]) == (0.1, 16)  # dropout is the run's, not the model's


def test_the_run_says_what_the_data_were_taken_for(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data.csv"
    path.write_text("id,body,title,topic\n" + "".join(f"{n},word {n},c,{topic}\n" for n in range(10) for topic in "xy"))
    train(recipe(path, base), tmp_path / "m")
    wanted = "text-classification: 'topic' from 'body' (not read: 'id', 'title'); 2 labels: x, y (else: --task, --text, --label)"
    assert wanted in capsys.readouterr().err
