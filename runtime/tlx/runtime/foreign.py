"""What a folder without a manifest is, and which command on which folder makes one that loads."""

from __future__ import annotations

from pathlib import Path

__all__ = ["WEIGHTS", "plain_folder", "weights_instead"]

WEIGHTS = "model.safetensors"


def plain_folder(path: Path) -> str:
    """A line on the folder `path`, which has no tlx.json."""
    if (path / WEIGHTS).is_file() and (path / "config.json").is_file():
        return (
            f"{path} is a plain transformers folder, without tlx.json: run `tlx export {path}` first, which makes it "
            "one that loads, and verifies it (`--out` makes another folder)"
        )
    if (path / "config.json").is_file() or _exported(path):
        return f"{path} holds no tlx.json, and no {WEIGHTS} to make it of: {weights_instead(path)}"
    return (
        f"{path} holds no tlx.json: it is no model folder; give one that `tlx train` or `tlx export` wrote, or run "
        "`tlx export` on one of transformers"
    )


def weights_instead(path: Path) -> str:
    """What a folder holds in place of model.safetensors, and what to do."""
    if (path / f"{WEIGHTS}.index.json").exists():
        return "they are cut into several files: save the model again with save_pretrained(max_shard_size='100GB')"
    if pickled := sorted(item.name for item in path.glob("*.bin")):
        return f"only {pickled[0]}, and tlx loads no pickles: save it again as safetensors"
    if exported := _exported(path):
        return (
            f"only {exported[0]}, and tlx verifies what it runs against torch: run `tlx export` on the folder that it "
            f"was exported from (with config.json and {WEIGHTS})"
        )
    return "train it first with `tlx train … --out`"


def _exported(path: Path) -> list[str]:
    """The ONNX files at the folder's top and one below."""
    return sorted(item.relative_to(path).as_posix() for place in ("*.onnx", "*/*.onnx") for item in path.glob(place))
