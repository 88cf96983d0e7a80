"""Data of a few rows, under the names that the examples of each section use."""

from __future__ import annotations

import json

WANTS = {
    "card_cancel": ["cancel my card", "please cancel my card", "my card is lost, block it", "stop the card now"],
    "music_play": ["play some music", "play a song", "some jazz please", "louder music please"],
    "lights_off": ["turn off the lights", "the lamp is too bright", "lights out please", "make it dark"],
}
OPENINGS = ("", "hello, ", "please, ", "now ", "I say: ")
TEXTS = [(opening + text, label) for opening in OPENINGS for label, texts in WANTS.items() for text in texts]
STRANGE = ["why is the sky blue", "who wrote this book", "how old are whales", "what is a prime", "where is Bergen"]
ALIKE = [("A man is singing", "A man sings"), ("A dog runs", "The dog is running"), ("It rains", "Rain is falling")]
PAIRS = [(f"{first} in town {n}", f"{second} in town {n}") for n in range(8) for first, second in ALIKE]


def table(header: str, rows: list[tuple[object, ...]]) -> str:
    return "\n".join([header, *(",".join(f'"{cell}"' for cell in row) for row in rows)]) + "\n"


def json_lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def columns(sentences: list[str]) -> str:
    """CoNLL of sentences like "play some jazz/genre"."""
    words = [[word.partition("/")[::2] for word in sentence.split()] for sentence in sentences]
    lines = ["".join(f"{word}\t{'B-' + tag if tag else 'O'}\n" for word, tag in sentence) for sentence in words]
    return "\n".join(lines)


LABELLED = table("text,label", TEXTS)
SCORED = table("sentence1,sentence2,score", [(*pair, n % 5 + 0.5) for n, pair in enumerate(PAIRS)])
PLAIN = "".join(f"{text}, said voice {n}.\n" for n, (text, _) in enumerate(TEXTS))
PLAYS = [
    f"play some {genre}/genre in the {room}/room" for genre in ("jazz", "rock", "folk") for room in ("hall", "bath")
]
STOPS = [f"stop the music in the {room}/room" for room in ("hall", "bath", "kitchen", "garden")]
INTENTS = table(
    "text,label",
    [(" ".join(w.partition("/")[0] for w in s.split()), "PlayMusic" if s in PLAYS else "Stop") for s in PLAYS + STOPS],
)
SLOTS = columns(PLAYS + STOPS)
FLIGHTS = columns(
    [f"{who}/PER flew to {where}/LOC" for who in ("Anna", "Ben", "Cem") for where in ("Oslo", "Rome", "York")]
)
TOWNS = ("Bergen", "Oslo", "Rome", "York", "Paris", "Lima", "Cairo", "Delhi")
QUESTIONS: list[dict[str, object]] = [
    {
        "question": f"Where does it {weather}?",
        "context": f"It rains in {town}.",
        "answers": {"text": [town] * told, "answer_start": [12] * told},
    }
    for town in TOWNS
    for weather, told in (("rain", 1), ("snow", 0))
]
SQUAD = json.dumps(
    {
        "version": "v2.0",
        "data": [
            {
                "title": town,
                "paragraphs": [
                    {
                        "context": f"It rains in {town}.",
                        "qas": [
                            {
                                "id": town,
                                "question": "Where does it rain?",
                                "answers": [{"text": town, "answer_start": 12}],
                                "is_impossible": False,
                            },
                            {
                                "id": f"not {town}",
                                "question": "Where does it snow?",
                                "answers": [],
                                "is_impossible": True,
                            },
                        ],
                    }
                ],
            }
            for town in TOWNS
        ],
    }
)

EXAMPLE_FILES: dict[tuple[str, str], dict[str, str]] = {
    ("README.md", "Your own data"): {
        "data/train.csv": LABELLED,
        "data/val.csv": LABELLED,
        "data/test.csv": LABELLED,
        "data/lines.txt": PLAIN,
    },
    ("docs/recipes.md", "Recipes"): {"data/train.csv": LABELLED, "data/val.csv": LABELLED},
    ("docs/tasks.md", "feature-extraction"): {
        "pairs.csv": table("anchor,positive", PAIRS),
        "heldout.csv": table("anchor,positive", PAIRS),
        "clicks.jsonl": json_lines([{"query": first, "passage": second} for first, second in PAIRS]),
        "texts.txt": PLAIN,
    },
    ("docs/tasks.md", "fill-mask"): {"corpus.txt": PLAIN, "heldout.txt": PLAIN, "labelled.csv": LABELLED},
    ("docs/tasks.md", "intent-slots"): {
        f"{name}.{end}": content
        for name in ("train", "validation", "test")
        for end, content in (("csv", INTENTS), ("conll", SLOTS))
    },
    ("docs/tasks.md", "regression"): dict.fromkeys(("train.csv", "validation.csv", "test.csv"), SCORED),
    ("docs/tasks.md", "text-classification: pairs, several labels, texts out of scope"): {
        "train.csv": LABELLED,
        "validation.csv": LABELLED,
        "strange.csv": table("text", [(text,) for text in STRANGE]),
        "mixed.csv": table("text,label", [*TEXTS, *((text, "oos") for text in STRANGE)]),
    },
    ("docs/tasks.md", "question-answering"): {
        "squad.json": SQUAD,
        "dev.json": SQUAD,
        "questions.jsonl": json_lines(QUESTIONS),
    },
    ("docs/tasks.md", "token-classification"): dict.fromkeys(
        ("train.conll", "validation.conll", "test.conll"), FLIGHTS
    ),
}
