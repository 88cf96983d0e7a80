"""The public door: the path of a model folder → a predictor."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from tlx.runtime.errors import UsageError
from tlx.runtime.folder import open_folder
from tlx.runtime.predictor import Predictor

__all__ = ["load"]


def load(
    folder: str | PathLike[str], variant: str = "auto", device: str = "auto", threads: int | None = None
) -> Predictor:
    """The folder's model, ready to be called with texts.

    `variant`: fp32, int8, int4, fp16, or auto (the manifest's default for the device). `device`: cpu, cuda (an error
    where it cannot start), or auto. `threads`: all cores that the affinity mask and the cgroup leave, unless given.

    Raises UsageError, FolderError, IntegrityError, DeviceError or MissingExtraError, each in one line.
    """
    if not isinstance(folder, (str, PathLike)):
        raise UsageError(f"the folder is {folder!r}: wanted its path")
    # Another session is started when many texts come: the folder must be found then, too, whatever the current one is.
    return Predictor.open(open_folder(Path(folder).absolute()), variant, device, threads)
