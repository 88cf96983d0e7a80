"""Embeddings as matrices: length one, fewer dimensions, fewer bits, and how alike they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.errors import UsageError

__all__ = ["PRECISIONS", "Precision", "int8_ranges", "neighbours", "quantise", "shortened", "similarity", "unit"]

Floats = NDArray[np.float32]
Precision = Literal["float32", "int8", "binary", "ubinary"]
PRECISIONS = ("float32", "int8", "binary", "ubinary")
BLOCK = 512  # rows whose similarities to all others are held at once


def unit(vectors: Floats) -> Floats:
    """Each row with length one, `(n, d)`; a row of zeros stays."""
    found: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return found


def shortened(vectors: Floats, dimensions: int | None, *, normalise: bool) -> Floats:
    """The first `dimensions` of each row (None: all), `(n, dimensions)`, then with `normalise` of length one."""
    if dimensions is not None:
        vectors = vectors[:, :dimensions]
    return unit(vectors) if normalise else np.ascontiguousarray(vectors)


def int8_ranges(vectors: Floats) -> Floats:
    """The least and the greatest value of each dimension, `(2, d)`: what int8 embeddings spread their 256 steps over."""
    if not len(vectors):
        raise UsageError("there are no vectors to take int8 ranges from: give some hundred typical ones")
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)])


def quantise(vectors: Floats, precision: Precision, ranges: Floats | None = None) -> NDArray[Any]:
    """The vectors `(n, d)` with fewer bits, as sentence-transformers' quantize_embeddings gives them.

    float32: as they are. int8: `(n, d)`, 256 steps of each dimension's range (`int8_ranges` of the vectors themselves
    where none are given). ubinary: one bit a dimension, 1 where positive, packed into `(n, ⌈d / 8⌉)` uint8;
    binary: the same bytes less 128, as int8, which vector databases ask for (tell `similarity` that they are it).
    """
    if precision == "float32":
        return vectors.astype(np.float32, copy=False)
    if precision in ("binary", "ubinary"):
        bits = np.packbits(vectors > 0, axis=-1)
        return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    if precision != "int8":
        raise UsageError(f"precision is {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if ranges is None:
        ranges = int8_ranges(vectors)
    if ranges.shape != (2, vectors.shape[1]):
        raise UsageError(f"the int8 ranges have the shape {ranges.shape}: wanted (2, {vectors.shape[1]})")
    steps = (ranges[1] - ranges[0]) / 255
    codes = np.floor((vectors - ranges[0]) / np.where(steps == 0, 1, steps))
    found: NDArray[np.int8] = (np.clip(codes, 0, 255) - 128).astype(np.int8)
    return found


def similarity(
    a: NDArray[Any], b: NDArray[Any], *, precision: Precision | None = None, dimensions: int | None = None
) -> Floats:
    """How alike each row of `a` `(n, d)` is to each of `b` `(m, d)`, `(n, m)` float32, greater is more alike.

    The cosine of float vectors; the dot product of int8 ones; of packed bits (uint8) the share of bits that agree, which is
    1 − Hamming distance / bits. Bytes of "binary" look like int8 vectors: give their `precision`. Where the vectors' size is no
    multiple of 8, `dimensions` says how many bits of the packed ones count. One vector `(d,)` is a matrix of one row. Raises
    UsageError for two that do not fit.
    """
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or _kind(a) != _kind(b):
        raise UsageError(
            f"found embeddings {a.dtype}{a.shape} and {b.dtype}{b.shape}: wanted the same precision and dimensions"
        )
    kind = {"float": "float32", "uint8": "ubinary"}.get(_kind(a), "int8")
    if precision not in (None, kind) and (precision, kind) != ("binary", "int8"):
        raise UsageError(f"found embeddings of {a.dtype}, and precision is {precision!r}: wanted {kind!r}")
    if precision == "binary":
        a, b = ((bits.astype(np.int16) + 128).astype(np.uint8) for bits in (a, b))
    if a.dtype == np.uint8:
        count = 8 * a.shape[1] if dimensions is None else dimensions
        if not max(8 * a.shape[1] - 7, 0) <= count <= 8 * a.shape[1]:
            raise UsageError(
                f"dimensions is {dimensions!r}: rows of {a.shape[1]} bytes have up to {8 * a.shape[1]} bits"
            )
        one, other = (2.0 * np.unpackbits(bits, axis=1, count=count).astype(np.float32) - 1.0 for bits in (a, b))
        agree: Floats = (0.5 + (one @ other.T) / (2.0 * max(count, 1))).astype(np.float32)
        return agree
    if a.dtype == np.int8:
        wide: Any = np.float32 if a.shape[1] <= 1024 else np.float64  # sums of 1024 products of bytes fit 24 bits
        dots: Floats = (a.astype(wide) @ b.astype(wide).T).astype(np.float32)
        return dots
    cosines: Floats = unit(a.astype(np.float32, copy=False)) @ unit(b.astype(np.float32, copy=False)).T
    return cosines


def neighbours(vectors: Floats, reference: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Cosines of every row to every row by `vectors` and by `reference`, `(rows, n)` each, some hundred rows at a time.

    A row's cosine to itself is −2, so that it is never the nearest.
    """
    first, second = unit(vectors), unit(reference)
    for start in range(0, len(first), BLOCK):
        blocks = first[start : start + BLOCK] @ first.T, second[start : start + BLOCK] @ second.T
        for block in blocks:
            block[np.arange(len(block)), start + np.arange(len(block))] = -2.0
        yield blocks


def _kind(vectors: NDArray[Any]) -> str:
    if vectors.dtype.kind == "f":
        return "float"
    if vectors.dtype in (np.int8, np.uint8):
        return str(vectors.dtype)
    raise UsageError(f"found embeddings of {vectors.dtype}: wanted float32, int8, or packed bits (uint8)")
