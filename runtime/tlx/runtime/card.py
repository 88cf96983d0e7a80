"""The model card, written from the manifest alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tlx.runtime.folder import Folder, Manifest, Variant

__all__ = ["write_card"]

LABELS_SHOWN = 40


def write_card(folder: Folder) -> str:
    """The text of README.md: Hugging Face's YAML header, how to use the model, its variants, where it comes from."""
    manifest = folder.manifest
    parts = [
        _header(manifest),
        f"# {folder.path.resolve().name}\n\n{_summary(manifest)}",
        _usage(manifest),
        _labels(manifest),
        _settings(manifest),
        _variants(manifest),
        _training(manifest),
        _lineage(manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(manifest: Manifest) -> str:
    from tlx.runtime.tasks import task_named

    lineage = manifest.lineage
    tag = task_named(manifest.task).optimum_task or manifest.task  # a name that the model hub knows
    lines = ["library_name: onnxruntime", f"pipeline_tag: {tag}"]
    if lineage.get("license"):
        lines.append(f"license: {json.dumps(str(lineage['license']))}")
    lines += ["tags:", "- tlx", "- onnx", f"- {manifest.task}"]
    return "\n".join(["---", *lines, "---"])


def _summary(manifest: Manifest) -> str:
    kind = "multi-label" if manifest.settings.get("multi_label") else "single-label"
    what = f"{kind} {manifest.task}" if manifest.task == "text-classification" else manifest.task
    base = manifest.lineage.get("base")
    origin = f", made from {_plain(base)}" if base else ""
    labels = f" with {len(manifest.labels)} labels" if manifest.labels else ""
    return f"A model for {what}{labels}{origin}. It reads up to {manifest.max_tokens} tokens."


def _usage(manifest: Manifest) -> str:
    from tlx.runtime.tasks import task_of

    shown = task_of(manifest).usage
    lines = ["# pip install 'tlx[cpu]'", "from tlx.runtime import load", 'model = load("this/folder")', *shown]
    return "\n".join(["## Use", "", "```python", *lines, "```"])


def _labels(manifest: Manifest) -> str:
    if not manifest.labels:
        return ""
    shown = ", ".join(f"`{_cell(label)}`" for label in manifest.labels[:LABELS_SHOWN])
    rest = len(manifest.labels) - LABELS_SHOWN
    return f"## Labels\n\n{shown}" + (f" and {rest} more" if rest > 0 else "")


def _settings(manifest: Manifest) -> str:
    """What the answers depend on beside the weights: thresholds, a temperature, the pooling; long tables are the manifest's alone."""
    shown = {
        name: value
        for name, value in manifest.settings.items()
        if not isinstance(value, Mapping) and not (isinstance(value, list) and len(value) > LABELS_SHOWN)
    }
    return "\n".join(["## Settings", "", *_bullets(shown)]) if shown else ""


def _variants(manifest: Manifest) -> str:
    if not manifest.variants:
        return ""
    metrics = list(dict.fromkeys(name for variant in manifest.variants.values() for name in variant.metrics))
    header = ["variant", "size MB", *metrics, "drop", "flip rate", "batch flips", "p50 ms", "texts/s", "default on"]
    rows = [_variant_row(manifest, variant, metrics) for variant in manifest.variants.values()]
    text = "## Variants\n\n" + _table(header, rows)
    machines = {_machine(v.report["machine"]) for v in manifest.variants.values() if v.report.get("machine")}
    if machines:
        text += f"\n\nMeasured on {'; '.join(sorted(machines))}."
    inputs = manifest.lineage.get("export", {}).get("golden_inputs")
    if inputs:
        text += (
            "\n\nDrop: what the main metric loses against torch. Flip rate: the share of answers that differ from torch's; batch "
            f"flips: of those that differ when a text is answered among others. The token ids of {inputs} golden inputs are those "
            "of transformers; `tlx inspect FOLDER --replay` answers them again."
        )
    for variant in manifest.variants.values():
        kept = variant.report.get("kept_float")
        if kept:
            text += f"\n\n{variant.name} keeps {len(kept)} nodes in float: {', '.join(f'`{_cell(name)}`' for name in kept)}."
    return text


def _variant_row(manifest: Manifest, variant: Variant, metrics: Sequence[str]) -> list[str]:
    devices = [device for device, name in manifest.default.items() if name == variant.name]
    figures = [variant.metrics.get(name) for name in metrics]
    timings = [variant.report.get(name) for name in ("drop", "flip_rate", "batch_flip_rate", "p50_ms", "texts_per_s")]
    return [
        variant.name,
        f"{variant.file.size_bytes / 1e6:.2f}",
        *("" if figure is None else f"{figure:.4f}" for figure in figures),
        *("" if figure is None else _plain(figure) for figure in timings),
        ", ".join(devices),
    ]


def _training(manifest: Manifest) -> str:
    figures = manifest.lineage.get("training")
    if not isinstance(figures, Mapping) or not figures:
        return ""
    lines = _bullets(figures)
    if manifest.lineage.get("plot"):
        lines += ["", f"![Loss and metric by step]({manifest.lineage['plot']})"]
    return "\n".join(["## Training", "", *lines])


def _lineage(manifest: Manifest) -> str:
    shown = {key: value for key, value in manifest.lineage.items() if key not in ("training", "plot") and value}
    if not shown:
        return ""
    recipe = shown.pop("recipe", None)
    text = "\n".join(["## Where it comes from", "", *_bullets(shown)])
    if recipe:
        text += f"\n\n<details><summary>Recipe</summary>\n\n```json\n{json.dumps(recipe, indent=1, ensure_ascii=False)}\n```\n\n</details>"
    return text


def _bullets(values: Mapping[str, Any], indent: str = "") -> list[str]:
    """One bullet a key; what lies in mappings and lists of mappings is indented below it."""
    lines: list[str] = []
    for key, value in values.items():
        name = str(key).replace("_", " ")
        items: Iterable[Any] = value if isinstance(value, (list, tuple)) else [value]
        if isinstance(value, Mapping):
            lines += [f"{indent}- {name}:", *_bullets(value, indent + "  ")]
        elif any(isinstance(item, Mapping) for item in items):
            lines.append(f"{indent}- {name}:")
            for item in items:
                inner = ", ".join(f"{k} {_plain(v)}" for k, v in item.items()) if isinstance(item, Mapping) else item
                lines.append(f"{indent}  - {inner}")
        else:
            lines.append(f"{indent}- {name}: {', '.join(_plain(item) for item in items)}")
    return lines


def _machine(machine: Any) -> str:
    if not isinstance(machine, Mapping):
        return str(machine)
    parts = [machine.get("cpu"), f"{machine['cores']} cores" if machine.get("cores") else None]
    parts += [machine.get("onnxruntime"), machine.get("platform")]
    return ", ".join(str(part) for part in parts if part)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _plain(value: Any) -> str:
    """A figure with four significant digits, a hash cut short, anything else as it is."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, str) and len(value) == 64 and all(c in "0123456789abcdef" for c in value):
        return value[:12]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
