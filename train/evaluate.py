"""A model and a split in, its figures out: report.json for programs, report.md for people."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from serving.contract import Contract
from train import metrics
from train.data import Manifest
from train.inference import labelled_split, open_model, split_logits
from train.runs import write_bytes, write_json

REPORT_JSON, REPORT_MD = "report.json", "report.md"


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Measure a run or an ONNX file on a split."""

    model: tyro.conf.Positional[Path]
    """A run's folder, or an ONNX file."""
    data: Path
    """Folder with SPLIT/CLASS/*.jpg."""
    split: str = "validation"
    """Which photos to measure on."""
    out: Path | None = None
    """Folder for the report; the run's own, or the ONNX file's, if not given."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""


def evaluate(config: EvaluateConfig) -> None:
    """Measure, and write the report."""
    model = open_model(config.model)
    photos = labelled_split(config.data, config.split, config.cache, model.contract.classes)
    logits = split_logits(model, photos, config.cache)
    report = make_report(model.contract, {config.split: (logits, photos)})
    out = config.out or (config.model if config.model.is_dir() else config.model.parent)
    write_report(report, out)
    print(_summary(report))
    print(f"The report is {out / REPORT_MD}")


def make_report(
    contract: Contract, splits: dict[str, tuple[NDArray[np.float32], Manifest]]
) -> dict[str, Any]:
    """The figures of (N, C) logits on each split's photos, as JSON values."""
    return {
        "model": contract.name,
        "classes": list(contract.classes),
        "manifest_sha256": contract.manifest_sha256,
        "splits": {
            name: metrics.figures(logits, photos.labels(), contract)
            for name, (logits, photos) in splits.items()
        },
    }


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write report.json and report.md, each whole or not at all."""
    write_json(folder / REPORT_JSON, report)
    write_bytes(folder / REPORT_MD, _markdown(report).encode())


def _summary(report: dict[str, Any]) -> str:
    lines = []
    for name, split in report["splits"].items():
        low, high = split["accuracy_interval_95"]
        lines.append(
            f"{name}: accuracy {split['accuracy']:.4f} ({split['correct']} of {split['photos']}; "
            f"95 % interval {low:.3f} to {high:.3f}), loss {split['loss']:.4f}"
        )
    return "\n".join(lines)


def _markdown(report: dict[str, Any]) -> str:
    lines = [f"# {report['model']}", ""]
    for name, split in report["splits"].items():
        low, high = split["accuracy_interval_95"]
        lines += [
            f"## {name}",
            "",
            f"{split['photos']} photos. Accuracy {split['accuracy']:.4f} "
            f"({split['correct']} right; 95 % interval {low:.3f} to {high:.3f}), "
            f"loss {split['loss']:.4f} nats, calibration error {split['ece']:.3f}.",
            "",
            "| class | photos | precision | recall (95 % interval) | F1 |",
            "| --- | --- | --- | --- | --- |",
        ]
        for label, row in split["per_class"].items():
            low, high = row["recall_interval_95"]
            lines.append(
                f"| {label} | {row['photos']} | {row['precision']:.3f} | {row['recall']:.3f} "
                f"({low:.2f} to {high:.2f}) | {row['f1']:.3f} |"
            )
        lines.append("")
    return "\n".join(lines)
