"""A run's float32 ONNX file in, an int8 one out, if one is as good and faster; else nothing.

Candidates are made and judged on photos that neither calibration nor, where there is a sibling, the
network has seen: the sibling's network stands for the run's, whose recipe is the same. The run's
own file, made as the best candidate was, is then judged on all of train but the calibration photos.

Of a cascade the second network is quantised first, judged by its own answers; it stays float32 if
no file of it passes. The first is then judged by what both answer, against both in float32.

RUN/classifier.int8.onnx    the file, only if it passed
RUN/second.int8.onnx        a cascade's second, only if both passed
RUN/quantize.json           every candidate's figures, whether or not one passed
"""

import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from serving.classifier import Classifier
from train.candidates import Method, Weights, recipes
from train.errors import CheckFailedError, UsageError, require
from train.export import ONNX_FILE, write_models
from train.gate import Limits
from train.gated import INT8_FILE, QUANTIZE_JSON, SECOND_INT8_FILE
from train.judging import PhotoRoles, choose_photos
from train.runs import draft_folder, require_writable, write_bytes, write_json
from train.saved import Trained, load_model
from train.siblings import open_sibling
from train.trials import RULE, Examiner, Source, Trials, copy_model, judged_line
from train.turns import Clock


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
    first_alone: bool = False
    """Of a cascade quantise the first network alone, and leave the second in float32."""
    min_agreement: float = 0.99
    """Share of the photos that must keep float32's label."""
    max_accuracy_loss: float = 0.01
    """Share of the photos by which accuracy may fall."""
    max_time_ratio: float = 1.0
    """The time must be below this many times float32's, measured here in one thread."""
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
        """What the gate holds a file to."""
        return Limits(self.min_agreement, self.max_accuracy_loss, self.max_time_ratio)


def quantize(config: QuantizeConfig, *, clock: Clock = time.thread_time) -> None:
    """Make candidates, judge them, and write the best if it passes.

    Raises:
        UsageError: the run is not exported, or the sibling is none.
        CheckFailedError: no file passes; quantize.json holds the figures, and no model is written.
    """
    exported = config.run / ONNX_FILE
    if not exported.is_file():
        raise UsageError(f"{exported} is missing: write it first, python -m train export RUN.")
    require_writable(config.run)
    trained = load_model(config.run)
    sibling = _sibling(config, trained)
    root = config.data or trained.config.data.data
    roles = choose_photos(root, trained, sibling, config.photos, config.cache)
    print(_announcement(roles, sibling))
    with draft_folder() as folder:
        judges = exported
        if sibling is not None and sibling != config.run:
            judges = Path(folder) / ONNX_FILE
            write_models(load_model(sibling), Classifier.load(exported).contract, judges)
        examiner = Examiner(roles, config.limits, config.cache, clock)
        second, first = _try_networks(config, examiner, (exported, judges), Path(folder))
        _write(config, _record(config, sibling, roles), second, first)
    if first.passed is None:
        raise CheckFailedError(_nothing_passed(config, first))
    judged = first.run[-1].judged
    print(
        f"{first.run[-1].recipe}: {judged_line(judged)}, on {judged.photos:,} photos of train that "
        f"calibration had not seen\nThe int8 file is {config.run / INT8_FILE} "
        f"({(config.run / INT8_FILE).stat().st_size / 1e6:.1f} MB); every candidate's figures are "
        f"in {config.run / QUANTIZE_JSON}"
    )


def _sibling(config: QuantizeConfig, trained: Trained) -> Path | None:
    if config.sibling is None:
        return config.run if trained.config.data.choose_on == "holdout" else None
    open_sibling("--sibling", config.sibling, trained, config.run)
    return config.sibling


def _try_networks(
    config: QuantizeConfig, examiner: Examiner, files: tuple[Path, Path], folder: Path
) -> tuple[Trials | None, Trials]:
    """The trials of a cascade's second network, if there is one, and of the first.

    `files` are the float32 models of the run and of its sibling, one and the same if it is its own.
    """
    wanted = recipes(config.methods, config.weights, config.float_first)
    named = Classifier.load(files[0]).contract.second
    if named is None or config.first_alone:
        return None, examiner.trials_of(*_sources(files, folder / "first"), wanted)
    print("The second network, by its own answers:")
    its_files = (files[0].with_name(named.file), files[1].with_name(named.file))
    second = examiner.trials_of(*_sources(its_files, folder / "second"), wanted)
    kept = "" if second.passed else ", the second in float32, for no int8 file of it passed"
    print(f"The first network, by what both answer{kept}:")
    sources = _sources(files, folder / "first", second.passed)
    return second, examiner.trials_of(*sources, wanted)


def _sources(
    files: tuple[Path, Path], folder: Path, seconds: tuple[Path, Path] | None = None
) -> tuple[Source, Source]:
    """Copies to make candidates of, beside the seconds if given."""
    found: list[Source] = []
    for n, file in enumerate(dict.fromkeys(files)):
        copy = copy_model(file, folder / str(n), seconds[n] if seconds else None)
        found.append(Source(copy, Classifier.load(file)))
    return found[0], found[-1]


def _write(
    config: QuantizeConfig, record: dict[str, Any], second: Trials | None, first: Trials
) -> None:
    """The record, and the files that it speaks of; none stays of an earlier time."""
    names = {SECOND_INT8_FILE: second, INT8_FILE: first}  # in this order: the first names the other
    for name, trials in names.items():
        if first.passed and trials and trials.passed:
            write_bytes(config.run / name, trials.passed[0].read_bytes())
        else:
            (config.run / name).unlink(missing_ok=True)
    int8 = config.run / INT8_FILE
    versions = {
        "float32": Classifier.load(config.run / ONNX_FILE).version,
        "int8": Classifier.load(int8).version if first.passed else None,
    }
    seconds = {"second": second.to_json()} if second else {}
    write_json(config.run / QUANTIZE_JSON, record | first.to_json() | seconds | versions)


def _record(config: QuantizeConfig, sibling: Path | None, roles: PhotoRoles) -> dict[str, Any]:
    """What quantize.json says beside the trials; of folders the names alone."""
    return {
        "sibling": sibling.name if sibling else None,
        "photos": {
            "calibration": len(roles.calibration.photos),
            "candidates": len(roles.candidates.photos),
            "seen_by_the_network": roles.seen,
            "run": len(roles.run.photos),
        },
        "limits": asdict(config.limits),
        "rule": RULE,
        "machine": f"{platform.machine()} {platform.system()}",
    }


def _announcement(roles: PhotoRoles, sibling: Path | None) -> str:
    judging = f"{len(roles.candidates.photos):,} photos"
    if sibling is None:
        where = "of train that the network has seen: name a run that held photos out, --sibling RUN"
    else:
        where = f"that {sibling} held out"
    return (
        f"{len(roles.calibration.photos):,} photos of train calibrate; candidates are judged on "
        f"{judging} {where}"
    )


def _nothing_passed(config: QuantizeConfig, trials: Trials) -> str:
    closest = trials.closest()
    reasons = "; ".join(closest.refused)
    whose = "the run's file by the best recipe" if trials.run else "the closest candidate"
    return (
        f"No int8 file passes the gate. Against {whose} ({closest.recipe}) stands: {reasons}. "
        f"Every figure is in {config.run / QUANTIZE_JSON}. Serve float32, or give other --photos "
        "or --float-first. No model file was written."
    )
