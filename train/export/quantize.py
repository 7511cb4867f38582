"""The verb `quantize`: a run's float32 ONNX file in, an int8 file out if one is as good and faster.

Candidates are made from the exported file, calibrated on photos of train, and compared on photos
that were used neither for training nor for calibration: validation, or the run's held-out share.

RUN/classifier.int8.onnx    the best candidate, only if it passed
RUN/quantize.json           every candidate's figures, even if none passed
"""

import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import tyro

from serving.model.classifier import Classifier
from serving.model.contract import Contract
from train.errors import CheckFailedError, UsageError, require
from train.evaluate.familiarity import out_of_fold_distances, with_thresholds
from train.evaluate.inference import Clock, infer_split
from train.export.gate import (
    INT8_FILE,
    QUANTIZE_JSON,
    RULE,
    Candidate,
    Limits,
    Measured,
    Reference,
    closest,
    figures_line,
    measure,
    rank,
    refusals,
)
from train.export.int8 import Method, Quantizer, Weights, recipes
from train.export.onnx import ONNX_FILE, with_contract
from train.files import draft_folder, require_writable, write_bytes, write_json
from train.photos.manifest import Manifest
from train.photos.pixels import cached_pixels
from train.photos.splits import labelled_split
from train.runs.model import TrainedModel, load_model
from train.runs.photos import unseen_photos, unseen_split, without


@dataclass(frozen=True, slots=True)
class QuantizeConfig:
    """Write a run's ONNX file in int8, if it is as good and faster."""

    run: tyro.conf.Positional[Path]
    """Folder of the run; `python -m train export RUN` comes first."""
    data: Path | None = None
    """Folder of the photos; the run's own if not given."""
    photos: int = 200
    """Number of photos of train to calibrate the activation ranges on."""
    methods: tuple[Method, ...] = ("minmax", "percentile", "entropy")
    """Calibration methods to try."""
    weights: tuple[Weights, ...] = ("seven", "paired")
    """Weight scales to try: `seven` bits; `paired`, the finest scale whose products cannot
    saturate; `eight` bits may saturate and never pass, they are for comparison."""
    float_first: tuple[int, ...] = (0, 3)
    """Numbers of first convolutions to keep in float32, together with the last layer."""
    min_agreement: float = 0.99
    """Smallest share of photos with the same label as float32."""
    max_accuracy_loss: float = 0.01
    """Largest loss of accuracy, as a share of the photos."""
    max_time_ratio: float = 1.0
    """The time, measured here in one thread, must be less than this many times float32's."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""

    def __post_init__(self) -> None:
        require(self.photos >= 1, "--photos", "a number 1 or more", self.photos)
        require(bool(self.float_first), "--float-first", "at least one number", "none")
        require(min(self.float_first) >= 0, "--float-first", "numbers 0 or more", self.float_first)
        if not self.methods or not self.weights:
            raise UsageError("--methods and --weights each take at least one name.")

    @property
    def limits(self) -> Limits:
        """The limits of the gate."""
        return Limits(self.min_agreement, self.max_accuracy_loss, self.max_time_ratio)


@dataclass(frozen=True, slots=True)
class PhotoRoles:
    """The photos of each role; none has both roles.

    Attributes:
        calibration: photos of train that activation ranges are calibrated on.
        comparison: photos that candidates are compared on.
    """

    calibration: Manifest
    comparison: Manifest


def quantize(config: QuantizeConfig, *, clock: Clock = time.thread_time) -> None:
    """Make candidates, compare them with float32, and write the best if it passes.

    Raises:
        UsageError: the run is not exported, or has no photos to calibrate or to compare on.
        CheckFailedError: no candidate passes; quantize.json has the figures, no model is written.
    """
    exported = config.run / ONNX_FILE
    if not exported.is_file():
        raise UsageError(f"{exported} is missing: write it first, python -m train export RUN.")
    require_writable(config.run)
    trained = load_model(config.run)
    roles = choose_photos(config, trained)
    compared_on = unseen_split(trained)
    print(
        f"calibrating on {len(roles.calibration.photos):,} photos of train, comparing candidates "
        f"on {len(roles.comparison.photos):,} of {compared_on}"
    )
    float32 = Classifier.load(exported)
    with draft_folder() as folder:
        quantizer = _quantizer(config, float32, roles, Path(folder))
        reference = Reference.on(float32, roles.comparison, config.cache)
        candidates = _try(config, quantizer, reference, clock)
        best = next(iter(rank(candidates)), None)
        made = None
        if best is not None:
            draft = quantizer.path_of(best.recipe)
            contract = contract_of_int8(float32.contract, best.measured)
            contract = _thresholds(config, trained, roles.comparison, draft, contract)
            made = with_contract(onnx.load(str(draft)), contract)
    _write(config, made, float32.version, _record(config, roles, compared_on, candidates, best))
    if best is None:
        raise CheckFailedError(_nothing_passed(config, closest(candidates)))
    print(
        f"{best.recipe}: {figures_line(best.measured)}\nThe int8 file is {config.run / INT8_FILE} "
        f"({(config.run / INT8_FILE).stat().st_size / 1e6:.1f} MB); every candidate's figures are "
        f"in {config.run / QUANTIZE_JSON}"
    )


def choose_photos(config: QuantizeConfig, trained: TrainedModel) -> PhotoRoles:
    """Draw about `config.photos` photos of train to calibrate on; compare on unseen ones.

    Raises:
        UsageError: there are none to compare on, or none of train is left to calibrate on.
    """
    root = config.data or trained.config.data.data
    comparison = unseen_photos(trained, config.run, config.cache, config.data)
    train = labelled_split(root, "train", config.cache, trained.classes, like=trained.config.data)
    train = without(train, comparison)
    calibration = balanced(train, config.photos, trained.config.seed)
    if not calibration.photos:
        raise UsageError(f"{root} has no photos of train left to calibrate on: all are held out.")
    return PhotoRoles(calibration, comparison)


def balanced(manifest: Manifest, count: int, seed: int) -> Manifest:
    """Draw about `count` photos, as many of each class."""
    labels = manifest.labels()
    random = np.random.default_rng(seed)
    each = max(1, count // len(manifest.classes))
    drawn: list[int] = []
    for label in range(len(manifest.classes)):
        drawn += random.permutation(np.flatnonzero(labels == label))[:each].tolist()
    return manifest.of(manifest.photos[i] for i in sorted(drawn))


def _quantizer(
    config: QuantizeConfig, float32: Classifier, roles: PhotoRoles, folder: Path
) -> Quantizer:
    spec = float32.contract.preprocess
    pixels = cached_pixels(roles.calibration, spec, config.cache)
    return Quantizer(config.run / ONNX_FILE, spec, pixels, folder)


def _try(
    config: QuantizeConfig, quantizer: Quantizer, reference: Reference, clock: Clock
) -> list[Candidate]:
    """Make and compare a candidate for each recipe, and print its verdict."""
    candidates = []
    for recipe in recipes(config.methods, config.weights, config.float_first):
        measured = measure(reference, quantizer.make(recipe), clock)
        candidates.append(Candidate(recipe, measured, refusals(measured, config.limits)))
        print(candidates[-1].line, flush=True)
    return candidates


def _thresholds(
    config: QuantizeConfig, trained: TrainedModel, photos: Manifest, draft: Path, contract: Contract
) -> Contract:
    """The contract with both thresholds of `unsure` measured on the int8 file itself."""
    inferred = infer_split(Classifier.load(draft), photos, config.cache)
    others = out_of_fold_distances(
        trained, contract, len(photos.photos), config.run, config.cache, config.data
    )
    return with_thresholds(contract, inferred, others)


def contract_of_int8(contract: Contract, measured: Measured) -> Contract:
    """The float32 file's contract, with its figures named `float32_` and int8's added."""
    kept = {
        name if name.startswith("calibration_") else f"float32_{name}": value
        for name, value in contract.metrics.items()
    }
    added = {
        "int8_agreement": round(measured.agreement, 4),
        "int8_agreement_photos": measured.photos,
        "int8_mean_difference": round(measured.mean_difference, 5),
    }
    return replace(contract, metrics=kept | added)


def _write(
    config: QuantizeConfig, made: bytes | None, float32: str, record: dict[str, object]
) -> None:
    """Write the file and its record; an earlier int8 file is removed if none passed."""
    int8 = config.run / INT8_FILE
    if made is None:
        int8.unlink(missing_ok=True)
    else:
        write_bytes(int8, made)
    versions = {"float32": float32, "int8": Classifier.load(int8).version if made else None}
    write_json(config.run / QUANTIZE_JSON, record | versions)


def _record(
    config: QuantizeConfig,
    roles: PhotoRoles,
    compared_on: str,
    candidates: list[Candidate],
    best: Candidate | None,
) -> dict[str, object]:
    """The content of quantize.json, except the versions."""
    return {
        "photos": {
            "calibration": len(roles.calibration.photos),
            "judging": len(roles.comparison.photos),
            "judging_split": compared_on,
        },
        "limits": asdict(config.limits),
        "rule": RULE,
        "machine": f"{platform.machine()} {platform.system()}",
        "candidates": [candidate.to_json() for candidate in candidates],
        "passed": best.to_json() if best else None,
    }


def _nothing_passed(config: QuantizeConfig, nearest: Candidate) -> str:
    return (
        f"No int8 file passes the gate. The closest candidate ({nearest.recipe}) fails because: "
        f"{'; '.join(nearest.refused)}. All figures are in {config.run / QUANTIZE_JSON}. Serve "
        "float32, or try other --photos or --float-first. No model file was written."
    )
