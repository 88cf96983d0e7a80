"""What a careful person writes around an ONNX model with tokenizers, onnxruntime and numpy alone, a class for each task.

One session, inputs in the order given, 32 at a time, padded to the longest, answers as transformers.pipeline gives them by
default. The other side of `runtime_overhead.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from tokenizers import Tokenizer

__all__ = ["Classifier", "by_hand"]

BATCH = 32
STRIDE = 128
MAX_ANSWER = 15
TOP = 5


class ByHand:
    """`one` answers a text (or tuple of texts), `many` a list of them. Tasks say how logits become answers."""

    truncation: dict[str, Any] = {}

    def __init__(self, folder: str, variant: str, threads: int) -> None:
        with open(f"{folder}/tlx.json", encoding="utf-8") as stream:
            self.manifest = json.load(stream)
        with open(f"{folder}/config.json", encoding="utf-8") as stream:
            pad_id = json.load(stream).get("pad_token_id") or 0
        self.labels: list[str] = self.manifest["labels"]
        self.settings: dict[str, Any] = self.manifest.get("settings", {})
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self.tokenizer.enable_truncation(self.manifest["max_tokens"], **self.truncation)
        self.tokenizer.enable_padding(pad_id=pad_id)
        self.open(f"{folder}/{self.manifest['variants'][variant]['path']}", threads)

    def open(self, path: str, threads: int) -> None:
        """`run` computes the model in the file, whose inputs are `names`."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = {item.name for item in session.get_inputs()}
        self.run: Callable[[dict[str, Any]], list[Any]] = lambda feeds: session.run(None, feeds)

    def one(self, item: Any) -> Any:
        encoding = self.tokenizer.encode(*item) if isinstance(item, tuple) else self.tokenizer.encode(item)
        return self.answers([encoding], [item])[0]

    def many(self, items: list[Any]) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            answers += list(self.answers(self.tokenizer.encode_batch(batch), batch))
        return answers

    def outputs(self, encodings: list[Any]) -> list[Any]:
        """The model's outputs for padded encodings."""
        feeds = {"input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64)}
        if "attention_mask" in self.names:
            feeds["attention_mask"] = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        if "token_type_ids" in self.names:
            feeds["token_type_ids"] = np.array([encoding.type_ids for encoding in encodings], dtype=np.int64)
        return self.run(feeds)

    def answers(self, encodings: list[Any], items: list[Any]) -> Any:
        raise NotImplementedError


def softmax(logits: Any) -> Any:
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


class Classifier(ByHand):
    """The best label."""

    squash = staticmethod(softmax)

    def one(self, item: Any) -> Any:
        return [super().one(item)]

    def answers(self, encodings: list[Any], items: list[Any]) -> Any:
        scores = self.squash(self.outputs(encodings)[0])
        best = scores.argmax(axis=-1)
        return [{"label": self.labels[k], "score": float(row[k])} for row, k in zip(scores, best, strict=True)]


class MultiLabel(Classifier):
    squash = staticmethod(lambda logits: 1 / (1 + np.exp(-logits)))


class Regressor(Classifier):
    def answers(self, encodings: list[Any], items: list[Any]) -> Any:
        return [{"score": float(value)} for value in self.outputs(encodings)[0][:, 0]]


class Tagger(ByHand):
    """Neighbouring tokens of one type are an entity (the pipeline's "simple")."""

    first = 0

    def answers(self, encodings: list[Any], items: list[Any]) -> Any:
        return [
            self.entities(logits, encoding, text)
            for logits, encoding, text in zip(self.outputs(encodings)[0], encodings, items, strict=True)
        ]

    def entities(self, logits: Any, encoding: Any, text: str) -> list[dict[str, Any]]:
        content = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
        scores = softmax(logits[content, self.first :])
        offsets, ids = encoding.offsets, encoding.ids
        groups: list[tuple[str, list[int]]] = []
        last = None
        for place, tag in enumerate(scores.argmax(axis=-1)):
            name = self.labels[self.first + tag]
            kind = name[2:] if name[:2] in ("B-", "I-") else name
            if groups and kind == last and not name.startswith("B-"):
                groups[-1][1].append(place)
            else:
                groups.append((kind, [place]))
            last = kind
        found = []
        for kind, places in groups:
            if kind == "O":
                continue
            at = content[places]
            found.append(
                {
                    "entity_group": kind,
                    "score": float(scores[places].max(axis=-1).mean()),
                    "word": self.tokenizer.decode([ids[i] for i in at]),
                    "start": offsets[at[0]][0],
                    "end": offsets[at[-1]][1],
                }
            )
        return found


class TokenNames(Tagger):
    """Every token with its tag, where tags have no prefixes (the pipeline's "none")."""

    def entities(self, logits: Any, encoding: Any, text: str) -> list[dict[str, Any]]:
        content = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
        scores = softmax(logits[content])
        best = scores.argmax(axis=-1)
        return [
            {
                "entity": self.labels[tag],
                "score": float(row[tag]),
                "index": int(i),
                "word": encoding.tokens[i],
                "start": encoding.offsets[i][0],
                "end": encoding.offsets[i][1],
            }
            for row, tag, i in zip(scores, best, content, strict=True)
            if self.labels[tag] != "O"
        ]


class IntentAndSlots(Tagger):
    def __init__(self, folder: str, variant: str, threads: int) -> None:
        super().__init__(folder, variant, threads)
        self.first = sum(label.startswith("intent:") for label in self.labels)

    def answers(self, encodings: list[Any], items: list[Any]) -> Any:
        found = []
        for logits, encoding, text in zip(self.outputs(encodings)[0], encodings, items, strict=True):
            scores = softmax(logits[0, : self.first])
            best = int(scores.argmax())
            intent = {"label": self.labels[best].removeprefix("intent:"), "score": float(scores[best])}
            found.append({"intent": intent, "slots": self.entities(logits, encoding, text)})
        return found


class Answerer(ByHand):
    """The best span of a question's windows."""

    truncation = {"stride": STRIDE, "strategy": "only_second"}

    def answers(self, encodings: list[Any], items: list[Any]) -> Any:
        windows = [part for encoding in encodings for part in (encoding, *encoding.overflowing)]
        owners = [i for i, encoding in enumerate(encodings) for _ in range(1 + len(encoding.overflowing))]
        best: list[dict[str, Any]] = [{"score": -1.0} for _ in items]
        outputs = []
        for start in range(0, len(windows), BATCH):
            outputs.append([np.array(part) for part in self.outputs(windows[start : start + BATCH])[:2]])
        row = 0
        for begins, ends in outputs:
            for first, last in zip(begins, ends, strict=True):
                self.look(first, last, windows[row], items[owners[row]][1], best[owners[row]])
                row += 1
        return best

    def look(self, first: Any, last: Any, window: Any, context: str, best: dict[str, Any]) -> None:
        inside = np.array([part == 1 for part in window.sequence_ids])
        inside[0] = True
        first, last = (softmax(np.where(inside, logits, -np.inf)) for logits in (first, last))
        inside[0] = False
        scores = np.triu(np.outer(first * inside, last * inside))
        scores = np.tril(scores, MAX_ANSWER - 1)
        place = int(scores.argmax())
        start, end = divmod(place, len(last))
        if scores[start, end] > best["score"]:
            a, b = window.offsets[start][0], window.offsets[end][1]
            words = window.word_ids
            while start > 0 and words[start - 1] == words[start] and window.sequence_ids[start - 1] == 1:
                start -= 1
                a = window.offsets[start][0]
            while end + 1 < len(words) and words[end + 1] == words[end] and window.sequence_ids[end + 1] == 1:
                end += 1
                b = window.offsets[end][1]
            best.update(score=float(scores.max()), start=a, end=b, answer=context[a:b])


class Embedder(ByHand):
    """The mean of the token states, of length one."""

    def answers(self, encodings: list[Any], items: list[Any]) -> Any:
        states = self.outputs(encodings)[0]
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.float32)[:, :, None]
        vectors = (states * mask).sum(axis=1) / mask.sum(axis=1)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Filler(ByHand):
    """The five likeliest tokens for the one mask of a text."""

    def answers(self, encodings: list[Any], items: list[Any]) -> Any:
        mask = self.tokenizer.token_to_id(self.settings["mask_token"])
        logits, found = self.outputs(encodings)[0], []
        for row, encoding in zip(logits, encodings, strict=True):
            at = encoding.ids.index(mask)
            scores = softmax(row[at])
            near = np.argpartition(scores, len(scores) - TOP)[-TOP:]
            fills = []
            for token in near[np.argsort(-scores[near])].tolist():
                ids = [*encoding.ids[:at], token, *encoding.ids[at + 1 :]]
                fills.append(
                    {
                        "score": float(scores[token]),
                        "token": token,
                        "token_str": self.tokenizer.decode([token], skip_special_tokens=False),
                        "sequence": self.tokenizer.decode(ids),
                    }
                )
            found.append(fills)
        return found


TASKS = {
    "text-classification": Classifier,
    "regression": Regressor,
    "token-classification": Tagger,
    "intent-slots": IntentAndSlots,
    "question-answering": Answerer,
    "feature-extraction": Embedder,
    "fill-mask": Filler,
}


def by_hand(folder: str, variant: str, threads: int) -> ByHand:
    """The class for the folder's task, opened."""
    with open(f"{folder}/tlx.json", encoding="utf-8") as stream:
        manifest = json.load(stream)
    kind = TASKS[manifest["task"]]
    if kind is Tagger and not any(label.startswith(("B-", "I-")) for label in manifest["labels"]):
        kind = TokenNames
    if kind is Classifier and manifest.get("settings", {}).get("multi_label"):
        kind = MultiLabel
    return kind(folder, variant, threads)
