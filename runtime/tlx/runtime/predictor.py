"""What every task's predictor shares: called with a text, many texts, or a stream of texts, it answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.batches import growing_windows, windows
from tlx.runtime.engine import Engine
from tlx.runtime.errors import FolderError, UsageError
from tlx.runtime.folder import Folder, Manifest, VariantName
from tlx.runtime.session import Device, resolve_device
from tlx.runtime.tasks import Task, task_named
from tlx.runtime.tokens import open_tokens

if TYPE_CHECKING:
    from tlx.runtime.tasks.classification import LabelScore, TopK

__all__ = ["Predictor"]

TOKENIZER = "tokenizer.json"
PREFERENCE: dict[Device, tuple[VariantName, ...]] = {
    "cpu": ("int8", "fp32", "int4", "fp16"),
    "cuda": ("fp16", "fp32", "int8", "int4"),
}


class Predictor:
    """A loaded model. Call it with texts; it may be called from many threads at once.

    Answers are those of transformers.pipeline for the folder's task; options are the task's (text-classification:
    `top_k`, see TextClassification). A str gives one answer, a list a list in the same order, an iterator a generator
    that reads its source as its answers are taken (in windows of 1, 4, 16 … 4096 texts).
    Texts over `manifest.max_tokens` tokens are truncated as transformers does it; `truncated` counts them.
    """

    def __init__(self, folder: Folder, variant: VariantName, task: Task, engine: Engine) -> None:
        self.manifest: Manifest = folder.manifest
        self.variant: VariantName = variant
        self.task = task
        self._engine = engine

    @classmethod
    def open(cls, folder: Folder, variant: str = "auto", device: str = "auto", threads: int | None = None) -> Predictor:
        """The predictor for a variant of the folder; its manifest is the value's, whatever lies on the disk.

        Raises UsageError (variant, device, threads), FolderError (damaged files), DeviceError, MissingExtraError.
        """
        if threads is not None and (type(threads) is not int or threads < 1):
            raise UsageError(f"threads is {threads!r}: wanted a whole number from 1, or None for all usable cores")
        resolved = resolve_device(device)
        chosen = folder.variant(_variant_for(folder, variant, resolved))
        task = task_named(folder.manifest.task).from_manifest(folder.manifest)
        if TOKENIZER not in folder.manifest.files:
            raise FolderError(f"{folder.path}: the manifest names no {TOKENIZER}: export the folder again")
        content = folder.read(folder.manifest.files[TOKENIZER])
        tokens = open_tokens(content, folder.manifest.max_tokens, str(folder.path / TOKENIZER))
        if threads is None:
            from tlx.runtime.machine import usable_cores

            threads = usable_cores()
        return cls(folder, chosen.name, task, Engine(folder, chosen, tokens, resolved, threads))

    @property
    def device(self) -> Device:
        return self._engine.device

    @property
    def threads(self) -> int:
        return self._engine.threads

    @property
    def truncated(self) -> int:
        """How many texts were longer than the model's limit so far."""
        return self._engine.truncated

    @overload  # a str is a Sequence[str] too: the first match counts
    def __call__(self, texts: str, *, top_k: TopK = "best") -> list[LabelScore]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, texts: Sequence[str]) -> list[LabelScore]: ...
    @overload
    def __call__(self, texts: Sequence[str], *, top_k: TopK) -> list[list[LabelScore]]: ...
    @overload
    def __call__(self, texts: Iterator[str]) -> Iterator[LabelScore]: ...
    @overload
    def __call__(self, texts: Iterator[str], *, top_k: TopK) -> Iterator[list[LabelScore]]: ...
    @overload
    def __call__(self, texts: Iterable[str], **options: Any) -> Any: ...
    def __call__(self, texts: str | Iterable[str], **options: Any) -> Any:
        if isinstance(texts, str):
            return self.task.answer(self._engine.one(texts), **options)
        strings = _strings(texts)
        self.task.answers(np.zeros((0, len(self.manifest.labels)), dtype=np.float32), **options)  # checks the options
        if not hasattr(texts, "__len__"):
            return self._stream(strings, options)
        logits = self._engine.many(windows(strings), ahead=1)
        return [answer for window in logits for answer in self.task.answers(window, **options)]

    def logits(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """What the model gives before softmax or sigmoid, `(texts, labels)` float32."""
        parts = list(self._engine.many(windows(_strings([texts] if isinstance(texts, str) else texts)), ahead=1))
        return np.concatenate(parts) if parts else np.zeros((0, len(self.manifest.labels)), dtype=np.float32)

    def _stream(self, texts: Iterable[str], options: Mapping[str, Any]) -> Iterator[Any]:
        for window in self._engine.many(growing_windows(texts), ahead=0):
            yield from self.task.answers(window, **options)


def _variant_for(folder: Folder, variant: str, device: Device) -> str:
    if variant == "torch":
        raise UsageError(
            "variant 'torch' needs torch, which the runtime does not load: choose fp32, int8, int4, fp16 or auto"
        )
    if variant != "auto":
        return variant
    there = folder.manifest.variants
    named = folder.manifest.default.get(device)
    for name in (named, *PREFERENCE[device]):
        if name is not None and name in there and name != "torch":
            return name
    raise UsageError(f"{folder.path} has no ONNX variant yet: make one with `tlx export {folder.path} --quantize`")


def _strings(texts: Iterable[str]) -> Iterator[str]:
    """The texts, each checked as it is read."""
    if isinstance(texts, (bytes, Mapping)) or not isinstance(texts, Iterable):
        raise UsageError(f"texts is a {type(texts).__name__}: wanted a str, a list of str or an iterator of str")
    return _each_checked(texts)


def _each_checked(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(f"text {number} (from 0) is a {type(text).__name__}: wanted str")
        yield text
