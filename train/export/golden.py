"""Golden pictures and a checkpoint in, the answers that a deployment must give out.

The deployment's hook (ops/hook) ships them, and blocks a version whose answers differ. For a
float32 file, the expected answers are the torch checkpoint's. An int8 file differs from the
checkpoint by design, on drawn pictures by a few tenths: its expected answers are those of the file
itself, run in float32 arithmetic (every weight and activation dequantised, no integer kernels,
nothing fused), and its label must be the checkpoint's wherever the checkpoint is sure.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.model.classifier import Classifier, Inference
from serving.model.contract import Contract
from serving.model.preprocess import PreprocessSpec
from train.errors import CheckFailedError, UsageError
from train.evaluate.inference import image_logits, infer_images, pixels_of_files
from train.files import read_json, write_json, write_whole
from train.networks.torch_model import TorchModel
from train.photos.folders import is_photo
from train.photos.pixels import Pixels
from train.reading import MAX_PIXELS

EXPECTATIONS = "expectations.json"

# Largest accepted difference of a probability. Integer kernels sometimes round an activation to a
# different step than float32 arithmetic does. On the drawn pictures this changes a probability of
# the bundled model by at most 0.009 on x86 and 0.026 on arm64; another mean and std changes it by
# 0.134, noise of 1 % on the weights by 0.98.
FLOAT32_TOLERANCE, INT8_TOLERANCE = 1e-3, 5e-2

_FORMAT = 1


def golden_answers(
    model: TorchModel, classifier: Classifier, pictures: Sequence[Path], tolerance: float
) -> Inference:
    """The checkpoint's logits for N pictures, and the exported file's distances.

    `export` has compared these distances with torch's.

    Raises:
        UsageError: there are no pictures.
        CheckFailedError: a calibrated probability of the exported file differs by more than
            `tolerance`, or a label differs: the hook would block the deployment.
    """
    if not pictures:
        raise UsageError("There are no golden pictures: give a folder of JPEGs, --pictures DIR.")
    pixels = _pixels(pictures, classifier.contract.preprocess)
    expected = image_logits(model, pixels)
    actual, distances = infer_images(classifier, pixels)
    off = np.abs(classifier.probabilities(expected) - classifier.probabilities(actual)).max()
    relabelled = int((expected.argmax(axis=1) != actual.argmax(axis=1)).sum())
    if relabelled or not off <= tolerance:
        raise CheckFailedError(
            f"On the golden pictures the exported file differs from the checkpoint: largest "
            f"difference of a probability {off:.2e} (at most {tolerance:g} allowed), different "
            f"label on {relabelled}. Export again, or raise --golden-tolerance. Nothing was "
            "written."
        )
    return Inference(expected, distances)


def int8_golden_answers(
    model: TorchModel, int8: "LiteralModel", pictures: Sequence[Path], tolerance: float
) -> Inference:
    """What an int8 file computes of N pictures, in float32 arithmetic.

    Raises:
        CheckFailedError: the served file's probability differs by more than `tolerance`, a label
            differs, or its label differs from one of which the checkpoint is sure.
    """
    classifier = int8.served
    pixels = _pixels(pictures, classifier.contract.preprocess)
    answers = infer_images(int8, pixels)
    expected = answers.logits
    served = image_logits(classifier, pixels)
    wanted, actual = classifier.probabilities(expected), classifier.probabilities(served)
    off = float(np.abs(wanted - actual).max())
    labels = actual.argmax(axis=1)  # (N,)
    relabelled = int((wanted.argmax(axis=1) != labels).sum())
    if relabelled or not off <= tolerance:
        raise CheckFailedError(
            f"On the golden pictures the int8 file's integer arithmetic differs from its float32 "
            f"arithmetic: largest difference of a probability {off:.2e} (at most {tolerance:g} "
            f"allowed), different label on {relabelled}. Raise --golden-tolerance, or ship "
            "float32. Nothing was written."
        )
    trained = classifier.probabilities(image_logits(model, pixels))  # (N, C)
    sure = trained.max(axis=1) >= classifier.contract.unsure_below
    for index in np.flatnonzero(sure & (labels != trained.argmax(axis=1))).tolist():
        raise CheckFailedError(
            f"{pictures[index].name}: the checkpoint is sure that it is "
            f"{classifier.contract.classes[trained[index].argmax()]}, the int8 file calls it "
            f"{classifier.contract.classes[labels[index]]}. Ship float32, or give other golden "
            "pictures, --pictures DIR. Nothing was written."
        )
    return answers


class LiteralModel:
    """A model file run node by node as written, without optimisation.

    `served` is the same file as serving runs it.
    """

    def __init__(self, path: Path, served: Classifier) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.served = served
        self.contract = served.contract

    def infer(self, batch: NDArray[np.float32]) -> Inference:
        """(N, 3, H, W) float32 -> (N, C) logits, and (N,) distances or None, float32."""
        outputs = [output.name for output in self._session.get_outputs()]
        outputs = outputs[: 1 if self.contract.familiarity is None else 2]
        return Inference(*self._session.run(outputs, {self._session.get_inputs()[0].name: batch}))


def _pixels(pictures: Sequence[Path], spec: PreprocessSpec) -> Pixels:
    return pixels_of_files([path.read_bytes() for path in pictures], spec, MAX_PIXELS)


def require_golden_folder(folder: Path, pictures: Path) -> None:
    """Check that no other pictures are lost when the golden ones are written into the folder.

    Raises:
        UsageError: the folder is the one that the pictures come from, or it has pictures that
            `bundle` did not put there.
    """
    if folder.resolve() == pictures.resolve():
        raise UsageError(
            f"{folder} is the folder of --pictures: give another one for the golden pictures, "
            "--golden DIR."
        )
    if not folder.is_dir():
        return
    ours = _listed(folder)
    for file in sorted(folder.iterdir()):
        if not is_photo(file) or file.name in ours:
            continue
        # An interrupted bundle leaves copies that are not listed yet.
        source = pictures / file.name
        if not (source.is_file() and source.read_bytes() == file.read_bytes()):
            raise UsageError(
                f"{folder} has {file.name}, which bundle did not put there: move it away, or give "
                "another folder, --golden DIR. Nothing was written."
            )


def _listed(folder: Path) -> set[str]:
    """The names of the pictures in the folder's expectations.json."""
    file = folder / EXPECTATIONS
    if not file.is_file():
        return set()
    try:
        names = {str(picture["file"]) for picture in read_json(file)["pictures"]}
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{file} is not a list of golden pictures: give another folder, --golden DIR."
        ) from error
    photos = {name for name in names if is_photo(Path(name))}
    return {name for name in photos if Path(name).name == name}  # nothing outside the folder


def write_goldens(
    folder: Path,
    contract: Contract,
    pictures: Sequence[Path],
    answers: Inference,
    tolerance: float,
) -> None:
    """Replace the pictures and expectations in the folder.

    Only pictures that the old expectations.json lists are deleted.
    """
    before = _listed(folder)
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
                    **familiarity,
                }
                for path, row, familiarity in zip(
                    pictures, answers.logits, _familiarities(contract, answers), strict=True
                )
            ],
        },
    )
    for name in before - {path.name for path in pictures}:
        (folder / name).unlink(missing_ok=True)


def _familiarities(contract: Contract, answers: Inference) -> list[dict[str, float]]:
    """For each picture, its `familiarity`; nothing if the model does not compute it."""
    known = contract.familiarity
    if known is None or answers.distances is None:
        return [{} for _ in answers.logits]
    return [{"familiarity": round(known.of(d), 4)} for d in answers.distances.tolist()]
