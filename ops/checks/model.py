"""The model file, its report and its golden pictures in; findings about them out."""

import contextlib
import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from ops.checks.finding import Finding
from ops.hook import pretraffic
from serving.app import App
from serving.errors import ContractError
from serving.model.classifier import Classifier
from serving.model.contract import Contract
from serving.settings import Settings

_EXPORT = "export it again: python -m train export, then bundle"


def check(model: Path) -> tuple[list[Finding], Contract | None]:
    """Findings on the file, and its contract where it can be served."""
    try:
        graph = onnx.load(str(model), load_external_data=False)
    except Exception as error:  # noqa: BLE001 - protobuf's errors share no base class with OSError
        return [Finding(str(model), f"it cannot be read: {error}", _EXPORT)], None
    found = _external_data(model, graph)
    if found:
        return found, None
    try:
        return [], Classifier.load(model).contract
    except ContractError as error:
        return [_refused(model, graph, str(error))], None


def _external_data(model: Path, graph: onnx.ModelProto) -> list[Finding]:
    stored = {
        entry.value
        for tensor in graph.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [
        Finding(
            str(model),
            f"its weights are in another file, {name}"
            + ("" if (model.parent / name).is_file() else ", which is missing")
            + "; only the model file goes into the image",
            "save it with external_data=False",
        )
        for name in sorted(stored)
    ]


def _refused(model: Path, graph: onnx.ModelProto, why: str) -> Finding:
    """Why serving refuses the file; ONNX Runtime's own messages do not name its version."""
    runtime = f"onnxruntime {version('onnxruntime')}"
    opset = max((o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if "IR version" in why or "ir_version" in why:
        problem = f"its IR version {graph.ir_version} is newer than {runtime} supports"
        return Finding(str(model), problem, "export with the pinned onnx, or upgrade onnxruntime")
    if "opset" in why.lower():
        problem = f"its opset {opset} is newer than {runtime} supports"
        return Finding(str(model), problem, "export with opset 18, or upgrade onnxruntime")
    return Finding(str(model), f"serving refuses it: {why}", _EXPORT)


def goldens(model: Path, folder: Path, settings: Settings) -> list[Finding]:
    """Whether the model answers the golden pictures as its checkpoint did."""

    def no_fetch(url: str, *, timeout_s: float) -> bytes:
        raise OSError(f"golden pictures are not fetched: {url}")

    app: Any = App(Classifier.load(model), settings, no_fetch)
    with contextlib.redirect_stdout(io.StringIO()):  # the service's log
        problems = pretraffic.verdict(folder, lambda event: app.handle(event, "doctor"))
    if not problems:
        return []
    problem = f"the model answers {len(problems)} golden pictures differently: {problems[0]}"
    return [
        Finding(str(folder), problem, "write them together with the model: python -m train bundle")
    ]


def report_is_of(model: Path, report: Path) -> list[Finding]:
    """Whether the report was measured on this file."""
    try:
        measured = json.loads(report.read_text())["version"]
    except (OSError, ValueError, LookupError, TypeError):
        measured = None
    if measured == Classifier.load(model).version:
        return []
    remedy = "write it together with the model: python -m train bundle"
    return [Finding(str(report), "it was not measured on this model file", remedy)]
