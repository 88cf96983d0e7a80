"""What the machine is said to be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tlx.runtime.machine import (
    cgroup_quota,
    machine_description,
    onnxruntime_package,
    provider_fault,
    usable_cores,
)


def membership(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cgroup-of-self"
    path.write_text(text)
    return path


def test_the_least_quota_on_the_way_up_counts_in_cgroup_v2(tmp_path: Path) -> None:
    inner = tmp_path / "slice/app"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (tmp_path / "slice/cpu.max").write_text("150000 100000\n")
    (tmp_path / "cpu.max").write_text("800000 100000\n")
    assert cgroup_quota(tmp_path, membership(tmp_path, "0::/slice/app\n")) == 1.5


def test_the_quota_of_cgroup_v1_is_read(tmp_path: Path) -> None:
    inner = tmp_path / "cpu,cpuacct/docker"
    inner.mkdir(parents=True)
    (inner / "cpu.cfs_quota_us").write_text("50000\n")
    (inner / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu,cpuacct/cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu,cpuacct/cpu.cfs_period_us").write_text("100000\n")
    assert cgroup_quota(tmp_path, membership(tmp_path, "4:memory:/x\n3:cpu,cpuacct:/docker\n")) == 0.5


def test_without_a_cgroup_there_is_no_quota(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path / "none", tmp_path / "none") is None


def test_cores_are_at_most_those_of_the_affinity_mask() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


def test_the_cpu_provider_starts() -> None:
    assert provider_fault("CPUExecutionProvider") is None


def test_a_provider_that_the_package_lacks_says_which_package_it_is() -> None:
    package = onnxruntime_package()
    assert package is not None
    fault = provider_fault("NoSuchExecutionProvider")
    assert fault is not None
    assert package in fault
    assert "has no NoSuchExecutionProvider" in fault


@pytest.mark.parametrize("key", ["cpu", "cores", "memory_bytes", "onnxruntime", "platform"])
def test_the_description_has_the_facts_that_figures_need(key: str) -> None:
    assert machine_description()[key]
