"""What fill-mask does with each family's vocabulary tables and head: prune, extend, and read masked positions only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.families.models import FAMILIES, language_model

TEXT = "please cancel {} card and 明天 天气"


def inputs_of(model: Any, tokenizer: Any) -> dict[str, torch.Tensor]:
    names = ["input_ids", "attention_mask"]
    given = tokenizer(TEXT.format(tokenizer.mask_token), return_tensors="pt")
    return {name: given[name] for name in names}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_reads_masked_positions_only_and_gives_the_same(family: str) -> None:
    from tlx.runtime.examples import Examples
    from tlx.train.tasks.filling import TrainFilling

    model, tokenizer = language_model(family)
    task = TrainFilling(Examples(source="a.jsonl", inputs=[("a",)]), {})
    task.adopt_tokenizer(tokenizer)
    given = inputs_of(model, tokenizer)
    chosen = torch.zeros_like(given["input_ids"], dtype=torch.bool)
    chosen[0, [1, 3, 4]] = True
    with torch.inference_mode():
        found, result = task.outputs(model, {**given, "masked": chosen})
        expected = model(**given).logits[chosen]
    assert result.logits.ndim == 2, "the head computed logits for all tokens"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_smaller_vocabulary_gives_the_same_logits_for_what_it_keeps(family: str) -> None:
    from tlx.train.building import _keep_rows
    from tlx.train.vocabulary import count_tokens, prune_tokenizer

    (whole, tokenizer), (pruned, _) = language_model(family), language_model(family)
    kept = len(tokenizer) - 20
    small, rows = prune_tokenizer(tokenizer, count_tokens(tokenizer, [TEXT.format("my")]), kept)
    _keep_rows(pruned, rows, small)
    with torch.inference_mode():
        expected = whole(**inputs_of(whole, tokenizer)).logits[..., torch.from_numpy(rows)]
        found = pruned(**inputs_of(pruned, small)).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_larger_vocabulary_leaves_the_old_logits_and_survives_saving(family: str, tmp_path: Any) -> None:
    from transformers import AutoModelForMaskedLM

    from tlx.train.building import _write_rows

    (whole, tokenizer), (extended, _) = language_model(family), language_model(family)
    _write_rows(extended, len(tokenizer), 7)
    tied = extended.get_output_embeddings().weight.data_ptr() == extended.get_input_embeddings().weight.data_ptr()
    assert tied == (whole.get_output_embeddings().weight.data_ptr() == whole.get_input_embeddings().weight.data_ptr())
    extended.save_pretrained(tmp_path)
    again, info = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    with torch.inference_mode():
        given = inputs_of(whole, tokenizer)
        expected, found, loaded = (model.eval()(**given).logits.numpy() for model in (whole, extended, again))
    assert found.shape[-1] == len(tokenizer) + 7
    assert np.allclose(found[..., : len(tokenizer)], expected, atol=1e-5)
    assert np.allclose(loaded, found, atol=1e-5)
