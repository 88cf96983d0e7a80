"""A fresh head begins as the linear probe of the base's features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.train.conftest import recipe
from transformers import AutoModel

import tlx.train.train as module
from tlx.train.console import Console
from tlx.train.probe import STRENGTH
from tlx.train.train import train

QUIET = Console(quiet=True)


@torch.no_grad()
def read_by_the_head(run: Any) -> np.ndarray[Any, Any]:
    """What the classifier reads of the training rows."""
    caught: list[torch.Tensor] = []
    hook = run.model.classifier.register_forward_pre_hook(lambda layer, inputs: caught.append(inputs[0]))
    run.model.eval()(**run.train.student.padded(np.arange(len(run.train))))
    hook.remove()
    return caught[0].numpy()


@pytest.mark.parametrize("probes", [True, False])
def test_the_head_is_the_logistic_regression_of_the_features(
    probes: bool, data: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def begin(run: Any, *rest: Any, **more: Any) -> Any:
        features, state = read_by_the_head(run), run.model.state_dict()
        found.append((features, run.train.gold.values.numpy(), {name: v.clone() for name, v in state.items()}))
        return old(run, *rest, **more)

    old = module.fit
    monkeypatch.setattr(module, "fit", begin)
    settings = {"epochs": 1, "precision": "fp32", "probe": probes, "label_smoothing": 0.0}
    train(recipe(data, base, train=settings), tmp_path / "m", console=QUIET)
    ((features, gold, state),) = found
    for name, value in AutoModel.from_pretrained(base).state_dict().items():
        if "embeddings.word" not in name:  # of which only the rows in use are there
            assert torch.equal(state[f"bert.{name}"], value)
    scaled = features / max(np.sqrt(np.square(features).sum(1).mean()), 1.0)
    expected = LogisticRegression(C=STRENGTH, max_iter=5000, tol=1e-8).fit(scaled, gold)
    own = features @ state["classifier.weight"].numpy().T + state["classifier.bias"].numpy()
    wanted = scaled @ expected.coef_.T + expected.intercept_
    same = np.allclose(own - own.mean(1, keepdims=True), wanted - wanted.mean(1, keepdims=True), atol=0.02)
    assert same == probes
