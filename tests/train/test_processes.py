"""Several processes train one model, as `torchrun -m tlx.runtime.program train …` starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.train.conftest import rows, write_csv


@pytest.mark.parametrize("kind", ["labels", "pairs"])
def test_two_processes_train_and_write_one_folder(kind: str, base: Path, tmp_path: Path) -> None:
    """Pairs: an encoder whose pooler nothing reads. Labels: batches that do not divide by the processes."""
    found = rows(40, 0)
    if kind == "labels":
        data, more = write_csv(tmp_path / "data.csv", found), ["--set", "train.batch_rows=16"]
    else:
        lines = [(text, " ".join(text.split()[:3])) for text, _ in found]
        data, more = write_csv(tmp_path / "data.csv", lines, ("anchor", "positive")), ["--set", "train.batch_rows=8"]
    out = tmp_path / "model"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [
        "-m",
        "tlx.runtime.program",
        "train",
        str(data),
        "--base",
        str(base),
        "--epochs",
        "2",
        "--out",
        str(out),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *more, "--quiet"], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    training = json.loads((out / "tlx.json").read_text())["lineage"]["training"]
    assert training["steps"] > 0
    assert not list(tmp_path.glob(".model*"))
