"""Drawn pictures and a checkpoint in, the expectations out that a deployment is held to.

They are the torch checkpoint's, never the exported file's: ops/hook ships them and lets no version
have traffic that answers otherwise.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving import image
from serving.classifier import Classifier, softmax
from serving.contract import Contract
from serving.preprocess import Preprocessor
from train.errors import CheckFailedError, UsageError
from train.inference import TorchModel
from train.runs import write_json, write_whole

EXPECTATIONS = "expectations.json"
_FORMAT = 1
_MAX_PIXELS = 50_000_000


def golden_logits(
    model: TorchModel, classifier: Classifier, pictures: Sequence[Path], tolerance: float
) -> NDArray[np.float32]:
    """(N, C) float32: the checkpoint's logits for the pictures.

    Raises:
        UsageError: there are no pictures.
        CheckFailedError: the exported file's calibrated probabilities are further off than
            `tolerance`, or its label is another: the deployment would be refused.
    """
    if not pictures:
        raise UsageError("There is no golden picture: name a folder of JPEGs, --pictures DIR.")
    batch = _batch(pictures, classifier.contract)
    expected, actual = model.logits(batch), classifier.logits(batch)
    wanted = softmax(expected.astype(np.float64) / classifier.contract.temperature)
    off = np.abs(wanted - classifier.probabilities(actual)).max()
    relabelled = int((expected.argmax(axis=1) != actual.argmax(axis=1)).sum())
    if relabelled or not off <= tolerance:
        raise CheckFailedError(
            f"On the golden pictures the exported file is not the checkpoint: largest difference "
            f"of a probability {off:.2e} (at most {tolerance:g}), another label on {relabelled}. "
            "Export again, or allow more, --golden-tolerance. Nothing was written."
        )
    return expected


def _batch(pictures: Sequence[Path], contract: Contract) -> NDArray[np.float32]:
    """(N, 3, H, W) float32, made as serving makes it."""
    preprocess = Preprocessor(contract.preprocess)
    size = (contract.preprocess.width_px, contract.preprocess.height_px)
    return np.concatenate(
        [
            preprocess(image.decode(path.read_bytes(), max_pixels=_MAX_PIXELS, for_size=size))
            for path in pictures
        ]
    )


def write_goldens(
    folder: Path,
    contract: Contract,
    pictures: Sequence[Path],
    logits: NDArray[np.float32],
    tolerance: float,
) -> None:
    """Put pictures and expectations into the folder, in the place of the ones before."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    for path in pictures:
        with path.open("rb") as source:
            write_whole(folder / path.name, lambda file: shutil.copyfileobj(source, file))
    write_json(
        folder / EXPECTATIONS,
        {
            "format": _FORMAT,
            "model": contract.name,
            "classes": list(contract.classes),
            "temperature": contract.temperature,
            "tolerance": tolerance,
            "pictures": [
                {
                    "file": path.name,
                    "label": contract.classes[int(row.argmax())],
                    "logits": [float(logit) for logit in row],
                }
                for path, row in zip(pictures, logits, strict=True)
            ],
        },
    )
