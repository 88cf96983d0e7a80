"""A variant that loses too much keeps in float what hurts, and nothing more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from tlx.export.config import ExportConfig
from tlx.export.export import export
from tlx.export.graph import weights


def give_an_outlier(folder: Path) -> None:
    """A token that no text has gets a huge embedding: one scale for the whole table then leaves nothing of the others."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["bert.embeddings.word_embeddings.weight"][4] = 300.0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture
def outlier(checkpoint: Any) -> Path:
    folder: Path = checkpoint("bert")
    give_an_outlier(folder)
    return folder


def test_the_node_that_hurts_is_kept_in_float(outlier: Path, answered_data: Any) -> None:
    config = ExportConfig(precisions=("int8",), data=answered_data(outlier), max_drop=0.15, seconds=0)
    steps: list[str] = []
    variant = export(outlier, config=config, say=steps.append).folder.manifest.variants["int8"]
    assert variant.report["kept_float"] == ["/bert/embeddings/word_embeddings/Gather"]
    assert variant.report["drop_before_repair"] > 0.15 >= variant.report["drop"]
    assert any(step.startswith("int8: 1 of ") for step in steps)
    tables = [
        t for t in weights(onnx.load(outlier / variant.file.path)).values() if t.name.endswith("word_embeddings.weight")
    ]
    assert [table.data_type for table in tables] == [onnx.TensorProto.FLOAT]


def test_nothing_is_repaired_within_the_budget(outlier: Path, answered_data: Any) -> None:
    config = ExportConfig(precisions=("int8",), data=answered_data(outlier), max_drop=1.0, seconds=0)
    variant = export(outlier, config=config).folder.manifest.variants["int8"]
    assert variant.report["kept_float"] == []
