"""feature-extraction: texts → embeddings, without torch. The vectors are those of sentence-transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from tlx.runtime.errors import FolderError, UsageError
from tlx.runtime.metrics import pearson, spearman
from tlx.runtime.ranking import ranking
from tlx.runtime.sentence_files import POOLINGS, Pooling, read_limit, read_sentence_files
from tlx.runtime.tasks.limits import is_count
from tlx.runtime.tasks.task import Encoded, Floats, Input, Ints, Outputs, Task
from tlx.runtime.vectors import PRECISIONS, Precision, int8_ranges, neighbours, quantise, shortened, similarity, unit

if TYPE_CHECKING:
    from tlx.runtime.examples import Examples
    from tlx.runtime.folder import Manifest
    from tlx.runtime.tables import Source
    from tlx.runtime.tokens import Tokens

__all__ = ["TASK", "FeatureExtraction", "pool", "similarity"]

AS_NEAR = 1e-4
"""Another neighbour is no other answer when its cosine is within this of the nearest's."""
MAIN = ("spearman", "ndcg@10")


@dataclass(frozen=True, kw_only=True)
class FeatureExtraction(Task):
    """A text gives a vector `(d,)` float32, a list a matrix `(n, d)`, an iterator a generator of vectors.

    `values` are the pooled token states as they are. Options of the call: `normalise` (length one; the folder's own
    setting when None), `dimensions` (only the first so many, of length one again when normalised), `precision`: "float32",
    "int8" by the manifest's ranges or by `ranges` `(2, d)` (`tlx.runtime.vectors.int8_ranges` of typical vectors), or
    "ubinary", packed bits ("binary": the same as int8). `similarity` compares what comes of it; tell it where it is "binary".
    `normalize_embeddings` and `truncate_dim` do what sentence-transformers' encode does with them: vectors of length one are
    cut, and are then shorter unless the former is True.

    Examples may be tuples of texts that belong together (a pair, a triplet): one row a text, all of one owner.
    """

    pooling: Pooling = "mean"
    normalise: bool = True
    dimensions: int | None = None
    int8_ranges: Mapping[int, Floats] = field(default_factory=dict, compare=False)
    """By the number of dimensions, `(2, dimensions)`."""
    labels: tuple[str, ...] = ()

    name = "feature-extraction"
    architecture = ""
    heads = ("last_hidden_state",)
    unread_weights = ("pooler.",)
    many_answers = "embedding"
    neutral: ClassVar[Mapping[str, tuple[Any, ...] | None]] = {
        **Task.neutral,
        **dict.fromkeys(("prompt", "prompt_name", "device", "pool", "chunk_size"), (None,)),
        "show_progress_bar": None,
        "convert_to_numpy": (True,),
        "convert_to_tensor": (False, None),
        "output_value": ("sentence_embedding",),
    }
    instead: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("prompt", "prompt_name"), "put the prompt before each text"),
        **dict.fromkeys(("convert_to_numpy", "convert_to_tensor"), "vectors are numpy's: torch.from_numpy takes them"),
        **dict.fromkeys(("return_tensors", "tokenize_kwargs"), "an answer is one vector a text, of numpy"),
        "output_value": "an answer is one vector a text",
        "device": "say it to load",
        "pool": "load the folder in each process",
        "chunk_size": "a generator of texts gives a generator of vectors",
    }

    similarity = staticmethod(similarity)

    @property
    def main_metric(self) -> str:
        return MAIN[0]

    def main_of(self, metrics: Mapping[str, float]) -> str:
        return next((name for name in MAIN if name in metrics), self.main_metric)

    @property
    def usage(self) -> tuple[str, ...]:
        return (
            'vector = model("a text")                        # float32, (d,)',
            'matrix = model(["one text", "another"])         # float32, (2, d)',
            "model.task.similarity(vector, matrix)           # cosines, (1, 2)",
        )

    @classmethod
    def made(cls, architectures: Sequence[str], config: Mapping[str, Any]) -> bool:
        return any(name.endswith("Model") for name in architectures)

    @classmethod
    def settings_of(cls, config: Mapping[str, Any], path: Path) -> dict[str, Any]:
        return read_sentence_files(path)

    @classmethod
    def limit_of(cls, path: Path) -> int | None:
        return read_limit(path)

    @classmethod
    def recognises(cls, suffix: str, columns: Mapping[str, Any]) -> bool:
        """The columns anchor and positive, or query and positive."""
        there = {name.lower() for name in columns}
        return "positive" in there and not there.isdisjoint({"anchor", "query"})

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> FeatureExtraction:
        settings = manifest.settings
        pooling, dimensions = settings.get("pooling", "mean"), settings.get("dimensions")
        if pooling not in POOLINGS or not (dimensions is None or (type(dimensions) is int and dimensions > 0)):
            raise FolderError(
                f"the manifest has pooling {pooling!r} and dimensions {dimensions!r}: wanted one of "
                f"{', '.join(POOLINGS)}, and a whole number from 1 or none"
            )
        return cls(
            pooling=pooling,
            normalise=bool(settings.get("normalise", True)),
            dimensions=dimensions,
            int8_ranges={int(d): _ranges(d, text) for d, text in settings.get("int8_ranges", {}).items()},
        )

    @classmethod
    def read(cls, source: Source, columns: Mapping[str, str], *, split: str = "train") -> Examples:
        """Scored pairs, triplets, pairs, labelled or plain texts: see `embedding_examples`."""
        from tlx.runtime.tasks.embedding_examples import read

        return read(source, columns, split)

    def take(self, item: Any) -> Input:
        if isinstance(item, tuple) and item and all(isinstance(text, str) for text in item):
            return item
        return super().take(item)

    def encode(self, tokens: Tokens, inputs: Sequence[Input], *, parallel: bool = True) -> Encoded:
        if all(isinstance(item, str) for item in inputs):
            return super().encode(tokens, inputs, parallel=parallel)
        parts = [(item,) if isinstance(item, str) else item for item in inputs]
        counts = sorted({0 if isinstance(item, str) else len(item) for item in inputs})
        if len(counts) > 1:
            found = " and ".join(f"tuples of {count}" if count else "single texts" for count in counts[:2])
            raise UsageError(f"found {found}: wanted texts, or tuples of as many texts each")
        rows, truncated = tokens.encode_many([text for item in parts for text in item], parallel=parallel)
        owners = np.repeat(np.arange(len(parts)), [len(item) for item in parts])
        return Encoded(rows, owners=owners, truncated=truncated)

    def collect(
        self, raw: Sequence[Floats], encoded: Encoded, rows: Ints, mask: NDArray[np.bool_] | NDArray[np.int64] | None
    ) -> Floats:
        return pool(raw[0], mask, self.pooling)

    def answers(
        self,
        outputs: Outputs,
        *,
        normalise: bool | None = None,
        dimensions: int | None = None,
        precision: Precision = "float32",
        ranges: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Any:
        """A matrix `(n, d)`; of tuples of texts `(n, texts, d)`. Raises UsageError for a wrong option."""
        if normalise is not None and not isinstance(normalise, bool):
            raise UsageError(f"normalise is {normalise!r}: wanted True, False, or None for the model's own setting")
        size = _size(dimensions, truncate_dim)
        if precision not in PRECISIONS:
            raise UsageError(f"precision is {precision!r}: choose one of {', '.join(PRECISIONS)}")
        normalise = True if normalize_embeddings else normalise
        # sentence-transformers cuts vectors of length one, and leaves them shorter unless it is asked.
        left = truncate_dim is not None and self.normalise and normalise is None
        own = normalise in (None, self.normalise) and not left
        if precision == "int8" and ranges is None and not (own and self.int8_ranges):
            raise UsageError(
                "the manifest has no int8 ranges for such vectors: pass ranges (tlx.runtime.vectors.int8_ranges of some "
                "hundred of them), or export again with --data"
            )
        if not len(outputs.inputs) and outputs.values.shape[1] < 2:  # nobody knows how wide
            return np.zeros((0, 0), dtype=np.float32)
        values, normalise = (unit(outputs.values), False) if left else (outputs.values, normalise)
        vectors = self.vectors(values, normalise=normalise, dimensions=size)
        if precision != "float32":
            vectors = quantise(vectors, precision, self._int8_ranges(vectors.shape[1], ranges, precision))
        if outputs.encoded.owners is None:
            return vectors
        return vectors.reshape(len(outputs.inputs), -1, vectors.shape[1])

    def vectors(self, values: Floats, *, normalise: bool | None = None, dimensions: int | None = None) -> Floats:
        """The answers' vectors, `(n, d)`, of the pooled states. Raises UsageError when there are not so many dimensions."""
        dimensions = dimensions or self.dimensions
        if dimensions is not None and dimensions > values.shape[1]:
            raise UsageError(
                f"{dimensions} dimensions were asked for: the model's vectors have {values.shape[1]}; choose at most that"
            )
        return shortened(values, dimensions, normalise=self.normalise if normalise is None else normalise)

    def joined(self, parts: Sequence[Any]) -> Any:
        """One matrix."""
        return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)

    def metrics(self, outputs: Outputs, examples: Examples) -> dict[str, float]:
        """Scored pairs: spearman and pearson of the cosine. Pairs and triplets: how each first text ranks all others.
        Labelled texts: how each ranks the others, those of its label being right. Plain texts: nothing."""
        from tlx.runtime.tasks.embedding_examples import relevance_of_labels, retrieval

        inputs, gold, vectors = examples.inputs, examples.gold, self.vectors(outputs.values)
        if not inputs or (isinstance(inputs[0], str) and gold is None):
            return {}
        if isinstance(inputs[0], str):
            return ranking(vectors, vectors, relevance_of_labels(gold or ()))
        parts = vectors.reshape(len(inputs), -1, vectors.shape[1])
        if gold is None:
            return ranking(*retrieval(cast("Sequence[tuple[str, ...]]", inputs), parts))
        cosines = np.einsum("nd,nd->n", unit(parts[:, 0]), unit(parts[:, 1]))
        scores = np.array(gold, dtype=np.float64)
        return {"spearman": spearman(cosines, scores), "pearson": pearson(cosines, scores)}

    def flips(self, outputs: Outputs, reference: Outputs) -> float:
        """The share of texts whose nearest neighbour among all the texts is another one."""
        found, wanted = self.vectors(outputs.values), self.vectors(reference.values)
        moved = 0
        for cosines, right in neighbours(found, wanted):
            nearest = cosines.argmax(axis=1)[:, None]
            moved += int(np.sum(np.take_along_axis(right, nearest, axis=1)[:, 0] < right.max(axis=1) - AS_NEAR))
        return moved / max(len(found), 1)

    def calibrated(self, outputs: Outputs, dimensions: Sequence[int] = ()) -> dict[str, Any]:
        """int8 ranges of the vectors, and of those of fewer `dimensions`."""
        wanted = {outputs.values.shape[1], *(d for d in (self.dimensions, *self.int8_ranges, *dimensions) if d)}
        return {
            "int8_ranges": {
                str(d): _text(int8_ranges(self.vectors(outputs.values, dimensions=d))) for d in sorted(wanted)
            }
        }

    def inputs_of(self, source: Source, columns: Mapping[str, str]) -> list[Input]:
        """Every text of a file, those of a pair or a triplet one after another."""
        from tlx.runtime.columns import pick_pair
        from tlx.runtime.tables import read_table
        from tlx.runtime.tasks.embedding_examples import read

        table = read_table(source, split="test")
        alone = columns.get("text") is not None and columns.get("text_pair") is None
        if alone or pick_pair(table, columns) is None:
            return super().inputs_of(table, columns)
        return list(self.asked(read(table, columns, "test").inputs))

    def asked(self, inputs: Sequence[Input]) -> Sequence[Input]:
        """Each text alone."""
        return [text for item in inputs for text in ((item,) if isinstance(item, str) else item)]

    def record(self, item: Input, answer: Any) -> dict[str, Any]:
        return super().record(item, answer.tolist())

    def show(self, answer: Any) -> str:
        shown = " ".join(f"{value:.4f}" if answer.dtype.kind == "f" else str(value) for value in answer[:6])
        return f"{shown} … ({len(answer)} {answer.dtype})"

    def _int8_ranges(self, dimensions: int, ranges: Any, precision: Precision) -> Floats | None:
        if precision != "int8":
            return None
        if ranges is not None:
            return np.asarray(ranges, dtype=np.float32)
        if dimensions not in self.int8_ranges:
            there = ", ".join(map(str, sorted(self.int8_ranges)))
            raise UsageError(f"the manifest has int8 ranges for {there} dimensions, not for {dimensions}: pass ranges")
        return self.int8_ranges[dimensions]


def pool(states: Floats, mask: NDArray[np.bool_] | NDArray[np.int64] | None, pooling: Pooling) -> Floats:
    """One vector `(rows, hidden)` of each row's token states `(rows, tokens, hidden)`; `mask` is 0 where padded."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "lasttoken":
        last: Any = -1 if mask is None else mask.astype(np.int64).sum(axis=1) - 1
        final: Floats = states[np.arange(len(states)), last]
        return final
    if pooling == "max":
        seen = states if mask is None else np.where(mask.astype(np.bool_)[:, :, None], states, -np.inf)
        highest: Floats = seen.max(axis=1).astype(np.float32, copy=False)
        return highest
    if mask is None:
        mean: Floats = states.mean(axis=1)
        return mean
    weight = mask.astype(np.float32)
    weight /= weight.sum(axis=1, keepdims=True)
    found: Floats = np.matmul(weight[:, None, :], states)[:, 0]
    return found


def _size(dimensions: Any, truncate_dim: Any) -> int | None:
    """How many dimensions a call asks for. Raises UsageError when that is no number."""
    if dimensions is not None and truncate_dim is not None:
        raise UsageError("both dimensions and truncate_dim were given: give one of them")
    name, size = ("truncate_dim", truncate_dim) if dimensions is None else ("dimensions", dimensions)
    if size is not None and not is_count(size):
        raise UsageError(f"{name} is {size!r}: wanted a whole number from 1, or None")
    return None if size is None else int(size)


def _text(ranges: Floats) -> str:
    """Little-endian float32 in base64: one line of the manifest instead of a thousand."""
    from base64 import b64encode

    return b64encode(ranges.astype("<f4").tobytes()).decode()


def _ranges(dimensions: str, text: str) -> Floats:
    from base64 import b64decode

    content = b64decode(text)
    if len(content) != 8 * int(dimensions):
        raise FolderError(
            f"the manifest's int8 ranges for {dimensions} dimensions have {len(content)} bytes, wanted "
            f"{8 * int(dimensions)}: export the folder again"
        )
    return np.frombuffer(content, dtype="<f4").astype(np.float32).reshape(2, -1)


TASK: type[FeatureExtraction] = FeatureExtraction
