"""Makes tlx-mini-en again, in one command:  python models/tlx-mini-en/make.py TEACHER OUT

TEACHER is a folder with all-MiniLM-L6-v2. The texts come from the public data sets in TLX_DATA (default ../shared/data):
novels, an encyclopedia, subtitles-like short sentences and dialogues. No text of a data set that the card reports on is
among them. About an hour on two cores.

A teacher's answer to any text is worth learning, so two more texts are made of each: novels do not hold the words of apps, and a
third of the longer words is replaced by words of the teacher's vocabulary. Whole paragraphs and dialogues teach the
positions that sentences do not reach.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
HELD_OUT = 1500
COPIES = 2
REPLACED = 0.33
PLAIN = 0.5  # of the made texts have neither capitals nor punctuation, as people type to an app
SPANS = 0.15  # of them are a few words only
DOCUMENTS = 6000
DOCUMENT_WORDS = 150


def sentences(text: str) -> Iterator[str]:
    """Pieces of 3 to 60 words, cut at sentence ends."""
    for piece in re.split(r"(?<=[.!?])[\"”’]?\s+", text):
        if 3 <= len(piece.split()) <= 60:
            yield piece.strip()


def distinct(texts: Iterable[str]) -> list[str]:
    """Each text once, white space made even, in a fixed random order."""
    found = list(dict.fromkeys(" ".join(text.split()) for text in texts if text.strip()))
    random.Random(0).shuffle(found)
    return found


def paragraphs(data: Path) -> Iterator[str]:
    """The lines of the novels and of the encyclopedia."""
    for name in ("gutenberg_en/train.txt", "gutenberg_en/validation.txt", "wikitext2/validation.txt"):
        for line in (data / name).read_text(encoding="utf-8").splitlines():
            if not line.lstrip().startswith("= "):
                yield line.replace("<unk>", "").replace(" @-@ ", "-").replace(" @,@ ", ",")


def dialogues(data: Path) -> Iterator[list[str]]:
    for split in ("train", "validation"):
        for line in (data / f"sgd_dialogue/{split}.jsonl").read_text(encoding="utf-8").splitlines():
            yield json.loads(line)["turns"]


def short_texts(data: Path) -> Iterator[str]:
    for paragraph in paragraphs(data):
        yield from sentences(paragraph)
    for line in (data / "tatoeba_en_zh/train.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)["source"]
    for turns in dialogues(data):
        yield from turns
    for split in ("train", "validation"):
        for line in (data / f"e2e_nlg/{split}.jsonl").read_text(encoding="utf-8").splitlines():
            yield json.loads(line)["references"][0]


def documents(data: Path) -> Iterator[str]:
    """Paragraphs in a row, and dialogues, of about DOCUMENT_WORDS words."""
    for lines in (paragraphs(data), (turn for turns in dialogues(data) for turn in turns)):
        words: list[str] = []
        for line in lines:
            words += line.split()
            if len(words) >= DOCUMENT_WORDS:
                yield " ".join(words)
                words = []


def whole_words(teacher: Path) -> list[str]:
    """The words among the teacher's tokens, frequent ones first: such vocabularies are in the order of frequency."""
    vocab = json.loads((teacher / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return [token for token in sorted(vocab, key=vocab.__getitem__) if re.fullmatch("[a-z]{3,}", token)]


def mixed(text: str, words: list[str], chance: random.Random) -> str:
    """The text with some of its words replaced by others; frequent ones come more often, as the cube of a uniform number."""
    parts = text.split()
    if chance.random() < SPANS:
        start = chance.randrange(len(parts))
        parts = parts[start : start + chance.randint(2, 8)]
    for place, part in enumerate(parts):
        if len(part) > 3 and chance.random() < REPLACED:
            end = re.search(r"[^\w]*$", part)
            parts[place] = words[int(len(words) * chance.random() ** 3)] + (end.group() if end else "")
    made = " ".join(parts)
    return re.sub(r"[^\w\s']", "", made.lower()) if chance.random() < PLAIN else made


def corpus(data: Path, teacher: Path) -> tuple[list[str], list[str]]:
    """Texts to learn from, and those held out, of which nothing is made."""
    texts = distinct(short_texts(data))
    held, texts = texts[:HELD_OUT], texts[HELD_OUT:]
    words, chance = whole_words(teacher), random.Random(1)
    made = [mixed(text, words, chance) for _ in range(COPIES) for text in texts]
    return distinct([*texts, *made, *distinct(documents(data))[:DOCUMENTS]]), held


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    teacher, out = sys.argv[1:]
    learnt, held = corpus(Path(os.environ.get("TLX_DATA", "../shared/data")), Path(teacher))
    files = [Path(out).with_suffix(suffix) for suffix in (".corpus.txt", ".held-out.txt")]
    for file, texts in zip(files, (learnt, held), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    print(f"{len(learnt)} texts, {len(held)} held out", file=sys.stderr)
    command = ["train", str(files[0]), "--validation", str(files[1]), "--recipe", str(HERE / "recipe.toml")]
    program = Path(sys.executable).with_name("tlx")
    subprocess.run([str(program), *command, "--teacher", teacher, "--out", out], check=True)


if __name__ == "__main__":
    main()
