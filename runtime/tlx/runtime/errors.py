"""The errors that tlx raises on purpose.

    TlxError
    ├── UsageError            the call itself is wrong: a flag, an option, a name (exit code 2)
    ├── DataError             a data file, its columns, its rows
    ├── FolderError           a model folder: missing, damaged, of another version
    │   └── IntegrityError    a file is not the one that the manifest names (size or sha256)
    ├── RecipeError           a recipe, with every fault it has (exit code 2)
    ├── DeviceError           an execution provider that was asked for cannot start
    ├── MissingExtraError     an optional dependency that the work needs is not installed
    ├── TrainingError         training cannot go on
    └── ExportError           conversion, quantization or verification failed

Each message is one line that says what was found, what was wanted, and what to do next.
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "DeviceError",
    "ExportError",
    "FolderError",
    "IntegrityError",
    "MissingExtraError",
    "RecipeError",
    "TlxError",
    "TrainingError",
    "UsageError",
]


class TlxError(Exception):
    """Anything that tlx refuses or cannot do. `exit_code` is what a command ends with."""

    exit_code = 1


class UsageError(TlxError):
    """The call itself is wrong."""

    exit_code = 2


class DataError(TlxError):
    """A data file, column, row or label is not what the task needs."""


class FolderError(TlxError):
    """A model folder is missing, damaged, or of another version."""


class IntegrityError(FolderError):
    """A file's size or sha256 is not what the manifest says."""


class RecipeError(UsageError):
    """A recipe has faults: all of them are listed, each with its section and key."""

    def __init__(self, source: str, faults: list[str]) -> None:
        self.faults = faults
        super().__init__(f"{source}: {'; '.join(faults)}")


class DeviceError(TlxError):
    """A device or execution provider that was asked for cannot be used."""


class MissingExtraError(TlxError):
    """An optional dependency is not installed: the message names the extra."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'tlx[{extra}]'")


class TrainingError(TlxError):
    """Training cannot go on."""


class ExportError(TlxError):
    """A model could not be converted, quantized or verified."""
