"""What every task's predictor shares: called with an input, many inputs, or a stream of them, it answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.batches import growing_windows, windows
from tlx.runtime.engine import Engine, begun
from tlx.runtime.errors import FolderError, UsageError
from tlx.runtime.folder import Folder, Manifest, VariantName
from tlx.runtime.session import Device, resolve_device
from tlx.runtime.tasks import Task, task_of
from tlx.runtime.tasks.limits import Limits, is_count
from tlx.runtime.tasks.task import Input, Outputs, join_outputs
from tlx.runtime.tokens import open_tokens

__all__ = ["Predictor"]

TOKENIZER = "tokenizer.json"
PREFERENCE: dict[Device, tuple[VariantName, ...]] = {
    "cpu": ("int8", "fp32", "int4", "fp16"),
    "cuda": ("fp16", "fp32", "int8", "int4"),
}


class Predictor:
    """A loaded model. Call it with inputs; it may be called from many threads at once.

    An input is a str, or where the task wants two texts a tuple or a dict of them (see `task.input_names`); it may be
    given by keywords too, `answer(question=…, context=…)`. One input gives one answer, a list a list in the same order,
    an iterator a generator that reads its source as its answers are taken (in windows of 1, 4, 16 … 4096 inputs).
    Answers are those of transformers.pipeline for the folder's task; the keywords of the call are the task's (`top_k`, …).
    Texts over `manifest.max_tokens` tokens are cut into windows where the task allows, else truncated as transformers does
    it; `truncated` counts those.
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
        if threads is not None and not is_count(threads):
            raise UsageError(f"threads is {threads!r}: wanted a whole number from 1, or None for all usable cores")
        threads = None if threads is None else int(threads)
        resolved = resolve_device(device)
        chosen = folder.variant(_variant_for(folder, variant, resolved))
        task = task_of(folder.manifest)
        if TOKENIZER not in folder.manifest.files:
            raise FolderError(f"{folder.path}: the manifest names no {TOKENIZER}: export the folder again")
        if threads is None:
            from tlx.runtime.machine import usable_cores

            threads = usable_cores()
        record, limit = folder.manifest.files[TOKENIZER], folder.manifest.max_tokens
        # Read while the session starts: neither needs Python for most of its time.
        tokens = begun(lambda: open_tokens(folder.read(record), limit, str(folder.path / TOKENIZER), task))
        return cls(folder, chosen.name, task, Engine(folder, chosen, task, tokens, resolved, threads))

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

    def __call__(self, inputs: Any = None, /, **options: Any) -> Any:
        task, engine = self.task, self._engine
        if isinstance(inputs, str) and not options:
            return task.answer(engine.one(task.take(inputs)))
        names = task.input_names
        if inputs is None:
            if not all(name in options for name in names):
                raise UsageError(f"there is nothing to answer: give {' and '.join(names)}")
            inputs = _spread({name: options.pop(name) for name in names})
        limits, options = task.understood(options, engine.limits)
        if isinstance(inputs, str):
            return task.answer(engine.one(task.take(inputs), limits), **options)
        if isinstance(inputs, Mapping) or (isinstance(inputs, tuple) and len(names) > 1):
            return task.answers(engine.one(task.take(inputs), limits), **options)[0]
        items = self._taken(inputs)
        task.check(options)
        if not hasattr(inputs, "__len__"):
            return self._stream(items, limits, options)
        parts = engine.many(windows(items, task.inputs_at_once), limits, ahead=1)
        found = [task.answers(part, **options) for part in parts]
        return task.joined(found or [task.answers(engine.nothing(), **options)])

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises UsageError for keywords with which a call would be refused."""
        self.task.check(self.task.understood(options, self._engine.limits)[1])

    def run(self, inputs: Iterable[Any]) -> Outputs:
        """What the model gives for the inputs, before any answer is made of it."""
        parts = list(self._engine.many(windows(self._taken(inputs)), ahead=1))
        return join_outputs(parts, None) if parts else self._engine.nothing()

    def logits(self, inputs: Any) -> NDArray[np.float32]:
        """The values of `run`, `(units, width)` float32: for text-classification one row of logits a text."""
        return self.run([inputs] if isinstance(inputs, str) else inputs).values

    def _stream(self, inputs: Iterable[Input], limits: Limits, options: Mapping[str, Any]) -> Iterator[Any]:
        for part in self._engine.many(growing_windows(inputs, self.task.inputs_at_once), limits, ahead=0):
            yield from self.task.answers(part, **options)

    def _taken(self, inputs: Iterable[Any]) -> Iterator[Input]:
        """The inputs, each checked as it is read."""
        wanted, kind = self.task.wanted, type(inputs).__name__
        if hasattr(inputs, "columns"):  # a table would give the names of its columns
            raise UsageError(f"found a {kind}: give one of its columns, as in model(table['text'])")
        if isinstance(inputs, (str, bytes, Mapping, Set)) or not hasattr(inputs, "__iter__"):
            raise UsageError(f"found a {kind}: wanted {wanted}, a list or an iterator of them")
        try:
            return self._each_taken(iter(inputs))
        except TypeError:  # numpy's array of no dimension
            raise UsageError(f"found a {kind} that holds no items: wanted {wanted}, a list or an iterator") from None

    def _each_taken(self, inputs: Iterable[Any]) -> Iterator[Input]:
        take = self.task.take
        for number, item in enumerate(inputs):
            try:
                taken = take(item)
            except UsageError as error:
                raise UsageError(f"input {number} (from 0): {error}") from None
            yield taken


def _spread(parts: Mapping[str, Any]) -> Mapping[str, Any] | list[Mapping[str, Any]]:
    """One input of keywords; or where some are lists, an input for each of their items, with what is no list in each."""
    lists = {name: value for name, value in parts.items() if isinstance(value, (list, tuple))}
    if not lists:
        return parts
    counts = {name: len(value) for name, value in lists.items()}
    count = max(counts.values())
    if min(counts.values()) != count:
        raise UsageError(f"found {' and '.join(f'{n} {name}' for name, n in counts.items())}: wanted as many of each")
    return [
        {name: lists[name][row] if name in lists else value for name, value in parts.items()} for row in range(count)
    ]


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
