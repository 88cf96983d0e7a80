"""Makes tlx-mini-en again, in one command:  python models/tlx-mini-en/make.py TEACHER OUT

TEACHER is a folder with all-MiniLM-L6-v2. The texts come from the public data sets in TLX_DATA (default ../shared/data):
novels, an encyclopedia, subtitles-like short sentences and dialogues. No text of a data set that the card reports on is
among them. About an hour on two cores.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


def sentences(text: str) -> Iterator[str]:
    """Pieces of 3 to 60 words, cut at sentence ends."""
    for piece in re.split(r"(?<=[.!?])[\"”’]?\s+", text):
        if 3 <= len(piece.split()) <= 60:
            yield piece.strip()


def corpus(data: Path) -> list[str]:
    """Distinct texts in a fixed random order."""
    texts: list[str] = []
    for name in ("gutenberg_en/train.txt", "gutenberg_en/validation.txt", "wikitext2/validation.txt"):
        for line in (data / name).read_text(encoding="utf-8").splitlines():
            if not line.lstrip().startswith("= "):
                texts += sentences(line.replace("<unk>", "").replace(" @-@ ", "-").replace(" @,@ ", ","))
    for line in (data / "tatoeba_en_zh/train.jsonl").read_text(encoding="utf-8").splitlines():
        texts.append(json.loads(line)["source"])
    for split in ("train", "validation"):
        for line in (data / f"sgd_dialogue/{split}.jsonl").read_text(encoding="utf-8").splitlines():
            texts += json.loads(line)["turns"]
        for line in (data / f"e2e_nlg/{split}.jsonl").read_text(encoding="utf-8").splitlines():
            texts += json.loads(line)["references"][:1]
    distinct = list(dict.fromkeys(" ".join(text.split()) for text in texts if text.strip()))
    random.Random(0).shuffle(distinct)
    return distinct


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    teacher, out = sys.argv[1:]
    texts = corpus(Path(os.environ.get("TLX_DATA", "../shared/data")))
    path = Path(out).with_suffix(".corpus.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    print(f"{len(texts)} texts", file=sys.stderr)
    command = ["tlx", "train", str(path), "--recipe", str(HERE / "recipe.toml"), "--teacher", teacher, "--out", out]
    program = Path(sys.executable).with_name("tlx")
    subprocess.run([str(program), *command[1:]], check=True)


if __name__ == "__main__":
    main()
