"""Texts → logits on all the cores: one session for one text, another with a worker a core for many."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.batches import cut_batches, pad_batch
from tlx.runtime.errors import FolderError
from tlx.runtime.folder import Folder, Variant
from tlx.runtime.session import Device, Session, open_session
from tlx.runtime.tokens import TokenIds, Tokens

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

__all__ = ["Engine", "TruncationWarning"]

Floats = NDArray[np.float32]
# Tokens and texts of a batch. On the CPU small batches keep the activations in cache and the padding low.
BUDGETS: dict[Device, tuple[int, int]] = {"cpu": (512, 64), "cuda": (16_384, 256)}
SMALL_BYTES = 4_000_000  # a model up to this size runs on one thread an operator (benchmarks/LOG.md)
MANY = 8  # batches from which on the workers are worth a session of their own


class TruncationWarning(UserWarning):
    """A text was longer than the model's limit, and was cut there."""


class Engine:
    """Runs one variant of a folder. Safe to use from many threads.

    One text runs on all `threads` inside each operator, unless the model is so small that handing work to another
    thread costs more than the work. Many texts run as batches, one worker thread a core, each operator on one thread:
    where that is another session, it is started when the first big job comes.
    """

    def __init__(self, folder: Folder, variant: Variant, tokens: Tokens, device: Device, threads: int) -> None:
        self.tokens = tokens
        self.device: Device = device
        self.threads = threads
        self.truncated = 0
        self._folder, self._variant = folder, variant
        self._labels = len(folder.manifest.labels)
        small = device == "cpu" and variant.file.size_bytes <= SMALL_BYTES
        self._session = open_session(folder, variant.file, device, 1 if small else threads, self._labels)
        self._workers: tuple[Session, Executor] | None = None
        self._alone = device != "cpu" or threads == 1
        self._lock = threading.Lock()
        self._ones = np.ones((1, tokens.max_tokens), dtype=np.int64)
        self._zeros = np.zeros((1, tokens.max_tokens), dtype=np.int64)
        # The feeds of one text: the tensors that do not depend on it are cut from these.
        constants = {"attention_mask": self._ones, "token_type_ids": self._zeros}
        self._ids_type = self._session.inputs["input_ids"]
        self._constants = {
            name: constants[name].astype(kind) for name, kind in self._session.inputs.items() if name != "input_ids"
        }

    def one(self, text: str) -> Floats:
        """The logits of one text, `(1, labels)` float32."""
        ids, truncated = self.tokens.encode(text)
        if truncated:
            self._count_truncated(1)
        feeds: dict[str, NDArray[Any]] = {"input_ids": np.array([ids], dtype=self._ids_type)}
        for name, constant in self._constants.items():
            feeds[name] = constant[:, : len(ids)]
        return self._session.run(feeds)

    def many(self, windows: Iterable[Sequence[str]], *, ahead: int) -> Iterator[Floats]:
        """The logits of each window of texts, `(texts, labels)` float32, in order.

        `ahead` windows are read and tokenized while the window before them still runs.
        """
        pending: deque[Callable[[], Floats]] = deque()
        for window in windows:
            pending.append(self._start(window))
            if len(pending) > ahead:
                yield pending.popleft()()
        while pending:
            yield pending.popleft()()

    def _start(self, texts: Sequence[str]) -> Callable[[], Floats]:
        """The texts' work begins; the returned function waits for its logits."""
        rows, truncated = self.tokens.encode_many(texts, parallel=self.threads > 1)
        if truncated:
            self._count_truncated(truncated)
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        tokens, size = BUDGETS[self.device]
        may_pad = self.tokens.pad_id is not None
        batches = cut_batches(lengths, max_tokens=tokens, max_texts=size, may_pad=may_pad)
        workers = self._start_workers() if len(batches) >= MANY and not self._alone else None
        if workers is None:
            return lambda: self._gather(len(rows), batches, [self._run(self._session, rows, b) for b in batches])
        session, executor = workers
        futures = [executor.submit(self._run, session, rows, batch) for batch in batches]
        return lambda: self._gather(len(rows), batches, _results(futures))

    def _run(self, session: Session, rows: Sequence[TokenIds], batch: NDArray[np.int64]) -> Floats:
        input_ids, attention_mask = pad_batch([rows[row] for row in batch], self.tokens.pad_id or 0)
        feeds: dict[str, NDArray[Any]] = {}
        for name, kind in session.inputs.items():
            if name == "input_ids":
                feeds[name] = input_ids.astype(kind, copy=False)
            elif name == "attention_mask":
                feeds[name] = attention_mask.astype(kind, copy=False)
            else:
                feeds[name] = np.zeros(input_ids.shape, dtype=kind)
        return session.run(feeds)

    def _gather(self, count: int, batches: Sequence[NDArray[np.int64]], results: Iterable[Floats]) -> Floats:
        logits = np.empty((count, self._labels), dtype=np.float32)
        for batch, result in zip(batches, results, strict=True):
            logits[batch] = result
        return logits

    def _start_workers(self) -> tuple[Session, Executor] | None:
        """The session of one thread an operator and its workers, started once; None when the file has changed since."""
        with self._lock:
            if self._workers is None and not self._alone:
                from concurrent.futures import ThreadPoolExecutor

                try:
                    session = self._session
                    if session.threads > 1:
                        session = open_session(self._folder, self._variant.file, self.device, 1, self._labels)
                except FolderError as error:
                    self._alone = True
                    warnings.warn(f"many texts run on the one session there is: {error}", RuntimeWarning, stacklevel=2)
                    return None
                self._workers = session, ThreadPoolExecutor(self.threads, thread_name_prefix="tlx")
            return self._workers

    def _count_truncated(self, count: int) -> None:
        with self._lock:
            first = self.truncated == 0
            self.truncated += count
        if first:
            warnings.warn(
                f"a text is longer than the model's {self.tokens.max_tokens} tokens and was truncated "
                "(said once; `truncated` counts them)",
                TruncationWarning,
                stacklevel=2,
            )


def _results(futures: Sequence[Future[Floats]]) -> Iterator[Floats]:
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:  # after an error the rest of the work is for nothing
            future.cancel()
