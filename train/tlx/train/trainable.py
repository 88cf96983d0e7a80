"""What is trained: the rows of the embedding table that the data uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from tlx.train.batches import TokenRows

__all__ = ["UsedRows"]


SPECIAL_LIMIT = 1000
"""Special tokens keep their ids, which models compare with their config; where they lie higher, nothing is narrowed."""


class UsedRows:
    """While it is in place, the tables that are indexed by token ids hold only the rows in use, in the order of `used`.

    The other rows have no gradient, so that the result is the same but for the weight decay that they are spared; the
    optimizer has a fraction of the work. `restore` puts the whole tables back, with the trained rows in them.
    """

    def __init__(self, model: PreTrainedModel, encoded: list[TokenRows], special_ids: Sequence[int]) -> None:
        tables = [model.get_input_embeddings()]
        tables += [
            m for name, m in model.named_modules() if name.endswith("token_weights") and isinstance(m, nn.Embedding)
        ]
        low = np.arange(max([encoded[0].pad_id, *special_ids]) + 1, dtype=np.int32)
        narrows = len(low) <= SPECIAL_LIMIT and model.get_output_embeddings() is None
        used = np.unique(np.concatenate([low, *[np.unique(part.ids) for part in encoded]]))
        self.used = torch.from_numpy(used.astype(np.int64))
        self.lookup: NDArray[np.int32] = np.zeros(tables[0].num_embeddings, dtype=np.int32)
        self.lookup[used] = np.arange(len(used), dtype=np.int32)
        self._whole = [(table, table.weight.detach().clone()) for table in tables] if narrows else []
        for table, whole in self._whole:
            _put(table, whole[self.used])

    def narrowed(self, encoded: TokenRows) -> TokenRows:
        """The same texts in the ids of the small tables."""
        return replace(encoded, ids=self.lookup[encoded.ids]) if self._whole else encoded

    def restore(self) -> None:
        """The tables are whole again."""
        for table, before in self._whole:
            whole = before.to(table.weight.device)
            whole[self.used.to(whole.device)] = table.weight.detach()
            _put(table, whole)


def _put(table: nn.Embedding, weight: torch.Tensor) -> None:
    table.weight = nn.Parameter(weight, requires_grad=table.weight.requires_grad)
    table.num_embeddings = len(weight)
