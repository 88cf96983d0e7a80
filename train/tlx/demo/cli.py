"""The command `tlx demo`. Heavy imports wait until it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds `demo` to the program."""
    app.command("demo", epilog="Example:  tlx demo --out models/demo")(demo_command)


def demo_command(
    out: Annotated[Path, typer.Option(help="Where the demo's two models go; made anew each time.")] = Path(
        "models/demo"
    ),
    base: Annotated[str | None, typer.Option(help="Another pretrained model than the shipped one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """The whole path on shipped data, offline: fine-tune, distil, export, quantize, verify, predict."""
    from tlx.demo.demo import PHRASES, demo, shipped_base, table

    result = demo(out, base or shipped_base())
    if as_json:
        print(json.dumps(result))
        return
    print(table(result["rows"]))
    print()
    for phrase, answer in zip(PHRASES, result["predictions"], strict=True):
        print(f"  {phrase:<44}{answer['label']}  {answer['score']:.2f}")
    print(f"\nTook {result['seconds']:.0f} s. Type next:")
    print(f'  tlx predict {out / "student"} "is it too dark in here to read"')
    print(f"  tlx inspect {out / 'student'}")
    print("  tlx train YOUR.csv --base models/tlx-mini-en --out models/yours")
