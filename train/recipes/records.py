"""The record of each step, OUT/STEP.json: its key and, once it is done, the files that it wrote.

The run of a fit is the folder OUT/STEP; other verbs write into the folder of their run. A step is
done as long as its key and the files that it wrote are unchanged.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.errors import UsageError
from train.evaluate.verb import REPORT_JSON
from train.export.bundle import PARAMETERS
from train.export.card import CARD
from train.export.gate import INT8_FILE, QUANTIZE_JSON
from train.export.input_size import FRONTIER_FILE
from train.export.onnx import ONNX_FILE
from train.files import read_json, write_json
from train.recipes.recipe import CHECKPOINT, Step
from train.recipes.steps import Place, content_sha256
from train.runs.folder import MODEL

# Files that a verb may write into its run's folder.
_LEFT = {
    "fit": (MODEL,),
    CHECKPOINT: (MODEL,),
    "frontier": (FRONTIER_FILE,),
    "export": (ONNX_FILE,),
    "quantize": (QUANTIZE_JSON, INT8_FILE),
}


def read_record(step: Step, place: Place) -> dict[str, Any]:
    """The step's record; empty if it was never started."""
    try:
        found = read_json(_file(step, place))
    except UsageError:  # there is none
        return {}
    return found if isinstance(found, dict) else {}


def is_done(step: Step, key: str, records: Mapping[str, dict[str, Any]], place: Place) -> bool:
    """Whether the step was finished with this key and the current files of the steps it uses."""
    record = records[step.name]
    used = {name: records[name].get("left") for name in step.uses}
    return bool(
        record.get("key") == key
        and record.get("left")
        and record.get("used") == used
        and record["left"] == _left(step, place)
    )


def begin(step: Step, key: str, place: Place) -> Path | None:
    """Record that the step begins; returns the new name of a run that was in its way, if any.

    A run with the same key is continued.
    """
    moved = None
    before, folder = read_record(step, place).get("key"), place.folder(step.name)
    if step.verb == "fit" and before not in (None, key) and folder.exists():
        moved = _free(place.out, f"{step.name}-{before[:8]}")
        folder.rename(moved)  # first: a build killed here must not continue in it
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
    """Record that the step is done, with its results; returns the record."""
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
    """The hash of each file that the step wrote, by its name."""
    return {path.name: content_sha256(path) for path in _paths(step, place) if path.is_file()}


def _paths(step: Step, place: Place) -> Sequence[Path]:
    if step.verb == "bundle":
        names = (ONNX_FILE, REPORT_JSON, PARAMETERS, CARD, f"{CHECKPOINT}/{MODEL}")
        return [place.model / name for name in names]
    return [place.folder(step.run) / name for name in _LEFT[step.verb]]


def _free(out: Path, name: str) -> Path:
    """A path that does not exist yet."""
    path, count = out / name, 1
    while path.exists():
        count += 1
        path = out / f"{name}-{count}"
    return path
