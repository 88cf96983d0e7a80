"""Inputs → a model's outputs on all the cores: one session for one input, another with a worker a core for many."""

from __future__ import annotations

import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.batches import cut_batches, pad_batch
from tlx.runtime.errors import FolderError, UsageError
from tlx.runtime.folder import Folder, Variant
from tlx.runtime.session import Device, Session, open_session
from tlx.runtime.tasks.limits import Limits
from tlx.runtime.tasks.task import Encoded, Floats, Input, Outputs, Task, unit_index, unit_starts
from tlx.runtime.tokens import Tokens

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

__all__ = ["Engine", "TruncationWarning", "begun"]

Result = TypeVar("Result")
Ints = NDArray[np.int64]
FIRST = np.zeros(1, dtype=np.int64)
# Tokens and texts of a batch. On the CPU small batches keep the activations in cache and the padding low.
BUDGETS: dict[Device, tuple[int, int]] = {"cpu": (512, 64), "cuda": (16_384, 256)}
SMALL_BYTES = 4_000_000  # a model up to this size runs on one thread an operator (benchmarks/LOG.md)
OTHERWISE = 4  # tokenizers kept for calls that cut otherwise
MANY = 8  # batches from which on the workers are worth a session of their own


class TruncationWarning(UserWarning):
    """A text was longer than the model's limit, and was cut there."""


class Engine:
    """Runs one variant of a folder for a task. Safe to use from many threads.

    One input runs on all `threads` inside each operator, unless the model is so small that handing work to another
    thread costs more than the work. Many inputs run as batches, one worker thread a core, each operator on one thread:
    where that is another session, it is started when the first big job comes.
    """

    def __init__(
        self, folder: Folder, variant: Variant, task: Task, tokens: Callable[[], Tokens], device: Device, threads: int
    ) -> None:
        """`tokens` is asked for the tokenizer when the session has started."""
        self.task = task
        self.device: Device = device
        self.threads = threads
        self.truncated = 0
        self._warned = False
        self._folder, self._variant = folder, variant
        small = device == "cpu" and variant.file.size_bytes <= SMALL_BYTES
        self._session = self._open(1 if small else threads)
        self.tokens = tokens()
        self._workers: tuple[Session, Executor] | None = None
        self._process = os.getpid()
        self._alone = device != "cpu" or threads == 1
        self._lock = threading.Lock()
        self.limits = task.limits(self.tokens.max_tokens)
        self._otherwise: dict[Limits, Tokens] = {}
        # The feeds of one row: the tensors that do not depend on it are cut from these.
        shape = (1, self.tokens.max_tokens)
        constants = {"attention_mask": np.ones(shape, np.int64), "token_type_ids": np.zeros(shape, np.int64)}
        self._kinds = self._session.inputs
        self._ids_type = self._kinds["input_ids"]
        self._constants = {
            name: constants[name].astype(kind) for name, kind in self._kinds.items() if name != "input_ids"
        }

    def one(self, item: Input, limits: Limits | None = None) -> Outputs:
        """What the model gives for one input; `limits`, where given, tell how it is cut."""
        if self._session.threads > 1:
            self._check_process()
        tokens = self._cutting(limits)
        encoded = self.task.encode(tokens, (item,), parallel=False)
        if len(encoded.rows) != 1:
            return self._start((item,), tokens, encoded)()
        if encoded.truncated:
            self._count_truncated(1, tokens)
        ids = encoded.rows[0]
        feeds: dict[str, NDArray[Any]] = {"input_ids": ids[None].astype(self._ids_type, copy=False)}
        for name, constant in self._constants.items():
            feeds[name] = constant[:, : len(ids)]
        if encoded.types is not None and "token_type_ids" in feeds:
            feeds["token_type_ids"] = encoded.types[0][None].astype(self._kinds["token_type_ids"], copy=False)
        return Outputs((item,), encoded, self.task.collect(self._session.run(feeds), encoded, FIRST, None))

    def many(
        self, windows: Iterable[Sequence[Input]], limits: Limits | None = None, *, ahead: int
    ) -> Iterator[Outputs]:
        """What the model gives for each window of inputs, in order; `limits`, where given, tell how they are cut.

        `ahead` windows are read and tokenized while the window before them still runs.
        """
        tokens = self._cutting(limits)
        pending: deque[Callable[[], Outputs]] = deque()
        for window in windows:
            pending.append(self._start(window, tokens))
            if len(pending) > ahead:
                yield pending.popleft()()
        while pending:
            yield pending.popleft()()

    def nothing(self) -> Outputs:
        """What comes of no input."""
        return Outputs([], Encoded([]), np.zeros((0, self.task.width or self._session.width or 1), dtype=np.float32))

    def _cutting(self, limits: Limits | None) -> Tokens:
        """The tokenizer that cuts so; one for each of the last few limits is kept."""
        if limits is None or limits == self.limits:
            return self.tokens
        found = self._otherwise.get(limits)
        if found is None:
            found = self.tokens.limited(limits, len(self.task.input_names))
            with self._lock:
                if len(self._otherwise) >= OTHERWISE:
                    self._otherwise.clear()
                self._otherwise[limits] = found
        return found

    def _start(self, inputs: Sequence[Input], tokens: Tokens, encoded: Encoded | None = None) -> Callable[[], Outputs]:
        """The inputs' work begins; the returned function waits for what comes of it."""
        self._check_process()
        if encoded is None:
            encoded = self.task.encode(tokens, inputs, parallel=self.threads > 1)
        if encoded.truncated:
            self._count_truncated(encoded.truncated, tokens)
        rows = encoded.rows
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        budget, size = BUDGETS[self.device]
        may_pad = tokens.pad_id is not None
        batches = cut_batches(lengths, max_tokens=budget, max_texts=size, may_pad=may_pad)
        workers = self._start_workers() if len(batches) >= MANY and not self._alone else None
        if workers is None:
            run = (self._run(self._session, encoded, batch) for batch in batches)
            return lambda: self._gather(inputs, encoded, batches, run)
        session, executor = workers
        futures = [executor.submit(self._run, session, encoded, batch) for batch in batches]
        return lambda: self._gather(inputs, encoded, batches, _results(futures))

    def _run(self, session: Session, encoded: Encoded, batch: Ints) -> Floats:
        input_ids, mask = pad_batch([encoded.rows[row] for row in batch], self.tokens.pad_id or 0)
        feeds: dict[str, NDArray[Any]] = {}
        for name, kind in session.inputs.items():
            if name == "input_ids":
                feeds[name] = input_ids.astype(kind, copy=False)
            elif name == "attention_mask":
                feeds[name] = mask.astype(kind, copy=False)
            elif encoded.types is None:
                feeds[name] = np.zeros(input_ids.shape, dtype=kind)
            else:
                feeds[name] = pad_batch([encoded.types[row] for row in batch], 0)[0].astype(kind, copy=False)
        return self.task.collect(session.run(feeds), encoded, batch, mask)

    def _gather(
        self, inputs: Sequence[Input], encoded: Encoded, batches: Sequence[Ints], results: Iterable[Floats]
    ) -> Outputs:
        """The batches' units in the order of the rows."""
        units = self.task.units(encoded)
        starts = None if units is None else unit_starts(units, len(encoded.rows))
        values: Floats | None = None
        for batch, result in zip(batches, results, strict=True):
            if values is None:
                count = len(encoded.rows) if starts is None else int(starts[-1])
                values = np.empty((count, result.shape[1]), dtype=np.float32)
            values[batch if starts is None else unit_index(starts, batch)] = result
        return self.nothing() if values is None else Outputs(inputs, encoded, values)

    def _open(self, threads: int) -> Session:
        task = self.task
        return open_session(self._folder, self._variant.file, self.device, threads, task.heads, task.width)

    def _check_process(self) -> None:
        """After a fork threads are gone: workers are started anew. Raises UsageError where the session had some, which would wait
        for them for ever."""
        if os.getpid() == self._process:
            return
        if self._session.threads > 1:
            raise UsageError(
                f"{self._session.source} was loaded before this process was forked, and its threads are not here: load it in "
                "each process, or load it with threads=1"
            )
        self._process, self._workers, self._lock = os.getpid(), None, threading.Lock()

    def _start_workers(self) -> tuple[Session, Executor] | None:
        """The session of one thread an operator and its workers, started once; None when the file has changed since."""
        with self._lock:
            if self._workers is None and not self._alone:
                from concurrent.futures import ThreadPoolExecutor

                try:
                    session = self._session
                    if session.threads > 1:
                        session = self._open(1)
                except FolderError as error:
                    self._alone = True
                    warnings.warn(f"many texts run on the one session there is: {error}", RuntimeWarning, stacklevel=2)
                    return None
                self._workers = session, ThreadPoolExecutor(self.threads, thread_name_prefix="tlx")
            return self._workers

    def _count_truncated(self, count: int, tokens: Tokens) -> None:
        with self._lock:
            self.truncated += count
            first = tokens is self.tokens and not self._warned  # a call that asks for fewer tokens knows
            self._warned = self._warned or first
        if first:
            warnings.warn(
                f"a text is longer than the model's {self.tokens.max_tokens} tokens and was truncated "
                "(said once; `truncated` counts them)",
                TruncationWarning,
                stacklevel=2,
            )


def begun(work: Callable[[], Result]) -> Callable[[], Result]:
    """Begins the work in a thread. The returned function waits for its result, or raises its error."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # whatever it is, it belongs to who waits
            errors.append(error)

    thread = threading.Thread(target=run, name="tlx-begun")
    thread.start()

    def wait() -> Result:
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    return wait


def _results(futures: Sequence[Future[Floats]]) -> Iterator[Floats]:
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:  # after an error the rest of the work is for nothing
            future.cancel()
