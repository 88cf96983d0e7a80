"""One ONNX Runtime session, constructed or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.errors import DeviceError, FolderError, UsageError
from tlx.runtime.folder import FileRecord, Folder
from tlx.runtime.machine import PROVIDERS, import_onnxruntime, one_line, provider_fault, quantizes_poorly

__all__ = ["Device", "Session", "open_session", "resolve_device"]

Device = Literal["cpu", "cuda"]
DEVICES = ("auto", "cpu", "cuda")
NUMPY_TYPES: dict[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
# TensorProto.external_data: the entry with key "location" (ONNX, onnx.proto StringStringEntryProto), its length, then key and
# value as every writer has them; and the string in whatever other way protobuf lets it be written, its length in more bytes than
# it needs, too.
EXTERNAL_LOCATION = re.compile(rb"\x6a([\x80-\xff]{0,4}[\x00-\x7f])\x0a\x08location\x12([\x80-\xff]{0,4}[\x00-\x7f])")
KEY_BYTES = 11
"""What an entry holds beside its value and the value's length: the key and two tags."""
ANY_LOCATION = re.compile(rb"(?:\x08|\x88\x80*\x00)location")


class Session(NamedTuple):
    """A started session: what it runs on, the integer inputs it wants and the outputs that the task reads."""

    source: str
    inference: Any
    device: Device
    threads: int
    inputs: Mapping[str, type[np.integer[Any]]]
    outputs: list[str]

    @property
    def width(self) -> int | None:
        """The columns of the first output, where the model says."""
        shape = next((item.shape for item in self.inference.get_outputs() if item.name == self.outputs[0]), [None])
        return shape[-1] if isinstance(shape[-1], int) else None

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        """The outputs, float32, batch first, for feeds of `(batch, tokens)`. Raises FolderError when it fails."""
        try:
            found = self.inference.run(self.outputs, feeds)
        except Exception as error:  # onnxruntime's errors share no narrower base class
            shape = feeds["input_ids"].shape
            raise FolderError(f"{self.source} failed on a batch of shape {shape}: {one_line(error)}") from error
        return [item if item.dtype == np.float32 else item.astype(np.float32) for item in found]


def resolve_device(device: str) -> Device:
    """The device to run on. "auto" is cuda where it really starts, else cpu.

    Raises UsageError for another name, and DeviceError saying why when cuda was asked for and cannot start.
    """
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
    provider = PROVIDERS["cuda"]
    if device == "cpu" or (device == "auto" and provider not in import_onnxruntime().get_available_providers()):
        return "cpu"  # found without asking for reasons, which takes a tenth of the way to a first answer
    fault = provider_fault(provider)
    if fault is None:
        return "cuda"
    if device == "cuda":
        raise DeviceError(
            f"device cuda cannot start: {fault}; install 'tlx[cuda]' alone (uninstall onnxruntime first) with a matching "
            "CUDA and cuDNN, or use device cpu; `tlx doctor` shows what starts"
        )
    return "cpu"


def open_session(
    folder: Folder, record: FileRecord, device: Device, threads: int, heads: Sequence[str], width: int | None
) -> Session:
    """A session over the model file, which was compared with the manifest first, for the outputs `heads`.

    Raises FolderError when the file is not the manifest's, is damaged, or its first output has not `width` columns;
    DeviceError when the device does not start.
    """
    ort = import_onnxruntime()
    model = folder.read(record)
    options = _options(ort, threads)
    if ANY_LOCATION.search(model):
        _check_external_data(folder, record, model)
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder.locate(record).parent.resolve())
        )
    provider = PROVIDERS[device]
    providers = [provider] if device == "cpu" else [provider, PROVIDERS["cpu"]]
    path = folder.path / record.path
    try:
        inference = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's errors share no narrower base class
        raise FolderError(
            f"{path} cannot be loaded by ONNX Runtime: {one_line(error)}; export the folder again"
        ) from error
    if provider not in inference.get_providers():
        raise DeviceError(f"{path} did not start on {device}: ONNX Runtime fell back to {inference.get_providers()}")
    return Session(
        source=str(path),
        inference=inference,
        device=device,
        threads=threads,
        inputs=_integer_inputs(inference, str(path)),
        outputs=_outputs(inference, str(path), heads, width),
    )


def _options(ort: Any, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # enable_mem_pattern stays on, though a plan is kept for each shape seen: the budget of a batch bounds the shapes, and a
    # run of a small model takes a third longer without it.
    options.log_severity_level = 3
    if quantizes_poorly():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _integer_inputs(inference: Any, path: str) -> dict[str, type[np.integer[Any]]]:
    known = ("input_ids", "attention_mask", "token_type_ids")
    wanted: dict[str, type[np.integer[Any]]] = {}
    for item in inference.get_inputs():
        if item.name not in known or item.type not in NUMPY_TYPES:
            raise FolderError(
                f"{path} wants input {item.name!r} of {item.type}: the runtime gives {', '.join(known)} as integers"
            )
        wanted[item.name] = NUMPY_TYPES[item.type]
    if "input_ids" not in wanted:
        raise FolderError(f"{path} has no input input_ids (it has: {', '.join(wanted) or 'none'}): export it again")
    return wanted


def _outputs(inference: Any, path: str, heads: Sequence[str], width: int | None) -> list[str]:
    there = {item.name: item for item in inference.get_outputs()}
    for name in heads:
        if name not in there:
            raise FolderError(f"{path} has no output {name} (it has: {', '.join(there)}): export it again")
    found = there[heads[0]].shape[-1]
    if width is not None and isinstance(found, int) and found != width:
        raise FolderError(f"{path} gives {found} {heads[0]}, the manifest has {width} labels: export the folder again")
    return list(heads)


def _check_external_data(folder: Folder, record: FileRecord, model: bytes) -> None:
    """Each external-data file lies in the folder, is named by the manifest, and is what it says; else FolderError."""
    records = {item.path: item for item in folder.manifest.files.values()}
    where = folder.path / record.path
    found = [_location(model, match) for match in EXTERNAL_LOCATION.finditer(model)]
    if None in found or len(found) != sum(1 for _ in ANY_LOCATION.finditer(model)):
        raise FolderError(
            f"{where} may keep weights in other files, named in a way that no exporter writes: not loaded"
        )
    for location in set(filter(None, found)):
        name = str(PurePosixPath(record.path).parent / location)
        folder.locate(FileRecord(path=name, size_bytes=0, sha256=""))
        if name not in records:
            raise FolderError(f"{where} keeps weights in {location!r}, which the manifest does not name: not loaded")
        folder.read(records[name])


def _location(model: bytes, match: re.Match[bytes]) -> str | None:
    """The value of an entry; None where it holds more than that, which another value could be: protobuf keeps the last one."""
    entry, value = (_varint(length) for length in match.groups())
    if entry != KEY_BYTES + len(match[2]) + value:
        return None
    return model[match.end() : match.end() + value].decode("utf-8", "replace")


def _varint(content: bytes) -> int:
    """The number that protobuf writes so: seven bits a byte, the low ones first."""
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(content))
