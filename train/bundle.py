"""A run's exported model in, what is deployed out: classifier.onnx, report.json, MODEL_CARD.md, and
the golden pictures that ship with the deployment's hook.

The figures are measured here once more, on the very file that is put into the folder.
"""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from serving.classifier import Classifier
from train.card import CARD, model_card
from train.errors import UsageError
from train.evaluate import REPORT_JSON, make_report
from train.export import ONNX_FILE
from train.gated import SECOND_INT8_FILE, gated_file, int8_figures
from train.golden import (
    FLOAT32_TOLERANCE,
    INT8_TOLERANCE,
    LiteralModel,
    clear_pictures,
    golden_logits,
    int8_golden_logits,
    require_golden_folder,
    write_goldens,
)
from train.inference import SECOND_FILE, TorchModel, labelled_split, split_logits
from train.runs import require_writable, write_bytes, write_json, write_whole
from train.saved import load_model


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """Put a run's ONNX file and report under model/."""

    run: tyro.conf.Positional[Path]
    """Folder of the run; `python -m train export RUN` comes first."""
    out: Path = Path("model")
    """Folder that the Lambda image and the local server take the model from."""
    data: Path | None = None
    """Folder of the photos to measure with; the run's own if not given."""
    split: str = "validation"
    """Which photos to measure with."""
    notes: Path | None = None
    """Markdown that ends the model card: origin of the photos, limits, what not to use it for."""
    pictures: Path = Path(__file__).resolve().parent.parent / "samples"
    """Folder of the golden pictures, *.jpg."""
    golden: Path | None = None
    """Folder for the golden pictures; ops/hook/golden beside --out if not given. Those of a
    bundle before are replaced there; a folder with other pictures is refused."""
    golden_tolerance: Annotated[float | None, tyro.conf.arg(metavar="PROBABILITY")] = None
    """Largest difference of any calibrated probability that the hook lets pass; 0.001 for a float32
    file and 0.02 for an int8 one if not given."""
    int8: bool = False
    """Ship the int8 file; `python -m train quantize RUN` comes first."""
    recipe: Path | None = None
    """Recipe of `build` that made the run, which the card prints before the notes."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""

    @property
    def golden_folder(self) -> Path:
        """Where the golden pictures are put."""
        return self.golden or self.out.parent / "ops" / "hook" / "golden"


def bundle(config: BundleConfig) -> None:
    """Measure the exported file and put it, with the figures, where serving looks for it.

    Raises:
        UsageError: a file is missing, the int8 file is not the one that passed the gate, or the
            folder for the golden pictures holds others.
        CheckFailedError: a file does not answer the golden pictures as it should.
    """
    notes = _read_notes(config.notes) if config.notes else ""
    notes = _built_by(config.recipe) + notes if config.recipe else notes
    golden = config.golden_folder
    require_writable(config.out, "--out")
    require_writable(golden, "--golden" if config.golden else "")
    require_golden_folder(golden, config.pictures)
    exported = config.run / ONNX_FILE
    if not exported.is_file():
        raise UsageError(f"{exported} is missing: write it first, python -m train export RUN.")
    float32 = Classifier.load(exported)
    shipped = gated_file(config.run, float32.version) if config.int8 else exported
    classifier = Classifier.load(shipped)
    trained = load_model(config.run)
    root = config.data or trained.config.data.data
    photos = labelled_split(root, config.split, config.cache, classifier.contract.classes)
    logits = split_logits(classifier, photos, config.cache)
    report = make_report(classifier.contract, {config.split: (logits, photos)})
    report["version"] = classifier.version
    report["answers"] = answers(classifier, logits)
    if config.int8:
        before = split_logits(float32, photos, config.cache)
        report["int8"] = int8_figures(config.run, before, logits, photos.labels())
    given = sorted(config.pictures.glob("*.jpg"))
    checkpoint = TorchModel(trained, float32.contract)
    int8 = LiteralModel(shipped, classifier) if config.int8 else None
    pictures = clear_pictures(int8 or checkpoint, classifier, given)
    expected, tolerance = _expectations(config, checkpoint, float32, int8, pictures)
    _put(shipped, classifier, config.out)
    write_json(config.out / REPORT_JSON, report)
    card = model_card(trained, classifier.contract, classifier.version, report, notes)
    write_bytes(config.out / CARD, card.encode())
    write_goldens(golden, classifier.contract, pictures, expected, tolerance)
    accuracy = report["splits"][config.split]["accuracy"]
    print(f"{config.split} accuracy {accuracy:.4f} on {len(photos.photos)} photos")
    print(f"{len(pictures)} golden pictures are in {golden}")
    print(f"The bundle is {config.out / ONNX_FILE}; serve it: make serve")


def _read_notes(file: Path) -> str:
    if not file.is_file():
        raise UsageError(f"--notes {file} is missing.")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"--notes {file} is not UTF-8 text: save it as UTF-8.") from error


def _put(shipped: Path, classifier: Classifier, out: Path) -> None:
    """Copy the model into the folder, after its second, whose name and hash it holds."""
    second = classifier.contract.second
    copies = {second.file: shipped.with_name(second.file)} if second else {}
    for name, path in {**copies, ONNX_FILE: shipped}.items():
        with path.open("rb") as source:
            write_whole(out / name, partial(shutil.copyfileobj, source))
    for name in {SECOND_FILE, SECOND_INT8_FILE} - copies.keys():  # of a model before
        (out / name).unlink(missing_ok=True)


def _expectations(
    config: BundleConfig,
    checkpoint: TorchModel,
    float32: Classifier,
    int8: LiteralModel | None,
    pictures: list[Path],
) -> tuple[NDArray[np.float32], float]:
    """What the hook expects of the shipped file, and how closely."""
    given = config.golden_tolerance
    if int8 is None:
        tolerance = FLOAT32_TOLERANCE if given is None else given
        return golden_logits(checkpoint, float32, pictures, tolerance), tolerance
    # What was quantised is the checkpoint's, too.
    golden_logits(checkpoint, float32, pictures, FLOAT32_TOLERANCE)
    tolerance = INT8_TOLERANCE if given is None else given
    return int8_golden_logits(checkpoint, int8, pictures, tolerance), tolerance


def answers(classifier: Classifier, logits: NDArray[np.float32]) -> dict[str, Any]:
    """What the alarms on drift compare with: mean top probability, and share of unsure answers."""
    top = classifier.probabilities(logits).max(axis=1)  # (N,)
    return {
        "mean_confidence": float(top.mean()),
        "unsure_share": float((top < classifier.contract.unsure_below).mean()),
    }


def _built_by(recipe: Path) -> str:
    """The card's section on the recipe."""
    return (
        "## Recipe\n\nThe model was built from the folder of photos by one command:\n\n```\n"
        f"python -m train build --data DIR --recipe {recipe.name}\n```\n\n{recipe.name}:\n\n"
        f"```toml\n{recipe.read_text(encoding='utf-8').strip()}\n```\n\n"
    )
