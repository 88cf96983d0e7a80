"""What pretraining is worth: a backbone fine-tuned, against the same shape from random weights.

Trains on the whole training set and on a few examples a label (`--shots`), and measures accuracy on the test set: the
backbone with tlx's default settings; random weights by the recipe that this resolved to ("same recipe": rate, epochs, batches);
and random weights with the defaults that tlx has for them ("own recipe": a higher rate). The validation file chooses the best
epoch on every side. Figures are means over the seeds.

    python benchmarks/pretraining.py --base models/tlx-mini-en --data-dir ../shared/data/clinc150
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from measuring import add_output, labelled_texts, machine, report, say, table

STARTS = ("pretrained", "random, same recipe", "random, own recipe")
TARGETS = {"whole_accuracy": 0.94, "whole_lead": 0.05}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="pretrained model folder")
    parser.add_argument(
        "--data-dir", required=True, type=Path, help="folder with train.csv, validation.csv and test.csv"
    )
    parser.add_argument("--shots", type=int, default=10, help="examples a label in the small training set")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, help="a random sample of so many rows stands for the whole training set")
    parser.add_argument("--epochs", type=float, help="instead of what tlx would choose")
    add_output(parser)
    return parser.parse_args()


def sampled(texts: list[str], gold: list[str], seed: int, *, rows: int | None, shots: int | None) -> list[int]:
    """Row numbers: at most `rows` in all, at most `shots` of each label, chosen by the seed."""
    taken: dict[str, int] = defaultdict(int)
    chosen: list[int] = []
    for row in np.random.default_rng(seed).permutation(len(texts)).tolist()[:rows]:
        if shots is None or taken[gold[row]] < shots:
            taken[gold[row]] += 1
            chosen.append(row)
    return chosen


def trained(
    options: argparse.Namespace, place: Path, data: Path, seed: int, *, random_weights: bool, rate: float | None
) -> dict[str, Any]:
    """Test accuracy, the rate, epochs run to the best, and seconds of one training."""
    from tlx.export.torch_engine import open_torch
    from tlx.runtime.evaluate import evaluate
    from tlx.runtime.folder import open_folder
    from tlx.runtime.tasks.classification import TextClassification
    from tlx.train.recipe import Recipe
    from tlx.train.train import train

    recipe = Recipe().updated("data", train=str(data), validation=str(options.data_dir / "validation.csv"))
    recipe = recipe.updated("model", base=options.base, random_weights=random_weights)
    recipe = recipe.updated("train", seed=seed, epochs=options.epochs, learning_rate=rate)
    result = train(recipe, place / "model", overwrite=True)
    test = TextClassification.read(options.data_dir / "test.csv", {})
    folder = open_folder(place / "model")
    return {
        "accuracy": evaluate(open_torch(folder, "cpu"), test)["metrics"]["accuracy"],
        "learning_rate": folder.manifest.lineage["recipe"]["train"]["learning_rate"],
        "best_epoch": result.best_epoch,
        "rows": result.rows,
        "seconds": result.seconds,
    }


def main() -> None:
    options, here = arguments(), machine()
    texts, gold = labelled_texts(options.data_dir / "train.csv")
    sets = {"whole": None, f"{options.shots} a label": options.shots}
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for seed in range(options.seeds):
            for name, shots in sets.items():
                data = place / "train.csv"
                with data.open("w", newline="", encoding="utf-8") as stream:
                    rows = sampled(texts, gold, seed, rows=options.rows, shots=shots)
                    csv.writer(stream).writerows([("text", "label"), *((texts[row], gold[row]) for row in rows)])
                rate: float | None = None
                for start in STARTS:
                    say(f"seed {seed}: {name}, {start}")
                    random, same = start != "pretrained", start == "random, same recipe"
                    found = trained(options, place, data, seed, random_weights=random, rate=rate if same else None)
                    rate = rate or found["learning_rate"]
                    runs[f"{name}, {start}"].append(found)
    means = {
        name: {key: float(np.mean([run[key] for run in found])) for key in found[0]} for name, found in runs.items()
    }
    accuracy = {name: found["accuracy"] for name, found in means.items()}
    leads = {
        f"{name}, {start}": accuracy[f"{name}, pretrained"] - accuracy[f"{name}, {start}"]
        for name in sets
        for start in STARTS[1:]
    }
    table(("", *next(iter(means.values()))), [(name, *found.values()) for name, found in means.items()])
    for name, lead in leads.items():
        say(f"lead over {name}: {100 * lead:.1f} points")
    say(f"targets on the whole set: accuracy ≥ {TARGETS['whole_accuracy']}, lead ≥ {TARGETS['whole_lead']:.2f}")
    met = {
        "whole_accuracy": accuracy["whole, pretrained"] >= TARGETS["whole_accuracy"],
        "whole_lead": leads["whole, random, same recipe"] >= TARGETS["whole_lead"],
    }
    report(options, {"means": means, "runs": dict(runs), "leads": leads, "targets": TARGETS, "met": met}, here)


if __name__ == "__main__":
    main()
