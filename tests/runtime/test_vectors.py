"""Embeddings as matrices: sentence-transformers is the oracle for fewer bits and for cosines."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import ndcg_score

from tlx.runtime import UsageError
from tlx.runtime.ranking import ranking
from tlx.runtime.vectors import int8_ranges, neighbours, quantise, shortened, similarity, unit

MATRICES = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)


def vectors(rows: int = 50, width: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@given(MATRICES)
def test_fewer_bits_are_those_of_sentence_transformers(found: np.ndarray) -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    np.testing.assert_array_equal(quantise(found, "ubinary"), quantize_embeddings(found, "ubinary"))
    np.testing.assert_array_equal(quantise(found, "binary"), quantize_embeddings(found, "binary"))
    np.testing.assert_array_equal(quantise(found, "int8"), quantize_embeddings(found, "int8"))
    ranges = int8_ranges(vectors(width=found.shape[1]))
    np.testing.assert_array_equal(
        quantise(found, "int8", ranges), quantize_embeddings(found, "int8", ranges=ranges.copy())
    )
    assert quantise(found, "float32") is found


@given(MATRICES)
def test_cosines_are_those_of_sentence_transformers(found: np.ndarray) -> None:
    from sentence_transformers.util import cos_sim

    np.testing.assert_allclose(similarity(found, found[::-1]), cos_sim(found, found[::-1].copy()).numpy(), atol=1e-5)


@given(MATRICES)
def test_unit_vectors_have_length_one_or_are_zero(found: np.ndarray) -> None:
    lengths = np.linalg.norm(unit(found), axis=1)
    assert (np.isclose(lengths, 1.0, atol=1e-4) | (np.linalg.norm(found, axis=1) < 1e-6)).all()


def test_bits_are_as_alike_as_the_share_of_them_that_agrees() -> None:
    a, b = quantise(vectors(5), "ubinary"), quantise(vectors(7, seed=1), "ubinary")
    distance = np.unpackbits(a[:, None] ^ b[None], axis=2).sum(axis=2)
    np.testing.assert_allclose(similarity(a, b), 1 - distance / 24, atol=1e-6)
    assert similarity(a[0], b).shape == (1, 7)


def test_bits_of_every_packing_and_size_are_compared_alike() -> None:
    a, b = vectors(5, 21), vectors(7, 21, seed=1)
    agree = ((a[:, None] > 0) == (b[None] > 0)).mean(axis=2)
    packed = [quantise(x, "ubinary") for x in (a, b)]
    np.testing.assert_allclose(similarity(*packed, dimensions=21), agree, atol=1e-6)
    signed = [quantise(x, "binary") for x in (a, b)]
    np.testing.assert_allclose(similarity(*signed, precision="binary", dimensions=21), agree, atol=1e-6)
    with pytest.raises(UsageError, match=r"dimensions is 16: rows of 3 bytes have up to 24 bits"):
        similarity(*packed, dimensions=16)
    with pytest.raises(UsageError, match=r"found embeddings of uint8, and precision is 'binary': wanted 'ubinary'"):
        similarity(*packed, precision="binary")


@pytest.mark.parametrize("width", [24, 2000])
def test_int8_vectors_are_as_alike_as_their_exact_dot_product(width: int) -> None:
    a = np.random.default_rng(0).integers(-128, 128, size=(3, width)).astype(np.int8)
    np.testing.assert_array_equal(similarity(a, a), a.astype(np.int64) @ a.T.astype(np.int64))


def test_shortened_vectors_have_length_one_again_where_asked() -> None:
    found = vectors()
    np.testing.assert_array_equal(shortened(found, 8, normalise=False), found[:, :8])
    np.testing.assert_allclose(np.linalg.norm(shortened(found, 8, normalise=True), axis=1), 1.0, atol=1e-6)


def test_neighbours_give_every_row_once_and_never_itself() -> None:
    found = vectors(1100, 4)
    blocks = [cosines for cosines, _ in neighbours(found, found)]
    whole = np.concatenate(blocks)
    assert whole.shape == (1100, 1100)
    assert (np.diag(whole) == -2).all()


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (vectors(), vectors(width=3), r"found embeddings float32\(50, 24\) and float32\(50, 3\): wanted the same"),
        (vectors(), quantise(vectors(), "int8"), "wanted the same precision"),
        (np.zeros((1, 2), np.int64), np.zeros((1, 2), np.int64), "found embeddings of int64: wanted float32, int8"),
    ],
)
def test_embeddings_that_do_not_compare_are_refused(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        similarity(a, b)


def test_wrong_ranges_and_precisions_are_refused() -> None:
    with pytest.raises(UsageError, match=r"the int8 ranges have the shape \(2, 3\): wanted \(2, 24\)"):
        quantise(vectors(), "int8", np.zeros((2, 3), np.float32))
    with pytest.raises(UsageError, match="precision is 'int4': choose one of float32, int8, binary, ubinary"):
        quantise(vectors(), "int4")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no vectors to take int8 ranges from"):
        int8_ranges(np.zeros((0, 3), np.float32))


@pytest.mark.parametrize("documents", [4, 10, 37])
def test_ndcg_is_that_of_scikit_learn(documents: int) -> None:
    queries, pool = vectors(600, seed=2), vectors(documents, seed=3)
    right = np.random.default_rng(4).random((600, documents)) < 0.2
    right[:, 0] |= ~right.any(axis=1)
    figures = ranking(queries, pool, lambda rows: (right[rows], np.zeros_like(right[rows])))
    cosines = unit(queries) @ unit(pool).T
    assert figures["ndcg@10"] == pytest.approx(ndcg_score(right, cosines, k=10), abs=1e-6)
    assert figures["accuracy@1"] == pytest.approx(right[np.arange(600), cosines.argmax(axis=1)].mean())


def test_queries_without_a_right_document_do_not_count() -> None:
    right = np.array([[True, False], [False, False]])
    queries = np.array([[1, 0], [0, 1]], np.float32)
    none = np.zeros_like(right)
    assert ranking(queries, queries, lambda rows: (right[rows], none[rows])) == {"ndcg@10": 1.0, "accuracy@1": 1.0}
    assert ranking(queries, queries, lambda rows: (none[rows], none[rows])) == {"ndcg@10": 0.0, "accuracy@1": 0.0}
