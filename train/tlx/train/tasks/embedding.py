"""feature-extraction in training: an encoder learns which texts belong together, how alike they are, or a teacher's vectors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tlx.runtime.errors import DataError, UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.folder import MANIFEST, open_folder
from tlx.runtime.metrics import pearson
from tlx.runtime.sentence_files import Pooling, read_sentence_files, write_sentence_files
from tlx.runtime.tasks.embedding import FeatureExtraction
from tlx.runtime.tasks.task import Encoded, Input, Outputs
from tlx.runtime.vectors import unit
from tlx.train.batches import Batch, Ragged, Rows
from tlx.train.recipe import options_from
from tlx.train.tasks.task import TrainTask
from tlx.train.terms.contrast import cosent, cosine_error, cosines, label_contrast, ranking_contrast
from tlx.train.terms.labels import IGNORED

__all__ = ["TRAIN_TASK", "EmbeddingOptions", "TrainEmbedding"]

Kind = Literal["scores", "triplets", "pairs", "labels", "texts"]
GROUPS: dict[Kind, int] = {"scores": 2, "triplets": 3, "pairs": 2, "labels": 1, "texts": 1}
COMPARED = 1000  # validation texts whose similarities are compared with a teacher's


@dataclass(frozen=True, kw_only=True)
class EmbeddingOptions:
    """The recipe's section [task]."""

    pooling: Literal["mean", "cls", "max", "lasttoken"] | None = None
    """Left out: the base's own, else mean."""
    normalise: bool = True
    """Whether the folder's vectors have length one. Training compares by cosine in either case."""
    loss: Literal["cosent", "cosine"] = "cosent"
    """For scored pairs: by their order (CoSENT), or the squared error of the cosine."""
    scale: float = field(default=20.0, metadata={"low": 1.0, "high": 1000.0})
    """Cosines times this are logits: the inverse of a temperature."""
    matryoshka: tuple[int, ...] = ()
    """The vectors' first so many dimensions are trained to serve alone too (Kusupati et al. 2022, arXiv:2205.13147)."""


class TrainEmbedding(TrainTask):
    """Outputs are pooled token states as they are, `(rows, hidden)`; each text of a pair or triplet is a row.

    The data's columns say what is learnt: scored pairs (CoSENT), pairs and triplets (each first text finds its own second
    among all others of the batch), labelled texts (those of a label find each other), plain texts (a teacher's vectors).
    Gold is one value a row: the pair's score, the number of the distinct text, or that of the label.
    """

    half = FeatureExtraction
    transfers = False
    runtime: FeatureExtraction

    def __init__(self, examples: Examples, options: Mapping[str, Any]) -> None:
        super().__init__(examples, options)
        self.options = options_from(EmbeddingOptions, options, self.name)
        self.kind = _kind(examples)
        self.judged = self.kind
        self.group = GROUPS[self.kind]
        self.learns_alone = self.kind != "texts"
        self._bounds = _bounds(examples) if self.kind == "scores" else (0.0, 1.0)
        self._poolings: dict[torch.nn.Module, Pooling] = {}
        self._teacher_width: int | None = None
        self._same_width = True
        self._pool_by(self.options.pooling or "mean")

    def _pool_by(self, pooling: Pooling) -> None:
        self.runtime = FeatureExtraction(pooling=pooling, normalise=self.options.normalise)
        self.settings = {"pooling": pooling, "normalise": self.options.normalise}

    @property
    def main_metric(self) -> str:
        if self.judged == "texts":
            return "teacher_cosine" if self._same_width else "teacher_similarity"
        return "spearman" if self.judged == "scores" else "ndcg@10"

    @property
    def rate_share(self) -> float:
        """Scores only put in order what a base of vectors already knows; labels pull it apart (benchmarks/LOG.md)."""
        return 0.25 if self.kind == "scores" else 1.0

    @property
    def rows_a_step(self) -> int:
        """Contrast needs many others in the batch."""
        return {"scores": 64, "triplets": 192, "pairs": 128, "labels": 128, "texts": 32}[self.kind]

    def check_examples(self, examples: Examples) -> None:
        """Validation may be of another kind than training, but must have something to choose by."""
        self.judged = _kind(examples)
        if self.judged == "texts" and self.learns_alone:
            raise DataError(
                f"{examples.source} holds texts alone: give labels, scores or pairs to validate on, as in the training data"
            )

    def start_from(self, source: str) -> None:
        if self.options.pooling is None:
            self._pool_by(_pooling_of(source))

    def check_teacher(self, model: PreTrainedModel, source: str) -> None:
        self._teacher_width = (self._teacher_width or 0) + int(model.config.hidden_size)
        self._poolings[model] = _pooling_of(source)

    def begin(self, model: PreTrainedModel, fresh: Collection[str]) -> None:
        pooler = getattr(model, "pooler", None)
        if isinstance(pooler, torch.nn.Module):
            pooler.requires_grad_(False)  # nothing reads it, and processes would wait for its gradient
        width = int(model.config.hidden_size)
        self._same_width = self._teacher_width in (None, width)
        wrong = [size for size in self.options.matryoshka if not 0 < size <= width]
        if wrong:
            raise UsageError(f"task.matryoshka names {wrong[0]}: the model's vectors have {width} dimensions")

    def write_extras(self, folder: Path, model: PreTrainedModel, max_tokens: int) -> None:
        write_sentence_files(folder, int(model.config.hidden_size), max_tokens, self.settings)

    def split_group(self, item: Input) -> str | None:
        """Pairs and triplets of one first text stay together: else validation would ask for what was learnt."""
        return None if isinstance(item, str) else item[0]

    def strata(self, gold: Any) -> Sequence[str]:
        return (gold,) if isinstance(gold, str) else ()

    def gold(self, examples: Examples, encoded: Encoded) -> Ragged | None:
        if self.kind == "texts":
            return None
        if self.kind == "scores":
            scores = torch.tensor(list(examples.gold or ()), dtype=torch.float32)
            return Ragged(scores.repeat_interleave(self.group))
        values = examples.gold if self.kind == "labels" else examples.texts
        numbers: dict[Any, int] = {}
        return Ragged(torch.tensor([numbers.setdefault(v, len(numbers)) for v in values or ()], dtype=torch.int64))

    def unlabelled_gold(self, encoded: Encoded) -> Ragged | None:
        if self.group > 1:
            raise UsageError("unlabelled texts go with plain or labelled texts, not with pairs: leave --unlabelled out")
        return Ragged(torch.full((len(encoded.rows),), IGNORED, dtype=torch.int64))

    def drawn(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Labelled texts go by twos of one label, others in every epoch, so that each has its like in the batch."""
        if self.kind != "labels" or rows.gold is None:
            return rows
        labels = rows.gold.values.numpy()
        order = rng.permutation(len(labels))
        order = order[np.argsort(labels[order], kind="stable")]
        _, counts = np.unique(labels, return_counts=True)
        odd = np.cumsum(counts)[counts % 2 == 1]
        return replace(rows, group=2, order=np.insert(order, odd, order[odd - 1]))

    def outputs(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], **asked: bool
    ) -> tuple[torch.Tensor, Any]:
        result = model(**inputs, **asked)
        pooling = self._poolings.get(model, self.runtime.pooling)
        return _pooled(result.last_hidden_state.float(), inputs["attention_mask"], pooling), result

    def loss(self, outputs: torch.Tensor, batch: Batch, label_smoothing: float) -> torch.Tensor:
        """The sum over the Matryoshka sizes."""
        if batch.gold is None:
            return outputs.sum() * 0.0
        sizes = sorted({*self.options.matryoshka, outputs.shape[1]})
        losses = [self._loss(F.normalize(outputs[:, :size], dim=-1), batch.gold) for size in sizes]
        return torch.stack(losses).sum()

    def _loss(self, vectors: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
        if self.kind == "labels":
            return label_contrast(vectors, gold, self.options.scale)
        parts, gold = vectors.view(-1, self.group, vectors.shape[1]), gold.view(-1, self.group)
        if self.kind != "scores":
            return ranking_contrast(parts, gold, self.options.scale)
        if self.options.loss == "cosent":
            return cosent(cosines(parts), gold[:, 0], self.options.scale)
        low, high = self._bounds
        return cosine_error(parts, (gold[:, 0] - low) / (high - low))

    def of_teachers(self, values: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Vectors of length one side by side: their cosines are the means of the teachers' own, whose spaces need not be one."""
        return values[0] if len(values) == 1 else np.concatenate([unit(part) for part in values], axis=1)

    def soft_loss(
        self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """1 − cosine to the teacher, plus the mean squared difference of the batch's similarity matrices, times 10.

        Without the first where the widths differ, and for the smaller Matryoshka sizes.
        """
        teacher = F.normalize(teacher_outputs, dim=-1)
        wanted = teacher @ teacher.T
        total = outputs.new_zeros(())
        for size in sorted({*self.options.matryoshka, outputs.shape[1]}):
            own = F.normalize(outputs[:, :size], dim=-1)
            total = total + F.mse_loss(own @ own.T, wanted)
            if own.shape == teacher.shape:
                total = total + 1.0 - (own * teacher).sum(-1).mean()
        return 10.0 * total

    def metrics(
        self, outputs: Outputs, examples: Examples, teacher_values: NDArray[np.float32] | None
    ) -> dict[str, float]:
        figures = self.runtime.metrics(outputs, examples)
        if teacher_values is None:
            return figures
        own, teacher = unit(outputs.values), unit(teacher_values)
        if own.shape == teacher.shape:
            return {**figures, "teacher_cosine": float((own * teacher).sum(-1).mean())}
        above = np.triu_indices(min(len(own), COMPARED), k=1)
        cosines = [(part[:COMPARED] @ part[:COMPARED].T)[above] for part in (own, teacher)]
        return {**figures, "teacher_similarity": pearson(*cosines)}

    def tune(self, outputs: Outputs, examples: Examples) -> None:
        """The ranges of int8 vectors, for each of the Matryoshka sizes."""
        self.settings |= self.runtime.calibrated(outputs, self.options.matryoshka)


def _kind(examples: Examples) -> Kind:
    first = examples.inputs[0] if len(examples) else ""
    if isinstance(first, str):
        return "texts" if examples.gold is None else "labels"
    if examples.gold is not None:
        return "scores"
    return "triplets" if len(first) > 2 else "pairs"


def _bounds(examples: Examples) -> tuple[float, float]:
    """What cosines 0 and 1 stand for: the scores' least and greatest where they leave the cosine's own range."""
    low, high = min(examples.gold or (0.0,)), max(examples.gold or (1.0,))
    if low == high:
        raise DataError(f"{examples.source}: every score is {low:g} ({len(examples)} rows): wanted two different ones")
    return (0.0, 1.0) if low >= -1.0 and high <= 1.0 else (low, high)


def _pooling_of(source: str) -> Pooling:
    """The pooling of a base or teacher: its manifest's, else what its files for sentence-transformers say; mean for others."""
    path = Path(source)
    if (path / MANIFEST).is_file():
        manifest = open_folder(path).manifest
        if manifest.task == FeatureExtraction.name:
            return FeatureExtraction.from_manifest(manifest).pooling
    pooling: Pooling = read_sentence_files(path)["pooling"]
    return pooling


def _pooled(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """The torch twin of `tlx.runtime.tasks.embedding.pool`."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "lasttoken":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    if pooling == "max":
        return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)
    weight = mask.unsqueeze(-1).float()
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1.0)


TRAIN_TASK = TrainEmbedding
