"""What load refuses, and how it says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlx.runtime import DeviceError, FolderError, IntegrityError, Predictor, UsageError, load
from tlx.runtime.engine import begun
from tlx.runtime.folder import MANIFEST, Folder, file_record, open_folder
from tlx.runtime.machine import PROVIDERS, provider_fault


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    change(document)
    (folder / MANIFEST).write_text(json.dumps(document))


def replace_model(folder: Path, content: bytes) -> None:
    """Other content in the model file, with a manifest that agrees to it."""
    (folder / "onnx/model.onnx").write_bytes(content)
    record = file_record(folder, "onnx/model.onnx")
    edit_manifest(folder, lambda d: d["variants"]["fp32"].update(size_bytes=record.size_bytes, sha256=record.sha256))


def test_a_tampered_model_is_refused(folder: Path) -> None:
    model = folder / "onnx/model.onnx"
    content = bytearray(model.read_bytes())
    content[-100] ^= 1
    model.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"model\.onnx is not the file that the manifest names \(sha256 differs\)"):
        load(folder)


def test_a_truncated_model_is_refused(folder: Path) -> None:
    model = folder / "onnx/model.onnx"
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(IntegrityError, match=r"model\.onnx has 1000 bytes, the manifest says \d+: .* truncated"):
        load(folder)


def test_a_damaged_model_that_the_manifest_agrees_to_is_refused(folder: Path) -> None:
    replace_model(folder, (folder / "onnx/model.onnx").read_bytes()[:5000])
    with pytest.raises(FolderError, match=r"model\.onnx cannot be loaded by ONNX Runtime: .*; export the folder again"):
        load(folder)


def test_a_damaged_tokenizer_that_the_manifest_agrees_to_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    record = file_record(folder, "tokenizer.json")
    edit_manifest(
        folder, lambda d: d["files"]["tokenizer.json"].update(size_bytes=record.size_bytes, sha256=record.sha256)
    )
    with pytest.raises(FolderError, match=r"tokenizer\.json is not a tokenizer \("):
        load(folder)


@pytest.mark.parametrize("name", ["onnx/model.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FolderError, match=f"{name} is missing, the manifest names it"):
        load(folder)


def test_a_manifest_of_a_newer_format_asks_for_an_upgrade(folder: Path) -> None:
    edit_manifest(folder, lambda d: d.update(format=99))
    with pytest.raises(FolderError, match="has format 99, this tlx reads up to format 1: upgrade tlx"):
        load(folder)


def test_a_path_out_of_the_folder_is_refused(folder: Path) -> None:
    shutil.copy(folder / "tokenizer.json", folder.parent / "tokenizer.json")
    edit_manifest(folder, lambda d: d["files"]["tokenizer.json"].update(path="../tokenizer.json"))
    with pytest.raises(FolderError, match=r"names '\.\./tokenizer\.json', which is outside the folder: not loaded"):
        load(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    outside = folder.parent / "model.onnx"
    shutil.move(folder / "onnx/model.onnx", outside)
    (folder / "onnx/model.onnx").symlink_to(outside)
    with pytest.raises(FolderError, match="outside the folder"):
        load(folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist: give the path of a model folder"),
        (lambda path: path.write_text("x"), "is a file: give the path of a model folder"),
        (lambda path: path.mkdir(), r"holds no tlx\.json: it is no model folder; give one that"),
    ],
)
def test_what_is_no_model_folder_is_refused(make: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    make(tmp_path / "thing")
    with pytest.raises(FolderError, match=message):
        load(tmp_path / "thing")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ("config.json", "model.safetensors"),
            r"thing is a plain transformers folder, .*: run `tlx export \S*thing` first",
        ),
        (
            ("config.json", "model.onnx"),
            r"no model\.safetensors .*: only model\.onnx, .* the folder that it was exported",
        ),
        (
            ("config.json", "onnx/model.onnx"),
            r"no model\.safetensors .*: only onnx/model\.onnx, .* `tlx export` on the",
        ),
        (("config.json", "pytorch_model.bin"), r"only pytorch_model\.bin, and tlx loads no pickles: save it again"),
        (("config.json",), "no model.safetensors to make it of: train it first"),
    ],
)
def test_a_folder_without_a_manifest_is_told_what_it_is_and_what_makes_one_that_loads(
    files: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / "thing" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "thing" / name).touch()
    with pytest.raises(FolderError, match=message) as caught:
        load(tmp_path / "thing")
    assert "\n" not in str(caught.value)


def test_a_manifest_cut_short_is_refused(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text[: len(text) // 2])
    with pytest.raises(FolderError, match=r"tlx\.json is not valid JSON \(line \d+\): the manifest is damaged"):
        load(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "int3"}, "unknown variant 'int3': choose one of torch, fp32, int8, int4, fp16, or auto"),
        ({"variant": "int8"}, r"has no variant 'int8' \(it has: fp32\): make it with `tlx export"),
        ({"variant": "torch"}, "variant 'torch' needs torch, which the runtime does not load"),
        ({"device": "tpu"}, "unknown device 'tpu': choose one of auto, cpu, cuda"),
        ({"threads": 0}, "threads is 0: wanted a whole number from 1"),
    ],
)
def test_a_wrong_option_is_named(tiny_folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(tiny_folder, **options)


def test_a_folder_without_onnx_variants_says_what_to_run(folder: Path) -> None:
    edit_manifest(folder, lambda d: d.update(variants={}))
    with pytest.raises(UsageError, match="has no ONNX variant yet: make one with `tlx export"):
        load(folder)


@pytest.mark.skipif(provider_fault(PROVIDERS["cuda"]) is None, reason="CUDA starts here")
def test_cuda_that_cannot_start_is_an_error_that_says_why(tiny_folder: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"device cuda cannot start: .*onnxruntime.*CUDAExecutionProvider.*tlx\[cuda\]"
    ):
        load(tiny_folder, device="cuda")
    assert load(tiny_folder).device == "cpu"


@pytest.mark.cuda
@pytest.mark.skipif(provider_fault(PROVIDERS["cuda"]) is not None, reason="CUDA does not start here")
def test_cuda_gives_the_logits_of_the_cpu(tiny_folder: Path) -> None:
    texts = ["play some music", "what is the weather", "thanks"]
    on_gpu = load(tiny_folder, device="cuda")
    assert on_gpu.device == "cuda"
    assert on_gpu.logits(texts) == pytest.approx(load(tiny_folder, device="cpu").logits(texts), abs=1e-3)


def test_a_folder_value_opens_before_its_manifest_is_on_the_disk(folder: Path) -> None:
    opened = open_folder(folder)
    (folder / MANIFEST).unlink()
    variant = opened.manifest.variants["fp32"]._replace(name="int8")
    staged = Folder(path=folder, manifest=opened.manifest.with_variant(variant))
    assert Predictor.open(staged, "int8", threads=1).variant == "int8"


def test_labels_that_the_model_does_not_give_are_refused(folder: Path) -> None:
    edit_manifest(folder, lambda d: d["labels"].append("fifth"))
    with pytest.raises(FolderError, match="gives 4 logits, the manifest has 5 labels"):
        load(folder)


def set_to(section: str, key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda document: document[section].__setitem__(key, value) if section else document.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_to("settings", "thresholds", 4), "settings are not those of text-classification"),
        (set_to("settings", "thresholds", ["a", "b", "c", "d"]), "settings are not those of text-classification"),
        (set_to("", "max_tokens", 10**12), '"max_tokens" is 1000000000000, wanted 1 to'),
        (set_to("", "max_tokens", 0), '"max_tokens" is 0, wanted 1 to'),
        (set_to("", "labels", ["a", "a", "b", "c"]), '"labels" holds one twice'),
        (set_to("", "default", {"cpu": ["x"]}), '"cpu" is list, wanted str'),
        (set_to("", "format", True), 'has no "format" number'),
        (set_to("", "format", -1), 'has no "format" number'),
        (lambda document: document["variants"]["fp32"].update(path="a\0b"), "outside the folder: not loaded"),
    ],
)
def test_a_manifest_of_other_values_is_refused_in_one_line(
    folder: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit_manifest(folder, change)
    with pytest.raises(FolderError, match=message):
        load(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": ' + "9" * 5000 + "}"])
def test_a_manifest_that_json_cannot_hold_is_refused_in_one_line(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(FolderError, match="is not valid JSON: the manifest is damaged"):
        load(folder)


def external_model(folder: Path, location: str) -> None:
    """The model with its weights in an external-data file at `location`."""
    import onnx

    model = onnx.load(folder / "onnx/model.onnx")
    onnx.external_data_helper.convert_model_to_external_data(model, location="weights.data", size_threshold=0)
    onnx.save(model, folder / "onnx/model.onnx")
    stored = onnx.load(folder / "onnx/model.onnx", load_external_data=False)
    for tensor in stored.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    replace_model(folder, stored.SerializeToString())


def test_external_data_that_the_manifest_names_is_loaded(folder: Path, tiny_folder: Path) -> None:
    external_model(folder, "weights.data")
    record = file_record(folder, "onnx/weights.data")
    edit_manifest(
        folder,
        lambda d: d["files"].update(
            weights={"path": record.path, "size_bytes": record.size_bytes, "sha256": record.sha256}
        ),
    )
    assert load(folder)("play some music") == load(tiny_folder)("play some music")


def test_external_data_that_the_manifest_does_not_name_is_refused(folder: Path) -> None:
    external_model(folder, "weights.data")
    with pytest.raises(FolderError, match=r"keeps weights in 'weights\.data', which the manifest does not name"):
        load(folder)


def test_external_data_outside_the_folder_is_refused(folder: Path) -> None:
    external_model(folder, "../../weights.data")
    with pytest.raises(FolderError, match="outside the folder: not loaded"):
        load(folder)


@pytest.mark.parametrize(
    "written",
    [
        b"\x12\x0cweights.data\x0a\x08location",  # the value before its key
        b"\x0a\x88\x00location\x12\x0bweights.dat",  # the length in two bytes
        b"\x0a\x08location\x12\x04abcd\x12\x06w.data",  # two values, of which protobuf keeps the last
    ],
)
def test_external_data_named_as_no_exporter_names_it_is_refused(folder: Path, written: bytes) -> None:
    external_model(folder, "weights.data")
    model = (folder / "onnx/model.onnx").read_bytes()
    usual = b"\x0a\x08location\x12\x0cweights.data"
    assert usual in model
    assert len(written) == len(usual)
    replace_model(folder, model.replace(usual, written))
    with pytest.raises(FolderError, match="may keep weights in other files, named in a way that no exporter writes"):
        load(folder)


@pytest.mark.filterwarnings("error")
def test_a_small_model_whose_folder_is_gone_still_answers(folder: Path) -> None:
    predictor = load(folder, threads=2)
    shutil.rmtree(folder)
    assert predictor.logits(["play some music"] * 2000).shape == (2000, 4)


def test_a_larger_model_whose_folder_is_gone_answers_on_one_session(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlx.runtime.engine.SMALL_BYTES", 0)  # as if the tiny model were a larger one
    predictor = load(folder, threads=2)
    shutil.rmtree(folder)
    with pytest.warns(RuntimeWarning, match="many texts run on the one session there is: .* is missing"):
        assert predictor.logits(["play some music"] * 2000).shape == (2000, 4)


def test_what_was_begun_gives_its_result_or_its_error_to_who_waits() -> None:
    assert begun(lambda: 1)() == 1
    failing = begun(lambda: {}["key"])
    for _ in range(2):
        with pytest.raises(KeyError, match="key"):
            failing()
