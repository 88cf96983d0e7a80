"""Losses over vectors: sentence-transformers' own losses are the oracle, on the same embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tlx.train.tasks.embedding import _pooled
from tlx.train.terms.contrast import cosent, cosine_error, cosines, label_contrast, ranking_contrast
from tlx.train.terms.labels import IGNORED


def parts(groups: int, texts: int, seed: int = 0, width: int = 16) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.randn(groups, texts, width)


def numbered(groups: int, texts: int) -> torch.Tensor:
    return torch.arange(groups * texts).view(groups, texts)


class Given(torch.nn.Module):
    """Stands where sentence-transformers wants a model: its embeddings are the features themselves."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": features["given"]}

    def get_embedding_dimension(self) -> int:
        return 16


def features(found: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    return [{"given": found[:, place]} for place in range(found.shape[1])]


def losses() -> Any:
    from sentence_transformers.sentence_transformer import losses as found

    return found


@pytest.mark.parametrize("texts", [2, 3])
def test_ranking_is_multiple_negatives_ranking(texts: int) -> None:
    found = parts(9, texts)
    expected = losses().MultipleNegativesRankingLoss(Given(), scale=20.0)(features(found), None)
    loss = ranking_contrast(F.normalize(found, dim=-1), numbered(9, texts), 20.0)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_cosent_is_that_of_sentence_transformers() -> None:
    found, scores = parts(20, 2), torch.arange(20).remainder(5).float()
    expected = losses().CoSENTLoss(Given(), scale=20.0)(features(found), scores)
    own = cosines(F.normalize(found, dim=-1))
    assert float(cosent(own, scores, 20.0)) == pytest.approx(float(expected), rel=1e-4)
    assert float(cosent(own, torch.ones(20), 20.0)) == 0.0


def test_cosent_is_the_sum_over_pairs_written_out() -> None:
    torch.manual_seed(0)
    outputs, gold = torch.randn(6), torch.tensor([1.0, 2.0, 2.0, 0.0, 5.0, 1.0])
    total = sum(
        float(torch.exp(3.0 * (outputs[j] - outputs[i])))
        for i in range(6)
        for j in range(6)
        if float(gold[i]) > float(gold[j])
    )
    assert float(cosent(outputs, gold, 3.0)) == pytest.approx(float(np.log1p(total)), rel=1e-5)
    assert float(cosent(outputs, torch.ones(6), 3.0)) == 0.0


def test_the_cosine_error_is_that_of_sentence_transformers() -> None:
    found, scores = parts(20, 2), torch.linspace(0, 1, 20)
    expected = losses().CosineSimilarityLoss(Given())(features(found), scores)
    assert float(cosine_error(F.normalize(found, dim=-1), scores)) == pytest.approx(float(expected), rel=1e-5)


def test_a_text_that_belongs_to_the_anchor_is_no_negative() -> None:
    found = F.normalize(parts(4, 2), dim=-1)
    plain = ranking_contrast(found[:3], numbered(3, 2), 20.0)
    # The fourth pair has the third one's anchor and another positive: neither is the other's negative.
    twice = torch.cat([found[:3], torch.stack([found[2, 0], found[3, 1]])[None]])
    texts = torch.tensor([[0, 1], [2, 3], [4, 5], [4, 7]])
    by_hand = []
    for row, allowed in enumerate([(0, 1, 2, 3), (0, 1, 2, 3), (0, 1, 2), (0, 1, 3)]):
        cosines = 20.0 * twice[row, 0] @ twice[list(allowed), 1].T
        by_hand.append(F.cross_entropy(cosines, torch.tensor(allowed.index(row))))
    assert float(ranking_contrast(twice, texts, 20.0)) == pytest.approx(float(torch.stack(by_hand).mean()), rel=1e-5)
    # The same pair again adds nothing to the others' loss but its own line.
    again = torch.cat([found[:3], found[2:3]])
    lines = ranking_contrast(again, torch.tensor([[0, 1], [2, 3], [4, 5], [4, 5]]), 20.0)
    assert torch.isfinite(lines)
    assert torch.isfinite(plain)


def test_a_pair_of_one_text_twice_and_a_lone_pair_have_a_loss() -> None:
    found = F.normalize(parts(2, 2), dim=-1)
    assert torch.isfinite(ranking_contrast(found, torch.tensor([[0, 0], [1, 2]]), 20.0))
    assert float(ranking_contrast(found[:1], numbered(1, 2), 20.0)) == 0.0


def test_label_contrast_is_its_equation_and_leaves_out_what_has_no_label() -> None:
    vectors = F.normalize(parts(7, 1)[:, 0], dim=-1)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, IGNORED])
    wanted = []
    for i in range(5):
        others = [j for j in range(6) if j != i]
        bottom = torch.logsumexp(20.0 * vectors[others] @ vectors[i], dim=0)
        mates = [j for j in others if labels[j] == labels[i]]
        wanted.append(torch.stack([bottom - 20.0 * vectors[i] @ vectors[p] for p in mates]).mean())
    assert float(label_contrast(vectors, labels, 20.0)) == pytest.approx(float(torch.stack(wanted).mean()), rel=1e-5)
    vectors.requires_grad_()
    alone = label_contrast(vectors, torch.tensor([0, 1, 2, 3, 4, 5, 6]), 20.0)
    alone.backward()
    assert float(alone.detach()) == 0.0


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_torch_pools_as_the_runtime_does(pooling: Any) -> None:
    from tlx.runtime.tasks.embedding import pool

    torch.manual_seed(0)
    states, mask = torch.randn(4, 6, 8), (torch.arange(6) < torch.tensor([[6], [1], [3], [5]])).long()
    torch.testing.assert_close(_pooled(states, mask, pooling).numpy(), pool(states.numpy(), mask.numpy(), pooling))
