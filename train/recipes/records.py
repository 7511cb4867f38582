"""What a step was begun with and, once it is done, what it left: OUT/STEP.json, one for each step.

The run of a fit is the folder OUT/STEP; what other verbs write lies in the folder of their run. A
step is done while its key is the same and the files that it left are as it left them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.errors import UsageError
from train.evaluate.verb import REPORT_JSON
from train.export.card import CARD
from train.export.gate import INT8_FILE, QUANTIZE_JSON
from train.export.input_size import FRONTIER_FILE
from train.export.onnx import ONNX_FILE
from train.files import read_json, write_json
from train.recipes.recipe import CHECKPOINT, Step
from train.recipes.steps import Place, content_sha256
from train.runs.folder import MODEL

# Files that a verb may leave in its run's folder.
_LEFT = {
    "fit": (MODEL,),
    CHECKPOINT: (MODEL,),
    "frontier": (FRONTIER_FILE,),
    "export": (ONNX_FILE,),
    "quantize": (QUANTIZE_JSON, INT8_FILE),
}


def read_record(step: Step, place: Place) -> dict[str, Any]:
    """What is known of the step; empty where it was never begun."""
    try:
        found = read_json(_file(step, place))
    except UsageError:  # there is none
        return {}
    return found if isinstance(found, dict) else {}


def is_done(step: Step, key: str, records: Mapping[str, dict[str, Any]], place: Place) -> bool:
    """Whether the step was finished with this key, on what the steps that it uses left."""
    record = records[step.name]
    used = {name: records[name].get("left") for name in step.uses}
    return bool(
        record.get("key") == key
        and record.get("left")
        and record.get("used") == used
        and record["left"] == _left(step, place)
    )


def begin(step: Step, key: str, place: Place) -> Path | None:
    """Note that the step begins; the new name of the run that is in its way, where one is.

    A run that was begun with the same key is gone on with.
    """
    moved = None
    before, folder = read_record(step, place).get("key"), place.folder(step.name)
    if step.verb == "fit" and before not in (None, key) and folder.exists():
        moved = _free(place.out, f"{step.name}-{before[:8]}")
        folder.rename(moved)  # first: else a build killed here would go on in it with this key
    if before != key or moved:
        write_json(_file(step, place), {"key": key, "verb": step.verb})
    return moved


def finish(
    step: Step,
    key: str,
    found: Mapping[str, Any],
    records: Mapping[str, dict[str, Any]],
    place: Place,
) -> dict[str, Any]:
    """Note that the step is done, with what it found; the record."""
    record = {
        "key": key,
        "verb": step.verb,
        **found,
        "used": {name: records[name]["left"] for name in step.uses},
        "left": _left(step, place),
    }
    write_json(_file(step, place), record)
    return record


def _file(step: Step, place: Place) -> Path:
    return place.out / f"{step.name}.json"


def _left(step: Step, place: Place) -> dict[str, str]:
    """The hash of each file that the step left, by its name."""
    return {path.name: content_sha256(path) for path in _paths(step, place) if path.is_file()}


def _paths(step: Step, place: Place) -> Sequence[Path]:
    if step.verb == "bundle":
        names = (ONNX_FILE, REPORT_JSON, CARD, f"{CHECKPOINT}/{MODEL}")
        return [place.model / name for name in names]
    return [place.folder(step.run) / name for name in _LEFT[step.verb]]


def _free(out: Path, name: str) -> Path:
    """A name that nothing has yet."""
    path, count = out / name, 1
    while path.exists():
        count += 1
        path = out / f"{name}-{count}"
    return path
