"""A torch model → one float32 ONNX file, by Optimum: its names, its axes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from tlx.export.pretrained import LoadedModel
from tlx.runtime.errors import ExportError
from tlx.runtime.quiet import quiet
from tlx.runtime.tasks import Task

__all__ = ["convert"]

OPSET = 18


def convert(loaded: LoadedModel, task: type[Task]) -> onnx.ModelProto:
    """The model as Optimum exports it: int64 inputs `(batch_size, sequence_length)`, outputs `task.heads`, no softmax.

    Raises ExportError when Optimum does not know the architecture, the export fails, or there is no room for its file.
    """
    from optimum.exporters.onnx import onnx_export_from_model
    from optimum.exporters.tasks import TasksManager

    kind, asked = loaded.model.config.model_type, task.optimum_task or task.name
    try:
        supported = TasksManager.get_supported_tasks_for_model_type(kind, "onnx", library_name="transformers")
    except KeyError:
        supported = {}
    if asked not in supported:
        raise ExportError(
            f"Optimum has no ONNX export of {kind!r} for {asked}: train another --base or a student of it"
        )
    with quiet(), TemporaryDirectory(prefix="tlx-convert-") as work:
        try:
            onnx_export_from_model(loaded.model, Path(work), task=asked, opset=OPSET, do_validation=False, device="cpu")
        except OSError as error:
            raise ExportError(
                f"the ONNX file could not be written to {work} ({error.strerror or error}): free some space there, or let TMPDIR "
                "name a folder that has it"
            ) from error
        except Exception as error:  # the exporters raise whatever their tracing met
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ExportError(f"Optimum could not export {kind!r} for {asked}: {lines[0][:300]}") from error
        found = sorted(Path(work).rglob("*.onnx"))
        if [path.name for path in found] != ["model.onnx"]:
            raise ExportError(f"Optimum wrote {[path.name for path in found]} for {kind!r}: wanted one model.onnx")
        return onnx.load(str(found[0]))
