"""Freed memory stays, kernels for many shapes do not."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tlx.train.memory import KERNELS, bound_kernels

CHURN = """
import resource, sys
import numpy as np
from tlx.train.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [np.ones(2_000_000, np.float32) for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_pages_are_not_mapped_anew_in_every_round() -> None:
    counts = [
        int(subprocess.run([sys.executable, "-c", CHURN, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "leave")
    ]
    assert counts[0] < 0.1 * counts[1]


@pytest.mark.parametrize(("tokens", "kernels"), [(1.0, 1024), (32.0, 1024), (64.0, 256), (150.0, 64), (512.0, 64)])
def test_longer_rows_keep_fewer_kernels(monkeypatch: pytest.MonkeyPatch, tokens: float, kernels: int) -> None:
    for name in KERNELS:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    bound_kernels(tokens)
    assert [os.environ[name] for name in KERNELS] == [str(kernels)] * 2


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KERNELS:
        monkeypatch.setenv(name, "7")
    bound_kernels(512.0)
    assert [os.environ[name] for name in KERNELS] == ["7", "7"]


GROWTH = """
import sys
import torch
from tlx.train import memory

memory.FEWEST_KERNELS = int(sys.argv[1])
memory.bound_kernels(512.0)
weight = torch.randn(384, 768, dtype=torch.bfloat16)
def resident():  # not ru_maxrss: a child begins with that of the process that started it
    return int(open("/proc/self/statm").read().split()[1]) * 4
torch.randn(1000, 384, dtype=torch.bfloat16) @ weight
before = resident()
for rows in range(700, 900):
    torch.randn(rows, 384, dtype=torch.bfloat16) @ weight
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_onednn_keeps_to_the_bound_that_is_set_before_its_first_product() -> None:
    free = {name: value for name, value in os.environ.items() if name not in KERNELS}
    few, many = (
        int(
            subprocess.run(
                [sys.executable, "-c", GROWTH, n], capture_output=True, text=True, check=True, env=free
            ).stdout
        )
        for n in ("4", "1024")
    )
    if many < 100_000:
        pytest.skip("this CPU computes in bfloat16 without room to work in")
    assert few < 0.5 * many
