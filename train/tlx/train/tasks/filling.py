"""fill-mask in training: a language model learns to guess masked tokens of plain text, from a base or from random weights.

Every step masks other tokens (Liu et al. 2019, arXiv:1907.11692): of those chosen, 8 in 10 become the mask, 1 another token, 1
stays (Devlin et al. 2018, arXiv:1810.04805). The choice follows from the seed and the step, so that a resumed run sees what
the stopped one would have. Only masked positions go through the model's head. Validation masks are those of evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tlx.runtime.errors import UsageError
from tlx.runtime.examples import Examples
from tlx.runtime.tasks.filling import FillMask
from tlx.runtime.tasks.masking import Masks, scored_lines, special_ids
from tlx.runtime.tasks.task import Encoded, Ints, unit_starts
from tlx.runtime.text_files import suffix_of
from tlx.train.batches import Batch, Ragged, TokenRows
from tlx.train.recipe import options_from
from tlx.train.tasks.task import TrainTask
from tlx.train.terms.labels import soft_cross_entropy
from tlx.train.vocabulary import id_count

__all__ = ["TRAIN_TASK", "FillingOptions", "TrainFilling"]

BLOCK_TOKENS = 128
"""Most of BERT's pretraining had rows of so many (Devlin et al. 2019, arXiv:1810.04805, appendix A.2)."""
CHOSEN = "masked"  # the key of a batch's inputs under which a step keeps what it masked, `(rows, tokens)` bool


@dataclass(frozen=True, kw_only=True)
class FillingOptions:
    """The recipe's section [task]."""

    block: bool | None = None
    """Join the texts and cut them into rows of 128 tokens, or of as many as the longest texts have, or train.max_tokens. Left out:
    for the lines of a .txt file. Otherwise each text is a row of its own (or several windows)."""
    mask_share: float = field(default=0.15, metadata={"low": 0.01, "high": 0.9})
    whole_word: bool = False
    """Mask all the tokens of a word or none."""


class TrainFilling(TrainTask):
    """Outputs are the logits of a step's masked tokens, `(masks, vocabulary)`; for validation three figures each."""

    half = FillMask
    transfers = False
    beside = True
    runtime: FillMask

    def __init__(self, examples: Examples, options: Mapping[str, Any]) -> None:
        super().__init__(examples, options)
        self.options = options_from(FillingOptions, options, self.name)
        told = self.options.block
        self.block = suffix_of(examples.source) == ".txt" if told is None else told
        if self.block:
            self.least_tokens = BLOCK_TOKENS
        self.runtime = FillMask(mask_token="[MASK]")

    @property
    def main_metric(self) -> str:
        """Training selects by the likelihood, which moves long before another token is named first."""
        return "log_likelihood"

    def adopt_tokenizer(self, tokenizer: PreTrainedTokenizerFast) -> None:
        if tokenizer.mask_token is None:
            raise UsageError(
                "the tokenizer has no mask token: start from a --base that was trained with masks (BERT, RoBERTa, …)"
            )
        clean = bool(tokenizer.clean_up_tokenization_spaces)
        self.settings |= {"mask_token": tokenizer.mask_token, "clean_up_spaces": clean}
        self.runtime = replace(self.runtime, mask_token=tokenizer.mask_token, clean_up_spaces=clean)
        self._mask_id = int(tokenizer.mask_token_id)
        special = special_ids(tokenizer.backend_tokenizer)
        self._never = np.ones(id_count(tokenizer), dtype=np.bool_)
        self._never[list(tokenizer.get_vocab().values())] = False
        self._never[special] = True
        self._drawn = np.flatnonzero(~self._never)
        self._continues = _continuations(tokenizer, len(self._never))
        encoding = tokenizer.backend_tokenizer.encode("a")
        ids, inside = encoding.ids, np.flatnonzero(~np.array(encoding.special_tokens_mask, dtype=np.bool_))
        begin, end = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, len(ids))
        self._around = np.array(ids[:begin], dtype=np.int64), np.array(ids[end:], dtype=np.int64)

    def arranged(self, encoded: Encoded, max_tokens: int) -> Encoded:
        """The texts as they were before evaluation's masks; joined, with the end token between texts, and cut where asked."""
        rows = [row.copy() for row in encoded.rows]
        for row, note in zip(rows, encoded.notes or (), strict=True):
            row[note.at] = np.where(note.gold >= 0, note.gold, row[note.at])
        if not self.block:
            return Encoded(rows)
        begin, end = self._around
        owners = np.arange(len(rows)) if encoded.owners is None else encoded.owners
        last = np.append(owners[1:] != owners[:-1], False)
        bodies: list[Ints] = []
        for row, ends in zip(rows, last.tolist(), strict=True):
            bodies.append(row[len(begin) : len(row) - len(end)])
            if ends:
                bodies.append(end[:1])
        body, room = np.concatenate(bodies), max_tokens - len(begin) - len(end)
        blocks = [body[start : start + room] for start in range(0, max(len(body), 1), room)]
        return Encoded([np.concatenate([begin, block, end]) for block in blocks])

    def acquaint(self, model: PreTrainedModel, fresh: Collection[str], train: TokenRows) -> None:
        """A fresh head begins with how frequent each token is, add-one smoothed, as its bias: it need not spend its first
        steps on that (Meister et al. 2022, arXiv:2212.09686)."""
        bias = getattr(model.get_output_embeddings(), "bias", None)
        names = {name for name, value in model.named_parameters(remove_duplicate=False) if value is bias}
        if bias is None or not names & set(fresh):
            return
        counts = np.bincount(train.ids, minlength=len(bias))[: len(bias)].astype(np.float64)
        counts[: len(self._never)][self._never] = 0.0
        frequent = np.log((counts + 1.0) / (counts.sum() + len(counts)))
        with torch.no_grad():
            bias.copy_(torch.from_numpy(frequent))

    def gold(self, examples: Examples, encoded: Encoded) -> Ragged | None:
        """None: the gold is what a step masks."""
        return None

    def held_gold(self, encoded: Encoded) -> Ragged | None:
        notes: list[Masks] = encoded.notes or []
        gold = [note.gold for note in notes if note.gold is not None]
        units = np.array([len(part) for part in gold], dtype=np.int64)
        return Ragged(torch.from_numpy(np.concatenate(gold)), unit_starts(units, len(gold)))

    def corrupted(self, batch: Batch, rng: np.random.Generator) -> Batch:
        ids = batch.inputs["input_ids"].numpy()
        free = batch.inputs["attention_mask"].numpy().astype(np.bool_) & ~self._never[ids]
        chosen = self._chosen(ids, free, rng)
        fate, other = rng.random(ids.shape), self._drawn[rng.integers(len(self._drawn), size=ids.shape)]
        masked = np.where(chosen & (fate < 0.8), self._mask_id, np.where(chosen & (fate >= 0.9), other, ids))
        inputs = {**batch.inputs, "input_ids": torch.from_numpy(masked), CHOSEN: torch.from_numpy(chosen)}
        teacher = None if batch.teacher is None else inputs
        return replace(batch, inputs=inputs, gold=torch.from_numpy(ids[chosen]), teacher=teacher)

    def _chosen(self, ids: Ints, free: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
        """`mask_share` of the free tokens, or of the words; never none where any is free."""
        share = self.options.mask_share
        if self.options.whole_word:
            begins = ~free | ~self._continues[ids]
            begins[:, 0] = True
            words = np.cumsum(begins.reshape(-1)).reshape(ids.shape) - 1
            drawn = (rng.random(int(words.max(initial=-1)) + 1) < share)[words]
        else:
            drawn = rng.random(ids.shape) < share
        chosen: NDArray[np.bool_] = drawn & free
        if not chosen.any() and free.any():
            places = np.argwhere(free)
            chosen[tuple(places[rng.integers(len(places))])] = True
        return chosen

    def outputs(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], **asked: bool
    ) -> tuple[torch.Tensor, Any]:
        given = {name: value for name, value in inputs.items() if name != CHOSEN}
        chosen = inputs.get(CHOSEN)
        if chosen is None:
            chosen = given["input_ids"] == self._mask_id
        with _head_reads(model, chosen):
            result = model(**given, **asked)
        logits = result.logits if result.logits.ndim == 2 else result.logits[chosen]
        return logits.float(), result

    def kept(self, outputs: torch.Tensor, gold: torch.Tensor | None) -> torch.Tensor:
        if gold is None:
            return outputs
        return torch.from_numpy(scored_lines(outputs.cpu().numpy(), gold.numpy()))

    def loss(self, outputs: torch.Tensor, batch: Batch, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy over the masked tokens."""
        if batch.gold is None or not len(batch.gold):
            return outputs.sum() * 0.0
        return F.cross_entropy(outputs, batch.gold, label_smoothing=label_smoothing)

    def soft_loss(
        self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """T²·KL(teacher ‖ student) over the masked tokens, of which the teacher saw the same."""
        if not len(outputs):
            return outputs.sum() * 0.0
        return soft_cross_entropy(outputs, teacher_outputs, temperature)


@contextmanager
def _head_reads(model: nn.Module, chosen: torch.Tensor) -> Iterator[None]:
    """Within, what stands behind the encoder gets the hidden states of the chosen tokens only, `(masks, hidden)`.

    The first module beside the encoder that is called with states of all tokens picks them; a family whose head is not such a
    module computes all its logits.
    """
    inner: Any = getattr(model, "module", model)
    encoder = getattr(inner, inner.base_model_prefix, None)

    def pick(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        states = given[0] if given else None
        if isinstance(states, torch.Tensor) and states.ndim == 3 and states.shape[:2] == chosen.shape:
            return (states[chosen], *given[1:])
        return None

    hooks = [child.register_forward_pre_hook(pick) for child in inner.children() if child is not encoder]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _continuations(tokenizer: PreTrainedTokenizerFast, size: int) -> NDArray[np.bool_]:
    """Which tokens go on with a word: ## in WordPiece; elsewhere those that no space (▁, Ġ) begins."""
    kind = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"]
    found = np.zeros(size, dtype=np.bool_)
    for token, index in tokenizer.get_vocab().items():
        if index < size:
            found[index] = token.startswith("##") if kind == "WordPiece" else not token.startswith(("▁", "Ġ"))
    return found


TRAIN_TASK = TrainFilling
