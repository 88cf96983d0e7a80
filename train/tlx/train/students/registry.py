"""The students by name, and their places in transformers' and Optimum's registers. Importing this loads neither."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from tlx.runtime.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["build_student", "register"]


def register() -> None:
    """AutoConfig and transformers' classes for the heads know the students, and so does Optimum's ONNX export if it is
    installed. Again is harmless.

    What is saved from then on has its architecture's code beside it (`auto_map` in config.json), for those who load it
    with `trust_remote_code=True` and no tlx.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

    from tlx.train.students import bag, convolution, gru

    texts: dict[Any, Any] = {
        convolution.ConvolutionConfig: convolution.ConvolutionForSequenceClassification,
        gru.GruConfig: gru.GruForSequenceClassification,
        bag.BagConfig: bag.BagForSequenceClassification,
    }
    tokens: dict[Any, Any] = {
        convolution.ConvolutionConfig: convolution.ConvolutionForTokenClassification,
        gru.GruConfig: gru.GruForTokenClassification,
    }
    for config in texts:
        AutoConfig.register(config.model_type, config, exist_ok=True)
        config.register_for_auto_class()
    for head, models in ((AutoModelForSequenceClassification, texts), (AutoModelForTokenClassification, tokens)):
        for config, model in models.items():
            head.register(config, model, exist_ok=True)
            model.register_for_auto_class(head.__name__)
    if importlib.util.find_spec("optimum") and importlib.util.find_spec("optimum.exporters.onnx"):
        from tlx.train.students.onnx import register_export

        register_export("text-classification", tuple(config.model_type for config in texts))
        register_export("token-classification", tuple(config.model_type for config in tokens))


def build_student(
    kind: str,
    *,
    vocab_size: int,
    num_labels: int,
    pad_token_id: int = 0,
    embedding_size: int | None = None,
    hidden_size: int | None = None,
    head_size: int | None = None,
    head: str = "SequenceClassification",
) -> PreTrainedModel:
    """A small student of random weights, registered and ready to train. A size of None is the architecture's default.

    `head` is the end of transformers' class names: SequenceClassification or TokenClassification.

    `hidden_size` is the convolution's channels, or one direction of the GRU; a bag has none. Raises UsageError for an
    unknown `kind` or a size that it does not have.
    """
    if kind not in _SIZES:
        raise UsageError(f"unknown student {kind!r}: choose one of {', '.join(_SIZES)}")
    wanted = {"embedding_size": embedding_size, "hidden_size": hidden_size, "head_size": head_size}
    given = {name: value for name, value in wanted.items() if value is not None}
    has = _SIZES[kind]
    stray = sorted(given.keys() - has.keys())
    if stray:
        raise UsageError(f"a {kind} student has no {stray[0]}: it has {', '.join(has)}")
    sizes = {has[name]: value for name, value in given.items()}
    register()
    if kind == "bag" and head == "TokenClassification":
        raise UsageError("a bag knows no order of words, so it cannot tag them: choose convolution or gru")
    import transformers
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        f"tlx-{kind}", vocab_size=vocab_size, num_labels=num_labels, pad_token_id=pad_token_id, **sizes
    )
    return getattr(transformers, f"AutoModelFor{head}").from_config(config)


_SMALL = {"embedding_size": "embedding_size", "head_size": "head_size"}
_SIZES: dict[str, dict[str, str]] = {
    "convolution": {**_SMALL, "hidden_size": "channels"},
    "gru": {**_SMALL, "hidden_size": "hidden_size"},
    "bag": _SMALL,
}
