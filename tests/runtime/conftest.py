"""Models that several files of tests share."""

from __future__ import annotations

import pytest
from tests.runtime.tagging_oracle import KINDS, Tagger, tiny_tagger


@pytest.fixture(scope="session")
def taggers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tagger]:
    return {kind: tiny_tagger(kind, tmp_path_factory.mktemp(kind) / "model") for kind in KINDS}
