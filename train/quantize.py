"""A run's float32 ONNX file in, an int8 one out, if one is as good and faster; else nothing.

Candidates are made and judged on photos that neither calibration nor, where there is a sibling, the
network has seen: the sibling's network stands for the run's, whose recipe is the same. The run's
own file, made as the best candidate was, is then judged on all of train but the calibration photos.

Of a cascade the first network is quantised, and the answers that are compared are the cascade's.

RUN/classifier.int8.onnx    the file, only if it passed
RUN/quantize.json           every candidate's figures, whether or not one passed
"""

import platform
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from serving.classifier import Classifier
from serving.contract import Contract
from train import data
from train.candidates import Method, Quantizer, Recipe, Weights, recipes
from train.draw import Photos, choose_photos
from train.errors import CheckFailedError, UsageError
from train.export import ONNX_FILE, add_contract, write_models
from train.gate import Judged, Limits, Reference, judge, refusals
from train.gated import INT8_FILE, QUANTIZE_JSON
from train.runs import write_bytes, write_json
from train.saved import Trained, load_model
from train.turns import Clock

RULE = (
    "Of the candidates that pass, the one with the least mean difference of probabilities from "
    "float32; of equal ones the fastest."
)


@dataclass(frozen=True, slots=True)
class QuantizeConfig:
    """Write a run's ONNX file in int8, if it passes a gate."""

    run: tyro.conf.Positional[Path]
    """Folder of the run; `python -m train export RUN` comes first."""
    data: Path | None = None
    """Folder of the photos; the run's own if not given."""
    sibling: Path | None = None
    """Run of the same recipe whose held-out photos judge the candidates; the run itself if it held
    photos out."""
    photos: int = 200
    """How many photos of train the ranges of the activations are measured on."""
    methods: tuple[Method, ...] = ("minmax", "percentile", "entropy")
    """How a range follows from those photos."""
    weights: tuple[Weights, ...] = ("seven", "paired")
    """How weights are scaled: to seven bits, or as finely as no products saturate; `eight` bits may
    saturate, so they are for comparison and never pass."""
    float_first: tuple[int, ...] = (0, 3)
    """How many of the first convolutions stay float32, the last layer with them."""
    min_agreement: float = 0.99
    """Share of the photos that must keep float32's label."""
    max_accuracy_loss: float = 0.01
    """Share of the photos by which accuracy may fall."""
    max_time_ratio: float = 1.0
    """The time must be below this many times float32's, measured here in one thread."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""

    def __post_init__(self) -> None:
        if self.photos < 1:
            raise UsageError(f"--photos takes a number 1 or more; found {self.photos}.")
        if min(self.float_first, default=-1) < 0:
            raise UsageError("--float-first takes numbers 0 or more, at least one.")
        if not self.methods or not self.weights:
            raise UsageError("--methods and --weights each take at least one name.")

    @property
    def limits(self) -> Limits:
        """What the gate holds a file to."""
        return Limits(self.min_agreement, self.max_accuracy_loss, self.max_time_ratio)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recipe and what became of it."""

    recipe: Recipe
    judged: Judged
    refused: list[str]

    def to_json(self) -> dict[str, Any]:
        """The candidate as JSON values."""
        return {**asdict(self.recipe), **self.judged.figures(), "refused": self.refused}


def quantize(config: QuantizeConfig, *, clock: Clock = time.thread_time) -> None:
    """Make candidates, judge them, and write the best if it passes.

    Raises:
        UsageError: the run is not exported, or the sibling is none.
        CheckFailedError: no file passes; quantize.json holds the figures, and no model is written.
    """
    exported = config.run / ONNX_FILE
    if not exported.is_file():
        raise UsageError(f"{exported} is missing: write it first, python -m train export RUN.")
    trained = load_model(config.run)
    float32 = Classifier.load(exported)
    sibling = _sibling(config, trained)
    root = config.data or trained.config.data.data
    photos = choose_photos(root, trained, sibling, config.photos, config.cache)
    print(_announcement(photos, sibling))
    with tempfile.TemporaryDirectory() as scratch:
        found = _judge_candidates(config, float32, sibling, photos, Path(scratch), clock)
        tried, described = _make_own(config, float32, rank(found), photos, Path(scratch), clock)
    _write(config, _record(config, sibling, photos, found, tried), float32, described)
    if described is None:
        raise CheckFailedError(_nothing_passed(config, found, tried))
    print(
        f"{tried[-1].recipe}: {_line(tried[-1].judged)}, on {tried[-1].judged.photos:,} photos of "
        f"train that calibration had not seen\nThe int8 file is {config.run / INT8_FILE} "
        f"({len(described) / 1e6:.1f} MB); every candidate's figures are in "
        f"{config.run / QUANTIZE_JSON}"
    )


def _sibling(config: QuantizeConfig, trained: Trained) -> Path | None:
    if config.sibling is None:
        return config.run if trained.config.data.choose_on == "holdout" else None
    if load_model(config.sibling).classes != trained.classes:
        raise UsageError(f"{config.sibling} has other classes than {config.run}.")
    return config.sibling


def _judge_candidates(
    config: QuantizeConfig,
    float32: Classifier,
    sibling: Path | None,
    photos: Photos,
    scratch: Path,
    clock: Clock,
) -> list[Candidate]:
    """Every recipe, tried on the sibling's network, or on the run's own where there is none."""
    source, classifier, folder = config.run / ONNX_FILE, float32, scratch / "candidates"
    if sibling is not None and sibling != config.run:
        folder.mkdir()
        source = folder / ONNX_FILE
        write_models(load_model(sibling), float32.contract, source)
        classifier = Classifier.load(source)
    quantizer = _quantizer(source, float32.contract, photos, config.cache, folder)
    reference = Reference.on(classifier, photos.candidates, config.cache)
    return [
        _judge(quantizer, recipe, reference, config, clock)
        for recipe in recipes(config.methods, config.weights, config.float_first)
    ]


def _quantizer(
    float32: Path, contract: Contract, photos: Photos, cache: Path, folder: Path
) -> Quantizer:
    pixels = data.pixels(photos.calibration, contract.preprocess, cache)
    folder.mkdir(exist_ok=True)
    if contract.second is not None and float32.parent != folder:  # candidates look for it there
        shutil.copyfile(float32.with_name(contract.second.file), folder / contract.second.file)
    return Quantizer(float32, contract.preprocess, pixels, folder)


def _judge(
    quantizer: Quantizer, recipe: Recipe, reference: Reference, config: QuantizeConfig, clock: Clock
) -> Candidate:
    judged = judge(reference, quantizer.make(recipe), clock)
    refused = refusals(judged, config.limits)
    print(f"{'refused' if refused else 'passes ':8} {recipe!s:48} {_line(judged)}", flush=True)
    return Candidate(recipe, judged, refused)


def rank(candidates: list[Candidate]) -> list[Candidate]:
    """Those that pass, the best first, by RULE."""
    passing = [candidate for candidate in candidates if not candidate.refused]
    return sorted(passing, key=lambda c: (c.judged.mean_difference, c.judged.time_ratio))


def _write(
    config: QuantizeConfig, record: dict[str, Any], float32: Classifier, described: bytes | None
) -> None:
    """The record, and the file that it speaks of; none stays of an earlier time."""
    int8 = config.run / INT8_FILE
    if described is None:
        int8.unlink(missing_ok=True)
    else:
        write_bytes(int8, described)
    versions = {
        "float32": float32.version,
        "int8": Classifier.load(int8).version if described else None,
    }
    write_json(config.run / QUANTIZE_JSON, record | versions)


def _make_own(
    config: QuantizeConfig,
    float32: Classifier,
    ranked: list[Candidate],
    photos: Photos,
    scratch: Path,
    clock: Clock,
) -> tuple[list[Candidate], bytes | None]:
    """The run's own file by one recipe after another, and the first that passes, described."""
    tried: list[Candidate] = []
    if not ranked:
        return tried, None
    quantizer = _quantizer(
        config.run / ONNX_FILE, float32.contract, photos, config.cache, scratch / "run"
    )
    reference = Reference.on(float32, photos.run, config.cache)
    for candidate in ranked:
        tried.append(_judge(quantizer, candidate.recipe, reference, config, clock))
        if not tried[-1].refused:
            contract = contract_of_int8(float32.contract, tried[-1].judged)
            return tried, add_contract(quantizer.path_of(candidate.recipe), contract)
    return tried, None


def contract_of_int8(contract: Contract, judged: Judged) -> Contract:
    """The float32 file's contract; its split's figures are named as what they are."""
    kept = {
        name if name.startswith("calibration_") else f"float32_{name}": value
        for name, value in contract.metrics.items()
    }
    added = {
        "int8_agreement": round(judged.agreement, 4),
        "int8_agreement_photos": judged.photos,
        "int8_mean_difference": round(judged.mean_difference, 5),
    }
    return replace(contract, metrics=kept | added)


def _record(
    config: QuantizeConfig,
    sibling: Path | None,
    photos: Photos,
    found: list[Candidate],
    tried: list[Candidate],
) -> dict[str, Any]:
    """quantize.json's values; of folders the names alone."""
    return {
        "sibling": sibling.name if sibling else None,
        "photos": {
            "calibration": len(photos.calibration.photos),
            "candidates": len(photos.candidates.photos),
            "seen_by_the_network": photos.seen,
            "run": len(photos.run.photos),
        },
        "limits": asdict(config.limits),
        "rule": RULE,
        "machine": f"{platform.machine()} {platform.system()}",
        "candidates": [candidate.to_json() for candidate in found],
        "run": [candidate.to_json() for candidate in tried],
    }


def _announcement(photos: Photos, sibling: Path | None) -> str:
    judging = f"{len(photos.candidates.photos):,} photos"
    if sibling is None:
        where = "of train that the network has seen: name a run that held photos out, --sibling RUN"
    else:
        where = f"that {sibling} held out"
    return (
        f"{len(photos.calibration.photos):,} photos of train calibrate; candidates are judged on "
        f"{judging} {where}"
    )


def _line(judged: Judged) -> str:
    return (
        f"agreement {judged.agreement:.4f}, accuracy {judged.correct_int8 / judged.photos:.4f} "
        f"(float32 {judged.correct_float32 / judged.photos:.4f}), mean difference "
        f"{judged.mean_difference:.5f}, {judged.time_ratio:.2f} of the time"
    )


def _nothing_passed(config: QuantizeConfig, found: list[Candidate], tried: list[Candidate]) -> str:
    closest = (
        tried[0] if tried else min(found, key=lambda c: (len(c.refused), c.judged.mean_difference))
    )
    reasons = "; ".join(closest.refused)
    whose = "the run's file by the best recipe" if tried else "the closest candidate"
    return (
        f"No int8 file passes the gate. Against {whose} ({closest.recipe}) stands: {reasons}. "
        f"Every figure is in {config.run / QUANTIZE_JSON}. Serve float32, or give other --photos "
        "or --float-first. No model file was written."
    )
