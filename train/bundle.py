"""A run's exported model in, what is deployed out: classifier.onnx, report.json and
MODEL_CARD.md.

The figures are measured here once more, on the very file that is put into the folder.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import tyro

from serving.classifier import Classifier
from train import checkpoints
from train.card import CARD, model_card
from train.errors import UsageError
from train.evaluate import REPORT_JSON, make_report
from train.export import ONNX_FILE
from train.inference import labelled_split, split_logits
from train.runs import write_bytes, write_json, write_whole


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
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""


def bundle(config: BundleConfig) -> None:
    """Measure the exported file and put it, with the figures, where serving looks for it."""
    if config.notes is not None and not config.notes.is_file():
        raise UsageError(f"--notes {config.notes} is missing.")
    exported = config.run / ONNX_FILE
    if not exported.is_file():
        raise UsageError(f"{exported} is missing: write it first, python -m train export RUN.")
    classifier = Classifier.load(exported)
    notes = config.notes.read_text(encoding="utf-8") if config.notes else ""
    trained = checkpoints.load_model(config.run)
    root = config.data or trained.config.data.data
    photos = labelled_split(root, config.split, config.cache, classifier.contract.classes)
    logits = split_logits(classifier, photos, config.cache)
    report = make_report(classifier.contract, {config.split: (logits, photos)})
    report["version"] = classifier.version
    with exported.open("rb") as source:
        write_whole(config.out / ONNX_FILE, lambda file: shutil.copyfileobj(source, file))
    write_json(config.out / REPORT_JSON, report)
    card = model_card(trained, classifier.contract, classifier.version, report, notes)
    write_bytes(config.out / CARD, card.encode())
    accuracy = report["splits"][config.split]["accuracy"]
    print(f"{config.split} accuracy {accuracy:.4f} on {len(photos.photos)} photos")
    print(f"The bundle is {config.out / ONNX_FILE}; serve it: make serve")
