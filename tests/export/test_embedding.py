"""A sentence-transformers folder goes through export into the runtime: its own encode() is the oracle all the way."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.export.conftest import byte_pairs, word_pieces
from tests.runtime.varied import varied_texts

from tlx.export.config import ExportConfig
from tlx.export.export import export
from tlx.runtime import FolderError, UsageError, load
from tlx.runtime.evaluate import evaluate
from tlx.runtime.folder import MANIFEST, Folder, open_folder, write_atomically
from tlx.runtime.predictions import parse_options, predict
from tlx.runtime.sentence_files import POOLINGS, read_limit, read_sentence_files, write_sentence_files
from tlx.runtime.tasks.embedding import FeatureExtraction

pytestmark = pytest.mark.filterwarnings("ignore::tlx.runtime.TruncationWarning")
QUICK = ExportConfig(seconds=0)
TEXTS = ["", *varied_texts(519), "word " * 5000]
WORDY = [text for text in TEXTS[9:-1] if text.strip()]
CLOSE = {"atol": 1e-4, "rtol": 0}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def encoder(family: str) -> tuple[Any, Any]:
    import torch
    from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 64, "initializer_range": 0.3}
    tokenizer = word_pieces() if family == "bert" else byte_pairs()
    if family == "bert":
        return BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)), tokenizer
    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, **sizes)
    return RobertaModel(config), tokenizer


def sentence_transformer(folder: Path, backend: Any = "torch") -> Any:
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SentenceTransformer(str(folder), backend=backend, device="cpu", local_files_only=True)


def save_plain(folder: Path, family: str = "bert", *, pooling: str = "mean", normalise: bool = True) -> Path:
    """A folder as sentence-transformers itself writes it, of 48 tokens at most."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    model, tokenizer = encoder(family)
    bare = folder.with_name(f"{folder.name}-bare")
    model.save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    modules = [Transformer(str(bare), max_seq_length=48), Pooling(32, pooling), *[Normalize()] * normalise]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = save_plain(tmp_path_factory.mktemp("sentences") / "model")
    return export(path, config=ExportConfig(seconds=0, precisions=("int8",))).folder.path


def changed(folder: Path, to: Path, **settings: Any) -> Path:
    """A copy of the folder that pools otherwise, for both readers."""
    shutil.copytree(folder, to)
    manifest = open_folder(to).manifest
    manifest = manifest._replace(settings={**manifest.settings, **settings})
    write_atomically(to / MANIFEST, manifest.to_json())
    write_sentence_files(to, 32, manifest.max_tokens, manifest.settings)
    return to


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_of_520_texts_are_those_of_sentence_transformers(
    exported: Path, tmp_path: Path, pooling: str, normalise: bool
) -> None:
    folder = changed(exported, tmp_path / "model", pooling=pooling, normalise=normalise)
    model, oracle = load(folder, "fp32"), sentence_transformer(folder)
    found = model(TEXTS)
    assert (found.dtype, found.shape) == (np.float32, (len(TEXTS), 32))
    np.testing.assert_allclose(found, oracle.encode(TEXTS), **CLOSE)
    for text in TEXTS[:20]:
        np.testing.assert_allclose(model(text), oracle.encode(text), **CLOSE)


def test_the_exported_folder_runs_unchanged_on_onnx_in_sentence_transformers(exported: Path) -> None:
    found = sentence_transformer(exported, "onnx").encode(TEXTS)
    np.testing.assert_allclose(load(exported, "fp32")(TEXTS), found, **CLOSE)


def test_byte_pairs_and_their_limit_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    folder = export(save_plain(tmp_path / "model", "roberta", pooling="cls", normalise=False), config=QUICK).folder
    assert folder.manifest.max_tokens == 48
    assert folder.manifest.settings == {"pooling": "cls", "normalise": False}
    np.testing.assert_allclose(load(folder.path)(TEXTS), sentence_transformer(folder.path).encode(TEXTS), **CLOSE)


def test_a_folder_without_modules_is_pooled_as_sentence_transformers_does_it(tmp_path: Path) -> None:
    model, tokenizer = encoder("bert")
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    folder = export(tmp_path / "model", config=QUICK).folder
    assert folder.manifest.settings == {"pooling": "mean", "normalise": False}
    assert folder.manifest.labels == ()
    np.testing.assert_allclose(load(folder.path)(TEXTS), sentence_transformer(folder.path).encode(TEXTS), **CLOSE)


def test_fewer_dimensions_and_bits_are_those_of_sentence_transformers(exported: Path) -> None:
    model, oracle = load(exported, "fp32"), sentence_transformer(exported)
    cut = oracle.encode(TEXTS, truncate_dim=8, normalize_embeddings=True)
    np.testing.assert_allclose(model(TEXTS, dimensions=8), cut, **CLOSE)
    whole = oracle.encode(TEXTS)
    bits = np.unpackbits(model(TEXTS, precision="ubinary") ^ oracle.encode(TEXTS, precision="ubinary"), axis=1)
    assert not bits[np.abs(whole) > 1e-4].any()
    ranges = np.stack([whole.min(axis=0), whole.max(axis=0)])
    codes = model(TEXTS, precision="int8", ranges=ranges).astype(int)
    assert codes.min() == -128
    assert np.abs(codes - oracle.encode(TEXTS, precision="int8").astype(int)).max() <= 1


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(
    "keywords",
    [
        {"normalize_embeddings": True},
        {"normalize_embeddings": False},
        {"truncate_dim": 8},
        {"truncate_dim": 8, "normalize_embeddings": True},
        {"precision": "ubinary"},
        {"precision": "binary"},
        {"batch_size": 7, "show_progress_bar": False, "convert_to_numpy": True, "prompt": None},
        {"output_value": "sentence_embedding", "convert_to_tensor": False, "device": None},
    ],
)
def test_keywords_of_encode_do_what_they_do_there(
    exported: Path, tmp_path: Path, keywords: dict[str, Any], normalise: bool
) -> None:
    folder = changed(exported, tmp_path / "model", normalise=normalise)
    model, oracle = load(folder, "fp32"), sentence_transformer(folder)
    texts = WORDY[:25]
    for given in (texts, texts[0]):
        found, expected = model(given, **keywords), oracle.encode(given, **keywords)
        assert (found.shape, found.dtype) == (expected.reshape(found.shape).shape, expected.dtype)
        if found.dtype == np.uint8:
            assert np.unpackbits(found ^ expected.reshape(found.shape)).mean() < 0.01
        else:
            np.testing.assert_allclose(found, expected, **CLOSE)


def test_max_length_cuts_texts_as_max_seq_length_does(exported: Path) -> None:
    model, oracle = load(exported, "fp32"), sentence_transformer(exported)
    oracle.max_seq_length = 12
    np.testing.assert_allclose(model(TEXTS[:60], truncation=True, max_length=12), oracle.encode(TEXTS[:60]), **CLOSE)


def test_a_list_gives_a_matrix_a_text_a_vector_and_an_iterator_vectors(exported: Path) -> None:
    model = load(exported)
    matrix = model(["one text", "another"])
    assert matrix.shape == (2, 32)
    assert model("one text").shape == (32,)
    vectors = model(iter(["one text", "another"]))
    np.testing.assert_allclose(np.stack(list(vectors)), matrix, atol=0.05)
    assert np.vstack([model([]), matrix]).shape == (2, 32)
    assert model([], dimensions=8).shape == (0, 8)
    assert (model([], precision="ubinary").shape, model([], precision="ubinary").dtype) == ((0, 4), np.uint8)
    assert model.logits([]).shape == (0, 32)
    assert model(["one text"] * 5000).shape == (5000, 32)
    assert model([("one text", "another")] * 3).shape == (3, 2, 32)
    cosines = model.task.similarity(matrix, matrix)
    np.testing.assert_allclose(np.diag(cosines), 1.0, atol=1e-5)


def test_vectors_may_be_left_as_long_as_they_are(exported: Path) -> None:
    model = load(exported, "fp32")
    raw, units = model(TEXTS[:30], normalise=False), model(TEXTS[:30])
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), units, **CLOSE)
    assert np.linalg.norm(raw, axis=1).max() > 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 3}, "feature-extraction has no option 'top_k': it has normalise, dimensions, precision"),
        (
            {"convert_to_tensor": True},
            "no option 'convert_to_tensor': vectors are numpy's: torch.from_numpy takes them",
        ),
        ({"output_value": "token_embeddings"}, "no option 'output_value': an answer is one vector a text"),
        ({"prompt": "query: "}, "no option 'prompt': put the prompt before each text"),
        ({"device": "cpu"}, "no option 'device': say it to load"),
        ({"truncate_dim": 33}, "33 dimensions were asked for: the model's vectors have 32; choose at most that"),
        ({"truncate_dim": 8, "dimensions": 8}, "both dimensions and truncate_dim were given"),
        ({"precision": "int4"}, "precision is 'int4': choose one of float32, int8, binary, ubinary"),
        ({"precision": "int8"}, "the manifest has no int8 ranges for such vectors: pass ranges"),
        ({"dimensions": 0}, "dimensions is 0: wanted a whole number from 1"),
        ({"dimensions": 33}, "33 dimensions were asked for: the model's vectors have 32; choose at most that"),
        ({"normalise": "no"}, "normalise is 'no': wanted True, False, or None"),
    ],
)
def test_a_wrong_option_is_refused(exported: Path, options: dict[str, Any], message: str) -> None:
    model = load(exported, "fp32")
    for given in ("a text", ["a text"]):
        with pytest.raises(UsageError, match=message):
            model(given, **options)


def test_an_input_that_is_no_text_is_refused_with_its_number(exported: Path) -> None:
    with pytest.raises(UsageError, match=r"input 1 \(from 0\): found a int: wanted str"):
        load(exported)(["a", 3])


@pytest.mark.parametrize("mixed", [["c", ("a", "b")], [("a", "b"), "c"], [("a", "b"), ("a", "b", "c")]])
def test_inputs_of_several_sizes_are_refused(exported: Path, mixed: list[Any]) -> None:
    with pytest.raises(UsageError, match="wanted texts, or tuples of as many texts each"):
        load(exported)(mixed)


def test_records_and_lines_of_predict_hold_the_vector(exported: Path) -> None:
    model = load(exported, "fp32")
    options = parse_options(model, None, ["dimensions=8", "normalise=false"])
    (record, line), *_ = predict(model, [["a text"], ["b"]], options)
    assert record["text"] == "a text"
    assert len(json.loads(json.dumps(record))["embedding"]) == 8
    assert line.endswith("… (8 float32)\ta text")


def data(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return path


def copy_of(exported: Path, to: Path) -> Folder:
    shutil.copytree(exported, to)
    return open_folder(to)


def test_scored_pairs_verify_each_variant_and_calibrate_int8_vectors(exported: Path, tmp_path: Path) -> None:
    folder = copy_of(exported, tmp_path / "model")
    texts = WORDY[:120]
    pairs = [
        {"sentence1": a, "sentence2": b, "score": i} for i, (a, b) in enumerate(zip(texts, texts[1:], strict=False))
    ]
    path = data(tmp_path, *pairs)
    config = ExportConfig(seconds=0, data=str(path), precisions=("int8",), max_drop=0.2)
    manifest = export(folder.path, config=config).folder.manifest
    assert manifest.variants["fp32"].report["drop"] == pytest.approx(0, abs=1e-3)
    assert manifest.variants["fp32"].report["flip_rate"] == 0.0
    model = load(folder.path, "fp32")
    examples = model.task.read(path, {})
    assert evaluate(model, examples)["metrics"] == pytest.approx(dict(manifest.variants["fp32"].metrics), abs=1e-6)
    flat = [text for pair in examples.inputs for text in pair]
    whole = model(flat)
    expected = np.stack([whole.min(axis=0), whole.max(axis=0)])
    assert (model(flat, precision="int8") == model(flat, precision="int8", ranges=expected)).mean() > 0.99
    with pytest.raises(UsageError, match="int8 ranges for 32 dimensions, not for 8: pass ranges"):
        model(flat, precision="int8", dimensions=8)


def test_labels_triplets_and_plain_texts_verify_too(exported: Path, tmp_path: Path) -> None:
    labelled = [{"text": text, "label": i % 3} for i, text in enumerate(WORDY[:40])]
    triplets = [
        {"anchor": a, "positive": b, "negative": "play"} for a, b in zip(WORDY[:30], WORDY[50:90], strict=False)
    ]
    for number, (rows, figures) in enumerate(
        [(labelled, {"ndcg@10", "accuracy@1"}), (triplets, {"ndcg@10", "accuracy@1"}), ([{"text": "a"}], set())]
    ):
        folder = copy_of(exported, tmp_path / str(number))
        path = data(tmp_path, *rows)
        tells = nullcontext() if figures else pytest.warns(UserWarning, match="tells no metric of the model")
        with tells:
            result = export(folder.path, config=ExportConfig(seconds=0, data=str(path)))
        manifest = result.folder.manifest
        assert result.verified == bool(figures)
        assert set(manifest.variants["fp32"].metrics) == figures
        assert "with 2 labels" not in (folder.path / "README.md").read_text()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", [{"type": "x.Transformer", "path": ""}], "has no Pooling: tlx runs Transformer, Pooling"),
        ("modules.json", [{"type": "x.Transformer"}, {"type": "x.Dense"}], "has the module Dense in place 1"),
        ("modules.json", [{"type": "x.StaticEmbedding"}], "has the module StaticEmbedding in place 0"),
        ("modules.json", {}, "holds a dict: wanted a JSON list"),
        ("modules.json", None, "is not readable JSON"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "max"]}, "pools by mean and max: tlx has mean, cls, max"),
        ("1_Pooling/config.json", {"pooling_mode_weightedmean_tokens": True}, "pools by weightedmean: tlx has"),
        (
            "config_sentence_transformers.json",
            {"prompts": {"query": "q: "}, "default_prompt_name": "query"},
            "puts the prompt 'query' before every text: set default_prompt_name to null",
        ),
    ],
)
def test_what_the_runtime_does_not_have_is_refused(
    exported: Path, tmp_path: Path, file: str, content: Any, message: str
) -> None:
    folder = copy_of(exported, tmp_path / "model").path
    (folder / file).write_text("{" if content is None else json.dumps(content), encoding="utf-8")
    with pytest.raises(FolderError, match=message):
        read_sentence_files(folder)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_files_that_are_written_are_read_again(tmp_path: Path, pooling: str) -> None:
    settings = {"pooling": pooling, "normalise": pooling == "cls", "dimensions": 7}
    write_sentence_files(tmp_path, 32, 48, settings)
    assert read_sentence_files(tmp_path) == settings
    assert read_limit(tmp_path) == 48


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "min"}, "pooling 'min' and dimensions None: wanted one of mean, cls, max, lasttoken"),
        ({"dimensions": "8"}, "dimensions '8': wanted"),
        ({"int8_ranges": {"32": "AAAA"}}, "int8 ranges for 32 dimensions have 3 bytes, wanted 256"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(exported: Path, settings: dict[str, Any], message: str) -> None:
    manifest = open_folder(exported).manifest
    with pytest.raises(FolderError, match=message):
        FeatureExtraction.from_manifest(manifest._replace(settings={**manifest.settings, **settings}))


def test_default_dimensions_shorten_every_answer(exported: Path, tmp_path: Path) -> None:
    folder = changed(exported, tmp_path / "model", dimensions=8, normalise=False)
    np.testing.assert_allclose(
        load(folder, "fp32")(TEXTS[:50]), sentence_transformer(folder).encode(TEXTS[:50]), **CLOSE
    )
