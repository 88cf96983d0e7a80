"""What an export does, with all its defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from tlx.runtime.errors import UsageError

__all__ = ["Calibration", "ExportConfig", "Precision"]

Precision = Literal["int8", "int4", "fp16"]
Calibration = Literal["dynamic", "static"]


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """`precisions` are made beside fp32. `data` is the evaluation file that verification measures on.

    max_drop: the most of the task's main metric that a variant may lose against torch, e.g. 0.01 = one point.
    rows: at most so many rows of the data are used, drawn with `seed`.
    calibration: how int8 finds the scale of activations: "dynamic" at run time, "static" from `calibration_rows` texts.
    embedding_bits: of int8's embedding tables; 4 makes the file smaller and batches slower.
    fuse: False keeps Optimum's graph as it is. out: a new folder to write; None changes the folder itself.
    seconds: about how long each speed figure is measured; 0 measures none, and takes int8 as faster than fp32.
    threads: for the speed figures; None is all usable cores.
    """

    precisions: tuple[Precision, ...] = ()
    data: Path | str | None = None
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    max_drop: float = 0.01
    calibration: Calibration = "dynamic"
    calibration_rows: int = 128
    embedding_bits: Literal[8, 4] = 8
    rows: int = 2000
    fuse: bool = True
    out: Path | None = None
    overwrite: bool = False
    seconds: float = 1.0
    threads: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        faults = []
        for precision in self.precisions:
            if precision not in get_args(Precision):
                faults.append(f"precision {precision!r}: choose of {', '.join(get_args(Precision))}")
        if self.calibration not in get_args(Calibration):
            faults.append(f"calibration {self.calibration!r}: choose dynamic or static")
        if self.embedding_bits not in (8, 4):
            faults.append(f"embedding_bits {self.embedding_bits}: choose 8 or 4")
        if not 0 <= self.max_drop <= 1:
            faults.append(f"max_drop {self.max_drop}: wanted a share from 0 to 1, e.g. 0.01 for one point")
        if self.rows < 1 or self.calibration_rows < 1:
            faults.append("rows and calibration_rows: wanted at least 1")
        if self.calibration == "static" and self.data is None and "int8" in self.precisions:
            faults.append("calibration 'static' needs texts: give --data FILE")
        if "int8" not in self.precisions:
            faults += [
                f"{name} {value!r} is for int8, which was not asked for: add --quantize"
                for name, value, usual in (
                    ("calibration", self.calibration, "dynamic"),
                    ("embedding_bits", self.embedding_bits, 8),
                )
                if value != usual
            ]
        if faults:
            raise UsageError("; ".join(faults))
        object.__setattr__(self, "precisions", cast(tuple[Precision, ...], tuple(dict.fromkeys(self.precisions))))
