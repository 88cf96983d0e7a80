"""What this machine is, and what ONNX Runtime really starts on it."""

from __future__ import annotations

import math
import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

from tlx.runtime.errors import MissingExtraError

__all__ = [
    "cpu_features",
    "import_onnxruntime",
    "machine_description",
    "memory_bytes",
    "onnxruntime_package",
    "provider_fault",
    "quantizes_poorly",
    "usable_cores",
]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
NOTABLE_FEATURES = [
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
    "bf16",
]

# An ONNX model of one Identity node (opset 13), by hand: enough to see whether a provider starts.
IDENTITY_MODEL = (
    b'\x08\x08\x12\x00:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


def import_onnxruntime() -> Any:
    """The onnxruntime module. Raises MissingExtraError naming both extras when it is not there or not whole.

    Its telemetry, which would open a database in the user's home, is off unless ORT_DISABLE_TELEMETRY=0 says otherwise.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "cpu", "running a model (or 'tlx[cuda]' for an NVIDIA GPU)") from error
    if not hasattr(onnxruntime, "InferenceSession"):  # what is left when one of the two packages was uninstalled
        raise MissingExtraError(
            "a whole onnxruntime", "cpu", "running a model (or 'tlx[cuda]'; uninstall both packages first)"
        )
    return onnxruntime


@cache
def onnxruntime_package() -> str | None:
    """The installed package's name and version, e.g. "onnxruntime 1.31.1"; both when both are there (they clash)."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return " and ".join(found) or None


@cache
def provider_fault(provider: str) -> str | None:
    """Why the provider cannot start here, in one line; None when it does start.

    ONNX Runtime falls back to the CPU silently, so the session is asked what it really runs on.
    """
    ort = import_onnxruntime()
    if provider not in ort.get_available_providers():
        built = ", ".join(ort.get_available_providers())
        return f"the installed package ({onnxruntime_package() or 'onnxruntime'}) has no {provider} (it has: {built})"
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(IDENTITY_MODEL, options, providers=[provider], enable_fallback=0)
    except Exception as error:  # onnxruntime's errors share no narrower base class
        return one_line(error)
    if provider not in session.get_providers():
        reason = (
            "its libraries (CUDA, cuDNN) or the device were not found" if "CUDA" in provider else "it did not start"
        )
        return f"{onnxruntime_package()} has {provider}, but {reason}"
    return None


def usable_cores() -> int:
    """The least of the affinity mask, the cgroup's CPU quota (rounded up) and the machine's cores."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)) or cores)
    quota = cgroup_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """The CPUs that the cgroup (v2 or v1) of this process may use, the least on the way up; None for no limit."""
    try:
        lines = membership.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    quotas = [_quota_v2(root)]
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        below = Path(path.lstrip("/"))
        if not controllers:
            quotas += [_quota_v2(root / part) for part in (below, *below.parents)]
        elif "cpu" in controllers.split(","):
            bases = (root / "cpu", root / controllers)
            quotas += [_quota_v1(base / part) for base in bases for part in (below, *below.parents)]
    limits = [quota for quota in quotas if quota is not None]
    return min(limits) if limits else None


def cpu_features() -> list[str]:
    """The instruction sets that matter for inference here (avx2, avx512_vnni, amx_int8 …); empty when unknown."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features") or "").split())
    return [name for name in NOTABLE_FEATURES if name in flags]


def quantizes_poorly() -> bool:
    """Whether 8-bit products may saturate here: x86 that is not known to have VNNI (ONNX Runtime's `session.x64quantprecision`
    helps; where it finds VNNI, it leaves that aside)."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return is_x86 and not {"avx512_vnni", "avx_vnni"} & set(cpu_features())


def memory_bytes() -> int | None:
    """The machine's memory; None where it is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def machine_description() -> dict[str, Any]:
    """Where figures were measured: cpu, its features, cores (usable), memory_bytes, onnxruntime, python, platform."""
    return {
        "cpu": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cpu_features": cpu_features(),
        "cores": usable_cores(),
        "memory_bytes": memory_bytes(),
        "onnxruntime": onnxruntime_package(),
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }


def one_line(error: Exception) -> str:
    """The error's first line that says something, without ONNX Runtime's prefix."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text.removeprefix("[ONNXRuntimeError] : ")[:300]


@cache
def _cpuinfo(key: str) -> str | None:
    """The first value of the key in /proc/cpuinfo, read no further than it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                name, _, value = line.partition(":")
                if name.strip() == key:
                    return value.strip()
                if not line.strip():
                    return None  # the other cores say the same, and a big machine takes long to list them
    except OSError:
        return None
    return None


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
