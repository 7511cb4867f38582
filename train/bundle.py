"""A run's exported model in, what is deployed out: model/classifier.onnx and report.json.

The figures are measured here once more, on the very file that is put into the folder.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import tyro

from serving.classifier import Classifier
from train import checkpoints
from train.errors import UsageError
from train.evaluate import REPORT_JSON, make_report
from train.export import ONNX_FILE
from train.inference import labelled_split, split_logits
from train.runs import write_json, write_whole


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
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""


def bundle(config: BundleConfig) -> None:
    """Measure the exported file and put it, with the figures, where serving looks for it."""
    exported = config.run / ONNX_FILE
    if not exported.is_file():
        raise UsageError(f"{exported} is missing: write it first, python -m train export RUN.")
    classifier = Classifier.load(exported)
    root = config.data or checkpoints.load_model(config.run).config.data.data
    photos = labelled_split(root, config.split, config.cache, classifier.contract.classes)
    logits = split_logits(classifier, photos, config.cache)
    report = make_report(classifier.contract, {config.split: (logits, photos)})
    report["version"] = classifier.version
    with exported.open("rb") as source:
        write_whole(config.out / ONNX_FILE, lambda file: shutil.copyfileobj(source, file))
    write_json(config.out / REPORT_JSON, report)
    accuracy = report["splits"][config.split]["accuracy"]
    print(f"{config.split} accuracy {accuracy:.4f} on {len(photos.photos)} photos")
    print(f"The bundle is {config.out / ONNX_FILE}; serve it: make serve")
