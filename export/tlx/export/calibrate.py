"""Ranges of activations, from a bounded sample of texts, one batch in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from tlx.runtime.batches import cut_batches, pad_batch
from tlx.runtime.errors import ExportError
from tlx.runtime.tasks.task import Encoded

__all__ = ["Feeds", "activation_ranges", "calibration_feeds"]

Feeds = Mapping[str, NDArray[np.int64]]
PERCENTILE = 99.99
TEXTS_PER_BATCH = 16


def calibration_feeds(encoded: Encoded, inputs: Sequence[str]) -> list[Feeds]:
    """Batches of `inputs`, each `(texts, tokens)` int64, from encoded rows; none is padded."""
    there = [row for row, ids in enumerate(encoded.rows) if len(ids)]
    lengths = np.array([len(encoded.rows[row]) for row in there], dtype=np.int64)
    feeds: list[Feeds] = []
    for batch in cut_batches(lengths, max_tokens=1024, max_texts=TEXTS_PER_BATCH, may_pad=False):
        input_ids, attention_mask = pad_batch([encoded.rows[there[row]] for row in batch], 0)
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        if encoded.types is not None:
            given["token_type_ids"] = pad_batch([encoded.types[there[row]] for row in batch], 0)[0]
        feeds.append({name: given.get(name, np.zeros_like(input_ids)) for name in inputs})
    return feeds


def activation_ranges(model: onnx.ModelProto, feeds: Sequence[Feeds], operators: Sequence[str]) -> Any:
    """onnxruntime's TensorsData for the operators' inputs: the 99.99th percentile of what the feeds give.

    Histograms are merged batch by batch: batches need not be of one length, and memory holds one of them.
    """
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    if not feeds:
        raise ExportError("static int8 has no texts to calibrate with: give --data FILE")
    with TemporaryDirectory(prefix="tlx-calibrate-") as work:
        path = Path(work) / "model.onnx"
        onnx.save(model, str(path))
        calibrator = create_calibrator(
            path,
            list(operators),
            augmented_model_path=str(Path(work) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"symmetric": False, "percentile": PERCENTILE},
        )
        for batch in feeds:
            calibrator.collect_data(_OneBatch(batch))
        return calibrator.compute_data()


class _OneBatch:
    """A CalibrationDataReader of one batch."""

    def __init__(self, feeds: Feeds) -> None:
        self._rest: Iterator[Feeds] = iter([feeds])

    def get_next(self) -> Feeds | None:
        return next(self._rest, None)
