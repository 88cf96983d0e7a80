"""The model folder: the one contract between training, export and the runtime.

A folder's `tlx.json` is its manifest. It is read once, at the border, into frozen values; nothing in a folder is
trusted before its size and sha256 were compared with the manifest, and no path may leave the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, cast

from tlx.runtime.errors import FolderError, IntegrityError, UsageError
from tlx.runtime.foreign import plain_folder
from tlx.runtime.limits import MOST_TOKENS

__all__ = [
    "FORMAT",
    "MANIFEST",
    "VARIANTS",
    "FileRecord",
    "Folder",
    "Manifest",
    "Variant",
    "VariantName",
    "file_record",
    "open_folder",
    "write_atomically",
]

FORMAT = 1
MANIFEST = "tlx.json"
ANEW = "train, export or copy the folder again"
VariantName = Literal["torch", "fp32", "int8", "int4", "fp16"]
NOTHING: Mapping[str, Any] = MappingProxyType({})
VARIANTS: tuple[VariantName, ...] = ("torch", "fp32", "int8", "int4", "fp16")


class FileRecord(NamedTuple):
    """What a file must be: its path inside the folder (posix), its size and its sha256 (hex)."""

    path: str
    size_bytes: int
    sha256: str


class Variant(NamedTuple):
    """One form of the model. `metrics` are measured on the evaluation data, `report` is what verification found.

    `metrics`: the task's metrics, e.g. `{"accuracy": 0.95}`. `report`: figures such as `max_abs_difference`,
    `flip_rate`, `batch_flip_rate`, `p50_ms`, `texts_per_s`, `machine`, `nodes`.
    """

    name: VariantName
    file: FileRecord
    metrics: Mapping[str, float] = NOTHING
    report: Mapping[str, Any] = NOTHING


class Manifest(NamedTuple):
    """`tlx.json`, parsed.

    `settings` belongs to the task (for text-classification: `{"multi_label": bool, "thresholds": [...]}`).
    `files` are the shared files that the runtime reads (tokenizer.json, config.json).
    `default` maps a device ("cpu", "cuda") to the variant that `variant="auto"` loads there.
    `lineage` says where the model comes from: base, teachers, data files with hashes, recipe, versions, figures.
    """

    task: str
    labels: tuple[str, ...]
    max_tokens: int
    settings: Mapping[str, Any] = NOTHING
    files: Mapping[str, FileRecord] = NOTHING
    variants: Mapping[str, Variant] = NOTHING
    default: Mapping[str, str] = NOTHING
    lineage: Mapping[str, Any] = NOTHING

    def with_variant(self, variant: Variant) -> Manifest:
        return self._replace(variants={**self.variants, variant.name: variant})

    def to_json(self) -> str:
        """The text of `tlx.json`, stable key by key."""
        document: dict[str, Any] = {
            "format": FORMAT,
            "task": self.task,
            "labels": list(self.labels),
            "max_tokens": self.max_tokens,
            "settings": dict(self.settings),
            "default": dict(self.default),
            "files": {name: _record_json(record) for name, record in sorted(self.files.items())},
            "variants": {
                name: {**_record_json(v.file), "metrics": dict(v.metrics), "report": dict(v.report)}
                for name, v in self.variants.items()
            },
            "lineage": dict(self.lineage),
        }
        return json.dumps(document, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> Manifest:
        """Raises FolderError naming `source` when the text is not a manifest of this version."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            line = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
            raise FolderError(
                f"{source} is not valid JSON{line}: the manifest is damaged; export or copy the folder again"
            ) from error
        if not isinstance(document, dict) or type(document.get("format")) is not int or document["format"] < 1:
            raise FolderError(
                f'{source} has no "format" number: it is not a tlx manifest; run `tlx export` on the folder'
            )
        if document["format"] > FORMAT:
            raise FolderError(
                f"{source} has format {document['format']}, this tlx reads up to format {FORMAT}: upgrade tlx"
            )
        try:
            return cls(
                task=_typed(document, "task", str),
                labels=_labels(document),
                max_tokens=_max_tokens(document),
                settings=_typed(document, "settings", dict),
                default={
                    device: _typed(document["default"], device, str) for device in _typed(document, "default", dict)
                },
                files={name: _record(item) for name, item in _typed(document, "files", dict).items()},
                variants={
                    name: Variant(
                        name=cast(VariantName, name),
                        file=_record(item),
                        metrics=_typed(item, "metrics", dict),
                        report=_typed(item, "report", dict),
                    )
                    for name, item in _typed(document, "variants", dict).items()
                },
                lineage=_typed(document, "lineage", dict),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise FolderError(f"{source} is incomplete ({error}): export or copy the folder again") from error


class Folder(NamedTuple):
    """A model folder that exists and whose manifest was read."""

    path: Path
    manifest: Manifest

    def variant(self, name: str) -> Variant:
        """The named variant, or an error that lists those there are."""
        if name not in VARIANTS:
            raise UsageError(f"unknown variant {name!r}: choose one of {', '.join(VARIANTS)}, or auto")
        if name not in self.manifest.variants:
            there = ", ".join(self.manifest.variants) or "none"
            made_by = {"fp32": "", "torch": ""}.get(name, f" --precision {name}")
            raise UsageError(
                f"{self.path} has no variant {name!r} (it has: {there}): make it with `tlx export {self.path}{made_by}`"
            )
        return self.manifest.variants[name]

    def read(self, record: FileRecord) -> bytes:
        """The file's bytes, when its size and sha256 are those of the record; else IntegrityError."""
        with self._opened(record) as stream:
            content = stream.read()
        self._compare(record, hashlib.sha256(content).hexdigest())
        return content

    def check(self, record: FileRecord) -> None:
        """Raises IntegrityError as `read` does, and never holds the whole file."""
        with self._opened(record) as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self._compare(record, sha256)

    def check_source(self) -> dict[str, str]:
        """The files that torch's model is loaded from are those of the manifest, as far as it names them: path → sha256."""
        torch = self.manifest.variants.get("torch")
        records = (*self.manifest.files.values(), *(() if torch is None else (torch.file,)))
        for record in records:
            self.check(record)
        return {str(self.locate(record)): record.sha256 for record in records}

    @contextmanager
    def _opened(self, record: FileRecord) -> Iterator[BufferedReader]:
        """The file, of the right size; faults of reading it within are told as FolderError."""
        path = self.locate(record)
        try:
            size = path.stat().st_size
            if size != record.size_bytes:
                raise IntegrityError(
                    f"{path} has {size} bytes, the manifest says {record.size_bytes}: the file is truncated or was "
                    f"changed; {ANEW}"
                )
            with path.open("rb") as stream:
                yield stream
        except FileNotFoundError as error:
            raise FolderError(f"{path} is missing, the manifest names it: {ANEW}") from error
        except OSError as error:
            raise FolderError(f"{path} cannot be read: {error.strerror}") from error

    def _compare(self, record: FileRecord, sha256: str) -> None:
        if sha256 != record.sha256:
            raise IntegrityError(
                f"{self.locate(record)} is not the file that the manifest names (sha256 differs): it was changed or "
                f"damaged; {ANEW}"
            )

    def locate(self, record: FileRecord) -> Path:
        """The record's path, refused when it leaves the folder (by `..`, an absolute path, or a link)."""
        path = self.path / record.path
        if "\0" in record.path or not path.resolve().is_relative_to(self.path.resolve()):
            raise FolderError(f"{self.path / MANIFEST} names {record.path!r}, which is outside the folder: not loaded")
        return path


def open_folder(path: str | Path) -> Folder:
    """The folder with its manifest. Raises FolderError when there is none, or not of this version."""
    folder = Path(path)
    try:
        there = folder.exists()
    except OSError as error:
        raise FolderError(f"{folder} cannot be looked into: {error.strerror}") from error
    if not there:
        raise FolderError(f"{folder} does not exist: give the path of a model folder (one that holds {MANIFEST})")
    if not folder.is_dir():
        raise FolderError(f"{folder} is a file: give the path of a model folder (one that holds {MANIFEST})")
    manifest_path = folder / MANIFEST
    try:
        text = manifest_path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FolderError(plain_folder(folder)) from error
    except PermissionError as error:
        raise FolderError(f"{manifest_path} cannot be read: {error.strerror}; give this user the right to") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FolderError(f"{manifest_path} cannot be read ({error}): export or copy the folder again") from error
    return Folder(path=folder, manifest=Manifest.from_json(text, str(manifest_path)))


def file_record(folder: Path, path: str) -> FileRecord:
    """The record of the file as it is now."""
    digest = hashlib.sha256()
    size = 0
    with (folder / path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    return FileRecord(path=path, size_bytes=size, sha256=digest.hexdigest())


def write_atomically(path: Path, content: str | bytes) -> None:
    """The file holds `content`; after a crash it holds that or what it held before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _labels(document: Mapping[str, Any]) -> tuple[str, ...]:
    labels = tuple(str(label) for label in _typed(document, "labels", list))
    if len(set(labels)) < len(labels):
        raise ValueError('"labels" holds one twice')
    return labels


def _max_tokens(document: Mapping[str, Any]) -> int:
    found: int = _typed(document, "max_tokens", int)
    if not 1 <= found <= MOST_TOKENS:
        raise ValueError(f'"max_tokens" is {found}, wanted 1 to {MOST_TOKENS}')
    return found


def _record(item: Mapping[str, Any]) -> FileRecord:
    return FileRecord(
        path=_typed(item, "path", str),
        size_bytes=_typed(item, "size_bytes", int),
        sha256=_typed(item, "sha256", str),
    )


def _record_json(record: FileRecord) -> dict[str, Any]:
    return {"path": record.path, "size_bytes": record.size_bytes, "sha256": record.sha256}


def _typed(document: Mapping[str, Any], key: str, kind: type) -> Any:
    value = document[key]
    if not isinstance(value, kind):
        raise TypeError(f'"{key}" is {type(value).__name__}, wanted {kind.__name__}')
    return value
