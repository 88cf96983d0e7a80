"""A classifier's folder in the runtimes that people take instead of ONNX Runtime, with the same code around them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from by_hand import Classifier

__all__ = ["CTranslate2", "OpenVino"]


class OpenVino(Classifier):
    """OpenVINO reads the ONNX file; its own defaults for one request at a time (on a CPU with AMX it computes in bfloat16)."""

    def open(self, path: str, threads: int) -> None:
        import openvino

        model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": threads})
        request, output = model.create_infer_request(), model.output(0)
        self.names = {name for port in model.inputs for name in port.names}
        self.run = lambda feeds: [request.infer(feeds)[output]]


class CTranslate2(Classifier):
    """CTranslate2 runs the encoder in int8, converted before the clock starts; the head is a product of two matrices in numpy."""

    def open(self, path: str, threads: int) -> None:
        import ctranslate2
        from safetensors.numpy import load_file

        folder = Path(path).parents[1]
        made = Path(tempfile.gettempdir()) / f"ctranslate2-{self.manifest['variants']['torch']['sha256'][:16]}"
        if not made.exists():
            from ctranslate2.converters import TransformersConverter

            TransformersConverter(str(folder)).convert(str(made), quantization="int8")
        encoder = ctranslate2.Encoder(str(made), device="cpu", compute_type="int8", intra_threads=threads)
        weights = load_file(folder / "model.safetensors")
        head, bias = weights["classifier.weight"].T.astype(np.float32), weights["classifier.bias"].astype(np.float32)
        self.names = {"input_ids", "attention_mask"}

        def run(feeds: dict[str, Any]) -> list[Any]:
            lengths = feeds["attention_mask"].sum(axis=1)
            ids = [row[:length].tolist() for row, length in zip(feeds["input_ids"], lengths, strict=True)]
            return [np.array(encoder.forward_batch(ids).pooler_output) @ head + bias]

        self.run = run
