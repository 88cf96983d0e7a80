"""How Optimum exports the students: inputs, their axes, and the opset that has LayerNormalization."""

from __future__ import annotations

from typing import Any

from optimum.exporters.onnx.config import TextEncoderOnnxConfig
from optimum.exporters.tasks import TasksManager
from optimum.utils import NormalizedTextConfig
from transformers import PreTrainedModel

__all__ = ["StudentOnnxConfig", "register_export"]


class StudentOnnxConfig(TextEncoderOnnxConfig):  # type: ignore[misc]
    """`input_ids` and `attention_mask`, both `(batch_size, sequence_length)` int64 → `logits`, of each text or token."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
    DEFAULT_ONNX_OPSET = 18
    ATOL_FOR_VALIDATION = 1e-4

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        axes = {0: "batch_size", 1: "sequence_length"}
        return {"input_ids": axes, "attention_mask": axes}


def register_export(task: str, model_types: tuple[str, ...]) -> None:
    """Optimum exports these model types for the task. Again is harmless."""
    register = TasksManager.create_register("onnx")
    for model_type in model_types:
        register(model_type, task)(StudentOnnxConfig)
    if TasksManager._infer_library_from_model_or_model_class is not _infer_library:
        TasksManager._infer_library_from_model_or_model_class = staticmethod(_infer_library)


_infer_by_module = TasksManager._infer_library_from_model_or_model_class


def _infer_library(model: Any = None, model_class: Any = None) -> str:
    """Optimum 0.1.0 takes a model's library from the name of its module, and so knows no PreTrainedModel defined elsewhere."""
    found = model_class if model_class is not None else type(model)
    if issubclass(found, PreTrainedModel):
        return "transformers"
    return str(_infer_by_module(model=model, model_class=model_class))
