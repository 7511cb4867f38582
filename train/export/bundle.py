"""The verb `bundle`: a run's exported model in, the files to deploy out.

MODEL/classifier.onnx, report.json and MODEL_CARD.md, parameters.yaml with what the stack is told of
the model, and the golden pictures of the deployment's hook. The figures are measured here, on the
bundled file: on validation and, if there is one, test.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from serving.model.classifier import Classifier, Inference, calibrated
from serving.model.contract import Contract
from train.errors import UsageError
from train.evaluate import metrics
from train.evaluate.inference import infer_split, split_logits
from train.evaluate.report.page import summary
from train.evaluate.verb import REPORT_JSON, make_report
from train.export.card import CARD, model_card
from train.export.gate import gated_file, int8_figures
from train.export.golden import (
    FLOAT32_TOLERANCE,
    INT8_TOLERANCE,
    LiteralModel,
    golden_answers,
    int8_golden_answers,
    require_golden_folder,
    write_goldens,
)
from train.export.onnx import ONNX_FILE
from train.files import require_writable, write_bytes, write_json, write_whole
from train.networks.torch_model import TorchModel
from train.photos.collection import splits_of
from train.photos.manifest import Manifest
from train.reading import DataConfig
from train.runs.model import TrainedModel, load_model
from train.runs.photos import HOLDOUT, named_photos, unseen_split

PARAMETERS = "parameters.yaml"  # samconfig.toml includes it


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """Put a run's ONNX file, report and model card into model/."""

    run: tyro.conf.Positional[Path]
    """Folder of the run; `python -m train export RUN` comes first."""
    out: Path = Path("model")
    """Folder from which the Lambda image and the local server take the model."""
    data: Path | None = None
    """Folder of the photos to measure on; the run's own if not given."""
    splits: tuple[str, ...] = ()
    """Splits to measure on; if not given, those of holdout (what the run held out), validation and
    test that there are. Never train: its photos say nothing of new ones."""
    notes: Path | None = None
    """Markdown for the end of the model card: origin of the photos, limits, misuse."""
    pictures: Path = Path(__file__).resolve().parents[2] / "samples"
    """Folder of the golden pictures, *.jpg."""
    golden: Path | None = None
    """Folder for the golden pictures; ops/hook/golden beside --out if not given. Pictures of an
    earlier bundle are replaced; a folder with other pictures is refused."""
    golden_tolerance: Annotated[float | None, tyro.conf.arg(metavar="PROBABILITY")] = None
    """Largest difference of a calibrated probability that the hook accepts; 0.001 for a float32
    file and 0.05 for an int8 file if not given."""
    int8: bool = False
    """Ship the int8 file; `python -m train quantize RUN` comes first."""
    recipe: Path | None = None
    """Recipe of `build` that made the run; the card shows it before the notes."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""

    @property
    def golden_folder(self) -> Path:
        """The folder for the golden pictures."""
        return self.golden or self.out.parent / "ops" / "hook" / "golden"


def bundle(config: BundleConfig) -> None:
    """Measure the exported file, and put it and its figures where serving takes them from.

    Raises:
        UsageError: a file is missing, the int8 file is not the one that passed the gate, or the
            folder for the golden pictures has other pictures.
        CheckFailedError: a file's answers to the golden pictures are wrong.
    """
    if "train" in config.splits:
        raise UsageError(
            "--splits train: a card does not report photos that the run was trained on. Give "
            "splits of other photos, or train with --choose-on holdout."
        )
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
    data = replace(trained.config.data, data=root, cache=config.cache)
    splits = {
        name: named_photos(trained, config.run, name, config.cache, config.data)
        for name in config.splits or _splits_of(data, trained)
    }
    report = _report(config, classifier, float32, splits)
    checkpoint = TorchModel(trained.network, float32.contract)
    int8 = LiteralModel(shipped, classifier) if config.int8 else None
    pictures = sorted(config.pictures.glob("*.jpg"))
    expected, tolerance = _expectations(config, checkpoint, float32, int8, pictures)
    with shipped.open("rb") as source:
        write_whole(config.out / ONNX_FILE, partial(shutil.copyfileobj, source))
    write_json(config.out / REPORT_JSON, report)
    write_bytes(config.out / PARAMETERS, parameters(report).encode())
    card = model_card(trained, classifier.contract, classifier.version, report, notes)
    write_bytes(config.out / CARD, card.encode())
    write_goldens(golden, classifier.contract, pictures, expected, tolerance)
    for name, split in report["splits"].items():
        print(summary(name, split))
    print(f"{len(pictures)} golden pictures are in {golden}")
    print(f"The bundle is {config.out / ONNX_FILE}; serve it: make serve")


def _splits_of(data: DataConfig, trained: TrainedModel) -> list[str]:
    """The splits to measure on if none is given."""
    found = [HOLDOUT] if unseen_split(trained) == HOLDOUT else []
    found += [name for name in splits_of(data) if name != "train"]
    if not found:
        raise UsageError(
            f"{data.data} has neither validation nor test: give the photos' folder, --data DIR, or "
            "the splits to measure on, --splits."
        )
    return found


def _report(
    config: BundleConfig, shipped: Classifier, float32: Classifier, splits: Mapping[str, Manifest]
) -> dict[str, Any]:
    """The shipped file's figures on every split, and for int8 the agreement with float32.

    `answers`, over the photos of all splits, are what the drift alarms compare with.
    """
    inferred = {name: infer_split(shipped, photos, config.cache) for name, photos in splits.items()}
    measured = {name: (inferred[name], photos) for name, photos in splits.items()}
    report = make_report(shipped.contract, measured)
    report["version"] = shipped.version
    report["answers"] = answers(shipped.contract, list(inferred.values()))
    if config.int8:
        compared = {
            name: (
                split_logits(float32, photos, config.cache),
                inferred[name].logits,
                photos.labels(),
            )
            for name, photos in splits.items()
        }
        report["int8"] = int8_figures(config.run, compared)
    return report


def _read_notes(file: Path) -> str:
    if not file.is_file():
        raise UsageError(f"--notes {file} is missing.")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"--notes {file} is not UTF-8 text: save it as UTF-8.") from error


def _expectations(
    config: BundleConfig,
    checkpoint: TorchModel,
    float32: Classifier,
    int8: LiteralModel | None,
    pictures: list[Path],
) -> tuple[Inference, float]:
    """What the hook expects from the shipped file, and the tolerance."""
    given = config.golden_tolerance
    if int8 is None:
        tolerance = FLOAT32_TOLERANCE if given is None else given
        return golden_answers(checkpoint, float32, pictures, tolerance), tolerance
    # The float32 file that was quantised must match the checkpoint, too.
    golden_answers(checkpoint, float32, pictures, FLOAT32_TOLERANCE)
    tolerance = INT8_TOLERANCE if given is None else given
    return int8_golden_answers(checkpoint, int8, pictures, tolerance), tolerance


def answers(contract: Contract, inferred: Sequence[Inference]) -> dict[str, Any]:
    """What the drift alarms compare with: mean top probability, shares of unsure and unfamiliar."""
    top = [calibrated(each.logits, contract).max(axis=1) for each in inferred]
    unsure = [metrics.is_unsure(each, contract) for each in inferred]
    unfamiliar = [metrics.is_unfamiliar(each, contract) for each in inferred]
    return {
        "mean_confidence": float(np.concatenate(top).mean()),
        "unsure_share": float(np.concatenate(unsure).mean()),
        "unfamiliar_share": float(np.concatenate(unfamiliar).mean()),
    }


def parameters(report: Mapping[str, Any]) -> str:
    """The template's parameters that say what the drift alarms compare with, as YAML."""
    return (
        "# `python -m train bundle` writes this file: what the stack is told of the model.\n"
        f"ModelName: {json.dumps(report['model'], ensure_ascii=False)}\n"
        f"ReportConfidence: {report['answers']['mean_confidence']:.3f}\n"
        f"ReportUnfamiliarShare: {report['answers']['unfamiliar_share']:.3f}\n"
    )


def _built_by(recipe: Path) -> str:
    """The card's section on the recipe."""
    return (
        "## Recipe\n\nThe model was built from the folder of photos by one command:\n\n```\n"
        f"python -m train build --data DIR --recipe {recipe.name}\n```\n\n{recipe.name}:\n\n"
        f"```toml\n{recipe.read_text(encoding='utf-8').strip()}\n```\n\n"
    )
