"""The runtime: a model folder in, answers out, with numpy, tokenizers and onnxruntime only."""

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
from tlx.runtime.load import load
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
