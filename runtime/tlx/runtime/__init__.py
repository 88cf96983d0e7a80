"""The runtime: a model folder in, answers out, with numpy, tokenizers and onnxruntime only.

Names are fetched when they are first asked for, so that `tlx --help` does not wait for numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlx.runtime.engine import TruncationWarning
    from tlx.runtime.errors import (
        DataError,
        DeviceError,
        FolderError,
        IntegrityError,
        MissingExtraError,
        TlxError,
        UsageError,
    )
    from tlx.runtime.loading import load
    from tlx.runtime.predictor import Predictor

__all__ = [
    "DataError",
    "DeviceError",
    "FolderError",
    "IntegrityError",
    "MissingExtraError",
    "Predictor",
    "TlxError",
    "TruncationWarning",
    "UsageError",
    "load",
]

_HOMES = {"Predictor": "predictor", "TruncationWarning": "engine", "load": "loading"}
# No module may be called as a name of __all__: its import would take the name.


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value
