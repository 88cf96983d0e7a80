"""Export: a trained model folder in, the same folder with verified ONNX variants out. Names load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlx.export.config import ExportConfig
    from tlx.export.export import ExportResult, export
    from tlx.export.torch_engine import TorchEngine, open_torch

__all__ = ["ExportConfig", "ExportResult", "TorchEngine", "export", "open_torch"]

_HOMES = {
    "ExportConfig": "tlx.export.config",
    "ExportResult": "tlx.export.export",
    "TorchEngine": "tlx.export.torch_engine",
    "export": "tlx.export.export",
    "open_torch": "tlx.export.torch_engine",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
