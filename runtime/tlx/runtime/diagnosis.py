"""What a folder holds and whether it is whole (`tlx inspect`); what this installation can run (`tlx doctor`)."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tlx.runtime.errors import FolderError, TlxError
from tlx.runtime.folder import Folder
from tlx.runtime.machine import import_onnxruntime, machine_description, provider_fault

__all__ = ["diagnose", "inspect_folder"]

OPTIONAL_PACKAGES = [
    "numpy",
    "tokenizers",
    "typer",
    "rich",
    "pyarrow",
    "datasets",
    "torch",
    "transformers",
    "accelerate",
    "safetensors",
    "optimum-onnx",
    "onnx",
    "onnxscript",
]


def inspect_folder(folder: Folder) -> dict[str, Any]:
    """The manifest as one document, with `faults`: what differs from it on the disk (every size and sha256 is checked). What a
    device does without, where a variant that answers is there, may be `absent`."""
    manifest = folder.manifest
    onnx = [variant.file for name, variant in manifest.variants.items() if name != "torch"]
    records = [*manifest.files.values(), *(variant.file for variant in manifest.variants.values())]
    answering = [record.path for record in onnx if (folder.path / record.path).exists()]
    needed = {"tokenizer.json"} if answering else {record.path for record in records}
    absent = [r.path for r in records if r.path not in needed and not (folder.path / r.path).exists()]
    records = [record for record in records if record.path not in absent]
    faults = []
    for record in records:
        try:
            folder.check(record)
        except FolderError as error:
            faults.append(str(error))
    return {
        "path": str(folder.path),
        "task": manifest.task,
        "labels": list(manifest.labels),
        "max_tokens": manifest.max_tokens,
        "settings": dict(manifest.settings),
        "default": dict(manifest.default),
        "variants": {
            name: {
                "file": variant.file.path,
                "size_bytes": variant.file.size_bytes,
                "metrics": dict(variant.metrics),
                "report": dict(variant.report),
            }
            for name, variant in manifest.variants.items()
        },
        "lineage": dict(manifest.lineage),
        "absent": absent,
        "files_checked": len(records),
        "faults": faults,
    }


def diagnose() -> dict[str, Any]:
    """`machine`, `providers` (name → None when it really starts, else why not), `packages` (name → version or None)."""
    providers: dict[str, str | None] = {}
    fault = None
    try:
        for provider in import_onnxruntime().get_available_providers():
            providers[provider] = provider_fault(provider)
        providers.setdefault("CUDAExecutionProvider", provider_fault("CUDAExecutionProvider"))
    except TlxError as error:
        fault = str(error)
    return {
        "tlx": _version("tlx"),
        "machine": machine_description(),
        "providers": providers,
        "packages": {name: _version(name) for name in OPTIONAL_PACKAGES},
        "fault": fault,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
