"""The public door: the path of a model folder → a predictor."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

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
    return Predictor.open(open_folder(Path(folder)), variant, device, threads)
