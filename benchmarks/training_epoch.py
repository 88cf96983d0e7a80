"""Training: tlx's loop against the transformers Trainer with dynamic padding, same base, rows, rows a step and peak rate.

The Trainer has its defaults otherwise (float32 on the CPU, no evaluation, nothing saved); tlx has its own (batches of like
length, bf16 where the CPU has it). `--bf16` adds the Trainer with bf16. Measures rows/s of the training alone (tokenization,
loading and evaluation are outside the clock; tlx's checkpoints are inside, and with several epochs its evaluations between
them too) and the accuracy of the weights on the validation file, counted for both by the same code. Each side runs in a
process of its own; with `--repeats` the sides take turns and figures are medians.

    python benchmarks/training_epoch.py --base all-MiniLM-L6-v2 --data ../shared/data/clinc150/train.csv \\
        --validation ../shared/data/clinc150/validation.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Refused, add_output, alternate, fresh, labelled_texts, machine, report, say, table

ROWS_A_STEP = 32
TARGET = 2.5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="pretrained model folder")
    parser.add_argument("--data", required=True, help="labelled training file")
    parser.add_argument("--validation", required=True, help="labelled file that accuracy is measured on")
    parser.add_argument("--rows", type=int, help="a random sample of so many training rows")
    parser.add_argument("--validation-rows", type=int, help="only the first rows of the validation file")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="also run the Trainer with bf16")
    add_output(parser)
    return parser.parse_args()


def train_tlx(task: dict[str, Any]) -> dict[str, Any]:
    """Training rows, steps and seconds of tlx's loop; the model folder is `task["folder"]`."""
    from tlx.train.console import Console
    from tlx.train.recipe import Recipe
    from tlx.train.train import train

    recipe = Recipe().updated("data", train=task["data"], validation=task["validation"])
    recipe = recipe.updated("model", base=task["base"], max_tokens=task["max_tokens"])
    recipe = recipe.updated("train", epochs=task["epochs"], batch_rows=ROWS_A_STEP, learning_rate=task["learning_rate"])
    result = train(recipe, task["folder"], console=Console(quiet=True))
    bf16 = 'precision = "bf16"' in Path(task["folder"], "recipe.toml").read_text(encoding="utf-8")
    return {"rows": result.rows, "steps": result.steps, "seconds": result.seconds, "bf16": int(bf16)}


def train_trainer(task: dict[str, Any]) -> dict[str, Any]:
    """The same of the transformers Trainer: texts tokenized beforehand, each batch padded to its longest."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    texts, gold = labelled_texts(task["data"])
    labels = sorted(set(gold))
    tokenizer = AutoTokenizer.from_pretrained(task["base"])
    encoded = tokenizer(texts, truncation=True, max_length=task["max_tokens"])
    rows = [
        {**{name: encoded[name][row] for name in encoded}, "label": labels.index(gold[row])} for row in range(len(gold))
    ]
    names = dict(enumerate(labels))
    model = AutoModelForSequenceClassification.from_pretrained(
        task["base"], num_labels=len(labels), id2label=names, label2id={label: index for index, label in names.items()}
    )
    settings = TrainingArguments(
        output_dir=task["folder"],
        per_device_train_batch_size=ROWS_A_STEP,
        num_train_epochs=task["epochs"],
        learning_rate=task["learning_rate"],
        bf16=task["bf16"],
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(model, settings, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer))
    output = trainer.train()
    trainer.save_model(task["folder"])
    tokenizer.save_pretrained(task["folder"])
    return {
        "rows": len(rows),
        "steps": output.global_step,
        "seconds": output.metrics["train_runtime"],
        "bf16": int(task["bf16"]),
    }


def child(task: dict[str, Any]) -> None:
    """One side, trained and then judged on the validation file: prints its figures."""
    from tlx.export.pretrained import open_source
    from tlx.export.torch_engine import open_torch

    found: dict[str, Any] = (train_tlx if task["side"] == "tlx" else train_trainer)(task)
    texts, gold = labelled_texts(task["validation"])
    engine = open_torch(open_source(Path(task["folder"])), "cpu")
    right = sum(answer["label"] == label for answer, label in zip(engine(texts), gold, strict=True))
    seen = found["rows"] * task["epochs"]
    found |= {
        "rows_per_step": seen / found["steps"],
        "rows_per_s": seen / found["seconds"],
        "accuracy": right / len(gold),
    }
    print(json.dumps(found))


def write_sample(path: Path, source: str, rows: int | None, *, shuffle: bool) -> None:
    """A CSV of `rows` rows of the source: chosen at random, or the first ones."""
    texts, gold = labelled_texts(source)
    order = np.random.default_rng(0).permutation(len(texts)) if shuffle else np.arange(len(texts))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        writer.writerows((texts[row], gold[row]) for row in order[:rows])


def main() -> None:
    options, here = arguments(), machine()
    sides: dict[str, dict[str, Any]] = {"tlx": {"side": "tlx"}, "trainer": {"side": "trainer", "bf16": False}}
    if options.bf16:
        sides["trainer bf16"] = {"side": "trainer", "bf16": True}
    keys = ("base", "epochs", "learning_rate", "max_tokens")
    with tempfile.TemporaryDirectory() as place:
        data, validation = Path(place) / "train.csv", Path(place) / "validation.csv"
        write_sample(data, options.data, options.rows, shuffle=True)
        write_sample(validation, options.validation, options.validation_rows, shuffle=False)
        shared = {key: getattr(options, key) for key in keys} | {"data": str(data), "validation": str(validation)}

        def run(side: dict[str, Any]) -> dict[str, Any]:
            say(f"training: {side}")
            with tempfile.TemporaryDirectory(dir=place) as folder:
                return fresh(__file__, {**shared, **side, "folder": f"{folder}/model"}, options.threads)

        try:
            figures = alternate({name: partial(run, side) for name, side in sides.items()}, options.repeats)
        except Refused as error:
            raise SystemExit(f"a side could not be trained: {error}") from error
    ratios = {name: figures["tlx"]["rows_per_s"] / found["rows_per_s"] for name, found in figures.items()}
    table(("", *figures["tlx"], "tlx is times as fast"), [(n, *f.values(), ratios[n]) for n, f in figures.items()])
    say(f"target: at least {TARGET} times as fast as the Trainer")
    met = {"speed": ratios["trainer"] >= TARGET}
    report(options, {"sides": figures, "speed_ratios": ratios, "targets": {"speed": TARGET}, "met": met}, here)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("{"):
        child(json.loads(sys.argv[1]))
    else:
        main()
