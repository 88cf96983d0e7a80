"""A folder goes in, verified variants come out, and nothing is left when they do not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.conftest import LABELS

from tlx.export.config import ExportConfig
from tlx.export.convert import convert
from tlx.export.export import export
from tlx.export.graph import count_nodes
from tlx.export.pretrained import load_model, open_source
from tlx.runtime import DataError, FolderError, TlxError, UsageError, load
from tlx.runtime.errors import ExportError, IntegrityError
from tlx.runtime.folder import open_folder
from tlx.runtime.golden import replay
from tlx.runtime.tasks import task_named

QUICK = ExportConfig(seconds=0)
TEXTS = ["play some music", "", "thanks", "please cancel my card in paris tomorrow at seven", "请 😀"]


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "tlx-convolution"])
def test_each_family_answers_as_torch_does_through_the_whole_path(
    family: str, checkpoint: Any, answered_data: Any, oracle: Any
) -> None:
    folder = checkpoint(family)
    config = replace(QUICK, precisions=("int8",), data=answered_data(folder), max_drop=0.3)
    result = export(folder, config=config)
    np.testing.assert_allclose(load(folder, "fp32", "cpu").logits(TEXTS), oracle(folder, TEXTS), atol=1e-4)
    int8 = load(folder, "int8", "cpu")
    assert int8.logits(TEXTS).shape == (5, 4)
    variants = result.folder.manifest.variants
    assert list(variants) == ["torch", "fp32", "int8"]
    assert variants["torch"].metrics["accuracy"] == variants["fp32"].metrics["accuracy"] == 1.0
    assert variants["fp32"].report["flip_rate"] == 0.0
    assert open_folder(folder).manifest == result.folder.manifest


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_attention_is_one_node_a_layer(family: str, checkpoint: Any) -> None:
    folder = checkpoint(family)
    export(folder, config=QUICK)
    assert count_nodes(onnx.load(folder / "onnx" / "model.onnx"))["Attention"] == 2


def test_a_student_is_left_unfused_and_the_report_says_so(checkpoint: Any) -> None:
    folder = checkpoint("tlx-convolution")
    report = export(folder, config=QUICK).folder.manifest.variants["fp32"].report
    assert report["graph"] == "plain"
    assert report["note"] == "not fused: tlx-convolution has no attention"


def test_a_full_disk_is_told_as_such_with_the_folder_that_wants_room(checkpoint: Any) -> None:
    resource = pytest.importorskip("resource")
    folder = checkpoint("bert")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(ExportError, match=r"could not be written to .*tlx-convert-.* \(.*large.*\): .*TMPDIR"):
            convert(load_model(open_source(folder)), task_named("text-classification"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_multi_label_checkpoint_stays_multi_label(checkpoint: Any, answered_data: Any, oracle: Any) -> None:
    folder = checkpoint(multi_label=True)
    data = answered_data(folder, multi_label=True)
    result = export(folder, config=replace(QUICK, precisions=("int8",), data=data, max_drop=0.3))
    assert result.folder.manifest.settings == {"multi_label": True}
    assert result.folder.manifest.variants["fp32"].metrics["micro_f1"] == 1.0
    np.testing.assert_allclose(load(folder, "fp32", "cpu").logits(TEXTS), oracle(folder, TEXTS), atol=1e-4)


def test_optimum_and_transformers_pipeline_run_the_folder(checkpoint: Any, oracle: Any) -> None:
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer

    folder = checkpoint()
    export(folder, config=replace(QUICK, precisions=("int8",)))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for file_name, tolerance in (("model.onnx", 1e-4), ("model_quantized.onnx", 1.0)):
        model = ORTModelForSequenceClassification.from_pretrained(folder, subfolder="onnx", file_name=file_name)
        logits = model(**tokenizer(TEXTS[0], return_tensors="pt")).logits.numpy()
        np.testing.assert_allclose(logits, oracle(folder, TEXTS[:1]), atol=tolerance)


@pytest.mark.parametrize(
    ("multi_label", "pairs", "options"),
    [(False, False, {}), (False, False, {"top_k": None}), (True, False, {"top_k": None}), (False, True, {})],
)
def test_optimums_pipeline_gives_the_answers_of_the_folder(
    checkpoint: Any, tmp_path: Path, multi_label: bool, pairs: bool, options: dict[str, Any]
) -> None:
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    folder, data = checkpoint(multi_label=multi_label), tmp_path / "pairs.jsonl"
    texts = [text for text in TEXTS if text]
    asked = [{"text": a, "text_pair": b} for a, b in zip(texts, reversed(texts), strict=True)] if pairs else texts
    data.write_text("\n".join(json.dumps({"premise": a, "hypothesis": a, "label": LABELS[0]}) for a in texts))
    export(folder, config=replace(QUICK, data=str(data) if pairs else None, max_drop=1.0))
    session = ORTModelForSequenceClassification.from_pretrained(folder, subfolder="onnx", file_name="model.onnx")
    oracle = pipeline("text-classification", model=session, tokenizer=AutoTokenizer.from_pretrained(folder))
    model = load(folder, "fp32", "cpu")
    for mine, theirs in zip(model(asked, **options), [oracle(item, **options) for item in asked], strict=True):
        for one, other in zip(as_list(mine), as_list(theirs), strict=True):
            assert one == {"label": other["label"], "score": pytest.approx(other["score"], abs=1e-4)}


def as_list(answer: Any) -> list[Any]:
    return answer if isinstance(answer, list) else [answer]


def test_pairs_in_the_data_make_a_plain_checkpoint_one_of_pairs(checkpoint: Any, tmp_path: Path) -> None:
    import transformers

    folder, data = checkpoint(), tmp_path / "pairs.csv"
    texts = [text for text in TEXTS if text]
    pairs = list(zip(texts, reversed(texts), strict=True))
    pipeline = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    expected = [pipeline({"text": a, "text_pair": b}) for a, b in pairs]
    rows = [{"premise": a, "hypothesis": b, "label": e["label"]} for (a, b), e in zip(pairs, expected, strict=True)]
    data.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = export(folder, config=replace(QUICK, data=str(data.with_suffix(".jsonl"))))
    assert result.folder.manifest.variants["fp32"].metrics["accuracy"] == 1.0
    model = load(folder, "fp32", "cpu")
    for (a, b), answer in zip(pairs, expected, strict=True):
        assert model({"text": a, "text_pair": b}) == {
            "label": answer["label"],
            "score": pytest.approx(answer["score"], abs=1e-4),
        }


def test_a_second_text_is_not_lost_by_a_model_of_one(checkpoint: Any) -> None:
    folder = checkpoint()
    export(folder, config=QUICK)
    model = load(folder, "fp32", "cpu")
    for given in ({"text": "a", "text_pair": "b"}, [{"text": "a", "text_pair": "b"}]):
        with pytest.raises(UsageError, match="found 'text_pair': this model reads 'text' alone"):
            model(given)
    assert [model({"text": "a"})] == model("a")
    assert model([{"text": "a"}]) == model(["a"])


def test_names_and_axes_are_those_of_optimum(checkpoint: Any) -> None:
    folder = checkpoint()
    export(folder, config=replace(QUICK, precisions=("int8",)))
    for name in ("model.onnx", "model_quantized.onnx"):
        graph = onnx.load(folder / "onnx" / name).graph
        assert [item.name for item in graph.input] == ["input_ids", "attention_mask", "token_type_ids"]
        axes = [dim.dim_param for dim in graph.input[0].type.tensor_type.shape.dim]
        assert axes == ["batch_size", "sequence_length"]
        assert [item.name for item in graph.output] == ["logits"]


@pytest.mark.parametrize(
    ("precision", "file"), [("fp16", "model_fp16.onnx"), ("int4", "model_q4.onnx"), ("int8", "model_quantized.onnx")]
)
def test_other_precisions_are_made_and_verified(precision: Any, file: str, checkpoint: Any, answered_data: Any) -> None:
    folder = checkpoint()
    config = replace(QUICK, precisions=(precision,), data=answered_data(folder), max_drop=1.0)
    export(folder, config=config)
    fp32, made = (folder / "onnx" / name for name in ("model.onnx", file))
    assert made.stat().st_size < fp32.stat().st_size
    variant = open_folder(folder).manifest.variants[precision]
    assert sum(variant.report["nodes"].values()) > 10
    reference = load(folder, "fp32", "cpu").logits(TEXTS)
    assert np.abs(load(folder, precision, "cpu").logits(TEXTS) - reference).mean() < 0.5


def test_variants_made_before_are_kept_and_verified_again(checkpoint: Any, answered_data: Any) -> None:
    folder = checkpoint()
    export(folder, config=replace(QUICK, precisions=("int8",)))
    config = replace(QUICK, precisions=("fp16",), data=answered_data(folder), max_drop=0.3)
    manifest = export(folder, config=config).folder.manifest
    assert manifest.variants["int8"].metrics["accuracy"] > 0.7
    assert manifest.variants["int8"].report["method"] == "int8-dynamic"
    assert set(manifest.variants) == {"torch", "fp32", "int8", "fp16"}
    on_cuda = (
        manifest.variants["fp16"].report.get("verified_on") == "cuda"
    )  # where a GPU is: else nothing says that it is right there
    assert manifest.default == {"cpu": "int8", "cuda": "fp16" if on_cuda else "fp32"}
    load(folder, "int8", "cpu")("thanks")
    before = (folder / "tlx.json").read_text()
    with pytest.raises(
        ExportError,
        match=r"int8, which was made before, loses 0\.\d+ of accuracy .* make it again, by --precision int8",
    ):
        export(folder, config=replace(config, precisions=(), max_drop=0.0))
    assert (folder / "tlx.json").read_text() == before


def test_texts_out_of_scope_alone_tell_whether_a_model_still_rejects_them(checkpoint: Any, tmp_path: Path) -> None:
    folder = checkpoint()
    export(folder, config=QUICK)
    document = json.loads((folder / "tlx.json").read_text())
    document["settings"]["reject_below"] = 0.5
    (folder / "tlx.json").write_text(json.dumps(document))
    data = tmp_path / "oos.csv"
    data.write_text("text,label\n" + "".join(f"play {number},oos\n" for number in range(40)))
    manifest = export(folder, config=replace(QUICK, data=data)).folder.manifest
    assert set(manifest.variants["fp32"].metrics) == {"oos_recall", "oos_precision", "answered_right"}
    assert manifest.variants["fp32"].report["drop"] == 0.0


def test_a_card_that_a_person_wrote_stays(checkpoint: Any) -> None:
    folder = checkpoint()
    export(folder, config=QUICK)
    assert "| fp32 |" in (folder / "README.md").read_text()
    (folder / "README.md").write_text("# Mine\n")
    export(folder, config=QUICK)
    assert (folder / "README.md").read_text() == "# Mine\n"


def test_golden_texts_replay_through_the_runtime(checkpoint: Any) -> None:
    folder = checkpoint()
    export(folder, config=QUICK)
    golden = json.loads((folder / "golden.json").read_text())
    assert len(golden["texts"]) == len(golden["input_ids"]) == 32
    with pytest.warns(UserWarning, match="truncated"):
        logits = load(folder, "fp32", "cpu").logits(golden["texts"])
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-4)


def test_golden_inputs_are_replayed_where_the_folder_lies(checkpoint: Any) -> None:
    folder = checkpoint()
    export(folder, config=ExportConfig(seconds=0, precisions=("int8",)))
    opened = open_folder(folder)
    for variant in ("fp32", "int8"):
        found = replay(opened, variant, "cpu")
        assert (found["variant"], found["inputs"], found["other_ids"], found["fault"]) == (variant, 32, 0, None)
        assert found["max_abs_difference"] <= found["at_export"] + 1e-4
    path = folder / "golden.json"
    golden = json.loads(path.read_text())
    golden["input_ids"][3] = golden["input_ids"][3][::-1]
    path.write_text(json.dumps(golden))
    assert "1 of 32 golden inputs have other token ids" in str(replay(opened, "fp32", "cpu")["fault"])
    golden["input_ids"][3] = golden["input_ids"][3][::-1]
    golden["logits"][0][0] += 1.0
    path.write_text(json.dumps(golden))
    assert "this machine computes otherwise" in str(replay(opened, "fp32", "cpu")["fault"])
    golden["logits"][0].append(1.0)
    path.write_text(json.dumps(golden))
    found = replay(opened, "fp32", "cpu")
    assert "another shape" in str(found["fault"])
    assert found["max_abs_difference"] is None
    golden["logits"].pop()
    path.write_text(json.dumps(golden))
    with pytest.raises(FolderError, match="has other numbers of texts, ids and outputs"):
        replay(opened, "fp32", "cpu")
    path.unlink()
    with pytest.raises(FolderError, match="golden.json is missing: `tlx export` writes it"):
        replay(opened, "fp32", "cpu")


def test_without_data_what_was_measured_before_stays_or_is_told_to_go(checkpoint: Any, tmp_path: Path) -> None:
    folder, data = checkpoint(), tmp_path / "test.csv"
    data.write_text("text,label\n" + "play some music,music\ncancel my card,card\n" * 5)
    quick = ExportConfig(seconds=0, data=data, precisions=("int8", "fp16"), max_drop=1.0)
    before = export(folder, config=quick).folder.manifest
    with pytest.warns(UserWarning, match=r"fp32 and int8 are made anew without the figures .* measured on test.csv"):
        result = export(folder, config=ExportConfig(seconds=0, precisions=("int8",)))
    after = result.folder.manifest
    assert not result.verified
    assert after.variants["fp16"] == before.variants["fp16"]
    assert after.variants["fp16"].metrics
    assert not after.variants["int8"].metrics
    assert after.lineage["export"]["data"] == before.lineage["export"]["data"]


def test_speed_is_measured_and_decides_the_default(checkpoint: Any) -> None:
    folder = checkpoint()
    manifest = export(folder, config=ExportConfig(precisions=("int8",), seconds=0.05)).folder.manifest
    reports = {name: variant.report for name, variant in manifest.variants.items()}
    assert all(report["p50_ms"] > 0 and report["texts_per_s"] > 0 for report in reports.values())
    slower = reports["int8"]["p50_ms"] > 1.02 * reports["fp32"]["p50_ms"]
    assert manifest.default["cpu"] == ("fp32" if slower else "int8")
    assert set(reports["int8"]["graphs_compared"]) == {"fused", "plain"}


def test_out_writes_a_copy_and_leaves_the_folder(checkpoint: Any, contents: Any, tmp_path: Path) -> None:
    folder = checkpoint()
    before = contents(folder)
    export(folder, config=replace(QUICK, out=tmp_path / "copy"))
    assert contents(folder) == before
    load(tmp_path / "copy", "fp32", "cpu")("thanks")
    with pytest.raises(UsageError, match="exists"):
        export(folder, config=replace(QUICK, out=tmp_path / "copy"))


def test_out_replaces_a_model_folder_alone_and_never_the_data(checkpoint: Any, tmp_path: Path) -> None:
    folder, out = checkpoint(), tmp_path / "data"
    out.mkdir()
    data = out / "test.csv"
    data.write_text("text,label\nplay some music,music\n")
    with pytest.raises(UsageError, match="is no model folder"):
        export(folder, config=replace(QUICK, out=out, overwrite=True))
    (out / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match=r"--overwrite would delete .*test.csv, which this run reads"):
        export(folder, config=replace(QUICK, out=out, overwrite=True, data=data))
    assert data.exists()


def test_a_variant_over_the_budget_leaves_the_folder_as_it_was(
    checkpoint: Any, answered_data: Any, contents: Any
) -> None:
    folder = checkpoint()
    data = answered_data(folder, count=400)
    before = contents(folder)
    config = replace(QUICK, precisions=("int4",), data=data, max_drop=0.0)
    with pytest.raises(ExportError, match=r"int4 loses 0\.\d+ accuracy \(torch 1\.0000.*--max-drop 0"):
        export(folder, config=config)
    assert contents(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["data.csv", "model"]


def test_an_interrupted_export_leaves_the_folder_as_it_was(checkpoint: Any, contents: Any) -> None:
    folder = checkpoint()
    before = contents(folder)

    def stop(step: str) -> None:
        if step == "measuring":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(folder, config=replace(QUICK, precisions=("int8",)), say=stop)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("replaced", [True, False])
def test_what_came_into_the_folder_meanwhile_is_not_lost(replaced: bool, checkpoint: Any, contents: Any) -> None:
    folder, came = checkpoint("tlx-convolution"), {}

    def other(step: str) -> None:
        if step != "measuring":
            return
        if replaced:  # as a training or another export does
            shutil.copytree(folder, folder.with_name("new"))
            shutil.rmtree(folder)
            folder.with_name("new").rename(folder)
        else:
            (folder / "notes.txt").write_text("precious")
        came.update(contents(folder))

    with pytest.raises(FolderError, match="model changed while it was exported .*: nothing was written; run it again"):
        export(folder, config=QUICK, say=other)
    assert contents(folder) == came
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_an_export_that_was_killed_is_cleared_by_the_next(checkpoint: Any) -> None:
    folder = checkpoint()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    (folder.parent / f".model.tlx-staged-{child.pid}").mkdir()
    folder.rename(folder.parent / f".model.tlx-staged-{child.pid}-old")
    export(folder, config=QUICK)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def truncate_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def remove_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def change_architecture(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForPreTraining"]}))


def remove_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if "classifier" not in k}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate_weights, "does not load as a text-classification model"),
        (remove_weights, "holds no model.safetensors"),
        (remove_config, "neither tlx.json nor config.json"),
        (change_architecture, "is a BertForPreTraining: tlx exports trained models for"),
        (remove_head, "is not trained for text-classification"),
    ],
)
def test_a_folder_without_a_whole_model_is_refused_in_one_line(
    damage: Callable[[Path], None], message: str, checkpoint: Any
) -> None:
    folder = checkpoint()
    damage(folder)
    with pytest.raises(FolderError, match=message) as caught:
        export(folder, config=QUICK)
    assert "\n" not in str(caught.value)
    assert not (folder / "onnx").exists()


@pytest.mark.parametrize(
    ("instead", "message"),
    [
        ("pytorch_model.bin", "tlx loads no pickles"),
        ("model.safetensors.index.json", "cut into several files: save the model again"),
        ("onnx/model.onnx", "only onnx/model.onnx, .* run `tlx export` on the folder that it was exported from"),
    ],
)
def test_a_folder_with_weights_of_another_kind_is_told_what_it_needs(
    instead: str, message: str, checkpoint: Any
) -> None:
    folder = checkpoint()
    (folder / "model.safetensors").unlink()
    (folder / instead).parent.mkdir(exist_ok=True)
    (folder / instead).write_bytes(b"")
    with pytest.raises(FolderError, match=message):
        export(folder, config=QUICK)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_files_that_are_not_the_manifests_are_refused(name: str, checkpoint: Any, contents: Any) -> None:
    folder = checkpoint("tlx-convolution")
    export(folder, config=QUICK)
    change_last_byte(folder / name)
    before = contents(folder)
    with pytest.raises(IntegrityError, match=f"{name} is not the file that the manifest names"):
        export(folder, config=QUICK)
    assert contents(folder) == before


def test_a_variant_made_before_is_refused_when_it_was_changed_and_made_again_when_asked(checkpoint: Any) -> None:
    folder = checkpoint("tlx-convolution")
    export(folder, config=replace(QUICK, precisions=("int8",)))
    change_last_byte(folder / "onnx" / "model_quantized.onnx")
    with pytest.raises(IntegrityError, match="model_quantized.onnx is not the file that the manifest names"):
        export(folder, config=QUICK)
    export(folder, config=replace(QUICK, precisions=("int8",)))
    assert load(folder, "int8", "cpu")("thanks")


def test_truncated_weights_are_told(checkpoint: Any) -> None:
    folder = checkpoint("tlx-convolution")
    export(folder, config=QUICK)
    truncate_weights(folder)
    with pytest.raises(IntegrityError, match="the file is truncated or was changed"):
        export(folder, config=QUICK)


def change_last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_the_torch_engine_refuses_files_that_are_not_the_manifests(name: str, checkpoint: Any) -> None:
    from tlx.export.torch_engine import open_torch

    folder = checkpoint()
    export(folder, config=QUICK)
    change_last_byte(folder / name)
    with pytest.raises(IntegrityError, match=f"{name} is not the file that the manifest names"):
        open_torch(open_folder(folder), "cpu")


def test_a_label_that_the_model_does_not_know_is_refused(checkpoint: Any, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("text,label\nplay some music,music\nhello,greeting\n")
    with pytest.raises(DataError, match="label 'greeting' .* which the model does not know"):
        export(checkpoint(), config=replace(QUICK, data=data))


def test_missing_data_is_refused_before_any_work(checkpoint: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv does not exist"):
        export(checkpoint(), config=replace(QUICK, data=tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"precisions": ("int2",)}, "precision 'int2': choose of int8, int4, fp16"),
        ({"embedding_bits": 3}, "embedding_bits 3: choose 8 or 4"),
        ({"max_drop": 2.0}, "max_drop 2.0: wanted a share from 0 to 1"),
        ({"calibration": "static", "precisions": ("int8",)}, "calibration 'static' needs texts: give --data"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExportConfig(**wrong)


def test_the_torch_engine_gives_the_torch_variant(checkpoint: Any, oracle: Any) -> None:
    from tlx.export.torch_engine import open_torch

    folder = checkpoint()
    export(folder, config=QUICK)
    engine = open_torch(open_folder(folder), "cpu")
    np.testing.assert_allclose(engine.run(TEXTS).values, oracle(folder, TEXTS), atol=1e-5)
    assert (engine.variant, engine.task.name) == ("torch", "text-classification")
    assert engine("thanks")[0]["label"] in folder_labels(folder)
    with pytest.raises(TlxError, match="sees no CUDA device"):
        open_torch(open_folder(folder), "cuda")


def folder_labels(folder: Path) -> tuple[str, ...]:
    return open_folder(folder).manifest.labels


def test_a_checkpoint_of_links_as_a_hubs_cache_has_it_is_exported(checkpoint: Any, tmp_path: Path) -> None:
    plain = checkpoint()
    blobs, snapshot = tmp_path / "cache" / "blobs", tmp_path / "cache" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    plain.rename(blobs)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    out = tmp_path / "out"
    export(snapshot, config=replace(QUICK, out=out))
    before = {file.name: file.read_bytes() for file in blobs.iterdir()}
    export(snapshot, config=QUICK)
    assert {file.name: file.read_bytes() for file in blobs.iterdir()} == before
    assert load(out, "fp32", "cpu")("thanks") == load(snapshot, "fp32", "cpu")("thanks")
