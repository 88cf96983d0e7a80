"""The peers' own way to train each task, in short: transformers' example scripts (text-classification/run_classification,
token-classification/run_ner, question-answering/run_qa, language-modeling/run_mlm) with their default optimizer, rate
(5e-5, linear to zero) and 8 rows a device step, and the usual sentence-transformers training (rate 2e-5 with a tenth of warm-up, 16 rows).

Each function fine-tunes `base` on the examples and leaves a folder that transformers can load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlx.runtime.examples import Examples

__all__ = ["PEERS"]

ROWS_A_STEP = 8
RATE = 5e-5


def classify(base: str, examples: Examples, out: Path, epochs: float, max_tokens: int) -> None:
    """Single- and multi-label classification and regression, of texts or pairs."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

    gold = list(examples.gold or ())
    labels = list(examples.labels)
    several = bool(examples.settings.get("multi_label"))
    if not labels:
        kind, wanted = "regression", [float(score) for score in gold]
        names: Mapping[str, Any] = {"num_labels": 1}
    else:
        index = {label: i for i, label in enumerate(labels)}
        kind = "multi_label_classification" if several else "single_label_classification"
        names = {"num_labels": len(labels), "id2label": dict(enumerate(labels)), "label2id": index}
        if several:
            wanted = [[float(label in item) for label in labels] for item in gold]  # type: ignore[misc]
        else:
            wanted = [index[label] for label in gold]
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = tokenizer(*_parts(examples), truncation=True, max_length=max_tokens)
    rows = [{**{k: encoded[k][i] for k in encoded}, "labels": wanted[i]} for i in range(len(gold))]
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base, problem_type=kind, **names)
    _fit(model, tokenizer, rows, DataCollatorWithPadding(tokenizer), out, epochs)


def tag(base: str, examples: Examples, out: Path, epochs: float, max_tokens: int) -> None:
    """Token classification: the first token of a word has its tag, the others none."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification

    tokenizer = AutoTokenizer.from_pretrained(base)
    index = {label: i for i, label in enumerate(examples.labels)}
    rows = []
    for text, spans in zip(examples.inputs, examples.gold or (), strict=True):
        words = [text[start:end] for start, end, _ in spans]  # type: ignore[index]
        encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_tokens)
        owners = encoded.word_ids()
        first = [
            -100 if word is None or (i and owners[i - 1] == word) else index[spans[word][2]]
            for i, word in enumerate(owners)
        ]
        rows.append({**{k: encoded[k] for k in encoded}, "labels": first})
    names = {"num_labels": len(index), "id2label": dict(enumerate(examples.labels)), "label2id": index}
    model = AutoModelForTokenClassification.from_pretrained(base, **names)
    _fit(model, tokenizer, rows, DataCollatorForTokenClassification(tokenizer), out, epochs)


def answer(base: str, examples: Examples, out: Path, epochs: float, max_tokens: int) -> None:
    """Extractive question answering over windows with a stride of 128."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer, DataCollatorWithPadding

    tokenizer = AutoTokenizer.from_pretrained(base)
    questions, contexts = _parts(examples)
    encoded = tokenizer(
        questions,
        contexts,
        truncation="only_second",
        max_length=max_tokens,
        stride=min(128, max_tokens // 4),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    rows = []
    for i, owner in enumerate(encoded["overflow_to_sample_mapping"]):
        gold = (examples.gold or ())[owner]
        start = end = 0
        if gold:
            inside = [k for k, part in enumerate(encoded.sequence_ids(i)) if part == 1]
            offsets = encoded["offset_mapping"][i]
            covers = [k for k in inside if offsets[k][0] < gold[0][1] and offsets[k][1] > gold[0][0]]
            whole = offsets[inside[0]][0] <= gold[0][0] and offsets[inside[-1]][1] >= gold[0][1] if inside else False
            if covers and whole:
                start, end = covers[0], covers[-1]
        kept = {k: encoded[k][i] for k in ("input_ids", "attention_mask", "token_type_ids") if k in encoded}
        rows.append({**kept, "start_positions": start, "end_positions": end})
    model = AutoModelForQuestionAnswering.from_pretrained(base)
    _fit(model, tokenizer, rows, DataCollatorWithPadding(tokenizer), out, epochs)


def fill(base: str, lines: Sequence[str], out: Path, epochs: float, max_tokens: int) -> None:
    """Masked language modelling over blocks of `max_tokens`, 15 % of the tokens masked anew each time."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer, DataCollatorForLanguageModeling

    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = [i for row in tokenizer(list(lines), add_special_tokens=True)["input_ids"] for i in row]
    blocks = [ids[i : i + max_tokens] for i in range(0, len(ids) - max_tokens + 1, max_tokens)]
    rows = [{"input_ids": block, "attention_mask": [1] * len(block)} for block in blocks]
    model = AutoModelForMaskedLM.from_pretrained(base)
    _fit(model, tokenizer, rows, DataCollatorForLanguageModeling(tokenizer), out, epochs)


def embed(base: str, examples: Examples, out: Path, epochs: float, max_tokens: int) -> None:
    """A sentence-transformers bi-encoder: CoSENT over scored pairs."""
    import datasets
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, models
    from sentence_transformers.losses import CoSENTLoss
    from sentence_transformers.training_args import SentenceTransformerTrainingArguments

    word = models.Transformer(base, max_seq_length=max_tokens)
    model = SentenceTransformer(
        modules=[word, models.Pooling(word.get_word_embedding_dimension(), "mean")], device="cpu"
    )
    first, second = _parts(examples)
    scores = [float(score) for score in examples.gold or ()]
    top, low = max(scores), min(scores)
    rows = {"sentence1": first, "sentence2": second, "score": [(score - low) / (top - low) for score in scores]}
    settings = SentenceTransformerTrainingArguments(
        output_dir=str(out / "run"),
        num_train_epochs=epochs,
        per_device_train_batch_size=16,
        learning_rate=2e-5,
        warmup_ratio=0.1,
        **QUIET,
    )
    SentenceTransformerTrainer(
        model=model, args=settings, train_dataset=datasets.Dataset.from_dict(rows), loss=CoSENTLoss(model)
    ).train()
    model.save(str(out))


QUIET: dict[str, Any] = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True, "seed": 0}


def _parts(examples: Examples) -> list[list[str]]:
    """One list of texts, or two for pairs."""
    if isinstance(examples.inputs[0], str):
        return [[str(item) for item in examples.inputs]]
    return [list(part) for part in zip(*examples.inputs, strict=True)]


def _fit(model: Any, tokenizer: Any, rows: list[dict[str, Any]], collate: Any, out: Path, epochs: float) -> None:
    from transformers import Trainer, TrainingArguments

    settings = TrainingArguments(
        output_dir=str(out / "run"),
        per_device_train_batch_size=ROWS_A_STEP,
        num_train_epochs=epochs,
        learning_rate=RATE,
        **QUIET,
    )
    Trainer(model, settings, train_dataset=rows, data_collator=collate).train()  # type: ignore[arg-type]
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


PEERS: dict[str, Callable[..., None]] = {
    "text-classification": classify,
    "regression": classify,
    "token-classification": tag,
    "question-answering": answer,
    "feature-extraction": embed,
    "fill-mask": fill,
}
