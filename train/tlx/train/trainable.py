"""What is trained: the rows of the embedding table that the data uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from tlx.train.batches import Encoded

__all__ = ["UsedRows"]


class UsedRows:
    """While it is in place, the model's embedding table holds only the rows in use, in the order of `used`.

    The other rows have no gradient, so that the result is the same but for the weight decay that they are spared; the
    optimizer has a fraction of the work. `restore` puts the whole table back, with the trained rows in it.
    """

    def __init__(self, model: PreTrainedModel, encoded: list[Encoded]) -> None:
        table = model.get_input_embeddings()
        self.pad_id = encoded[0].pad_id
        used = np.unique(
            np.concatenate([np.array([self.pad_id], dtype=np.int32), *[np.unique(e.ids) for e in encoded]])
        )
        self.used = torch.from_numpy(used.astype(np.int64))
        self.whole = table.weight.detach().clone()
        self.lookup: NDArray[np.int32] = np.zeros(self.whole.shape[0], dtype=np.int32)
        self.lookup[used] = np.arange(len(used), dtype=np.int32)
        self.padding_idx = table.padding_idx
        model.set_input_embeddings(self._table(self.whole[self.used], int(self.lookup[self.pad_id])))

    def narrowed(self, encoded: Encoded) -> Encoded:
        """The same texts in the ids of the small table."""
        return replace(encoded, ids=self.lookup[encoded.ids], pad_id=int(self.lookup[self.pad_id]))

    def restore(self, model: PreTrainedModel) -> None:
        """The model's table is whole again."""
        trained = model.get_input_embeddings().weight.detach()
        whole = self.whole.to(trained.device)
        whole[self.used.to(trained.device)] = trained
        model.set_input_embeddings(self._table(whole, self.pad_id))

    def _table(self, weight: torch.Tensor, padding_idx: int) -> nn.Embedding:
        rows, width = weight.shape
        padding = padding_idx if self.padding_idx is not None else None
        return nn.Embedding(rows, width, padding_idx=padding, _weight=weight.clone(), device=weight.device)
