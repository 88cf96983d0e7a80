"""The students by name, and their places in transformers' and Optimum's registers. Importing this loads neither."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from tlx.runtime.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["ARCHITECTURES", "build_student", "register"]

ARCHITECTURES = ("transformer", "convolution", "gru", "bag")


def register() -> None:
    """AutoConfig and AutoModelForSequenceClassification know the students, and so does Optimum's ONNX export if it is
    installed. Again is harmless."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from tlx.train.students.bag import BagConfig, BagForSequenceClassification
    from tlx.train.students.convolution import ConvolutionConfig, ConvolutionForSequenceClassification
    from tlx.train.students.gru import GruConfig, GruForSequenceClassification

    pairs = (
        (ConvolutionConfig, ConvolutionForSequenceClassification),
        (GruConfig, GruForSequenceClassification),
        (BagConfig, BagForSequenceClassification),
    )
    for config, model in pairs:
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModelForSequenceClassification.register(config, model, exist_ok=True)
    if importlib.util.find_spec("optimum") and importlib.util.find_spec("optimum.exporters.onnx"):
        from tlx.train.students.onnx import register_export

        register_export(tuple(config.model_type for config, _ in pairs))


def build_student(
    kind: str,
    *,
    vocab_size: int,
    num_labels: int,
    pad_token_id: int = 0,
    embedding_size: int | None = None,
    hidden_size: int | None = None,
    head_size: int | None = None,
    layers: int | None = None,
    dropout: float | None = None,
) -> PreTrainedModel:
    """A student of random weights, registered and ready to train. A size of None is the architecture's default.

    `hidden_size` is the convolution's channels, one direction of the GRU, or the transformer's width; a bag has none.
    `layers` is of the transformer only; `embedding_size` and `head_size` of the others. Raises UsageError for an
    unknown `kind` or a size that it does not have.
    """
    if kind not in ARCHITECTURES:
        raise UsageError(f"unknown student {kind!r}: choose one of {', '.join(ARCHITECTURES)}")
    wanted = {
        "embedding_size": embedding_size,
        "hidden_size": hidden_size,
        "head_size": head_size,
        "layers": layers,
        "dropout": dropout,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    has = _SIZES[kind]
    stray = sorted(given.keys() - has.keys())
    if stray:
        raise UsageError(f"a {kind} student has no {stray[0]}: it has {', '.join(has)}")
    sizes = {has[name]: value for name, value in given.items()}
    register()
    if kind == "transformer":
        return _transformer(vocab_size, num_labels, pad_token_id, sizes)
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.for_model(
        f"tlx-{kind}", vocab_size=vocab_size, num_labels=num_labels, pad_token_id=pad_token_id, **sizes
    )
    return AutoModelForSequenceClassification.from_config(config)


_SMALL = {"embedding_size": "embedding_size", "head_size": "head_size", "dropout": "dropout"}
_SIZES: dict[str, dict[str, str]] = {
    "transformer": {"hidden_size": "hidden_size", "layers": "num_hidden_layers", "dropout": "hidden_dropout_prob"},
    "convolution": {**_SMALL, "hidden_size": "channels"},
    "gru": {**_SMALL, "hidden_size": "hidden_size"},
    "bag": _SMALL,
}


def _transformer(vocab_size: int, num_labels: int, pad_token_id: int, sizes: dict[str, float]) -> PreTrainedModel:
    """A BERT with heads of 32 (64 from width 512)."""
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 256, "num_hidden_layers": 2, **sizes}
    width = int(sizes["hidden_size"])
    head = 64 if width >= 512 else 32
    if width % head:
        raise UsageError(f"hidden_size is {width}: wanted a multiple of {head}, the size of an attention head")
    config = BertConfig(
        vocab_size=vocab_size,
        num_labels=num_labels,
        pad_token_id=pad_token_id,
        num_attention_heads=width // head,
        intermediate_size=4 * width,
        **sizes,
    )
    return BertForSequenceClassification(config)
