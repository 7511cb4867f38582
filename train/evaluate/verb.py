"""The verb `evaluate`: a model and a split in, a report out.

OUT/report.json is for programs, OUT/report.md and OUT/report.html for people, with pictures as PNG
files beside them. They are of the model's usual split: validation, or what a run held out. Another
split's are OUT/report-SPLIT.*, so that no split's report replaces another's.
"""

from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from serving.errors import RequestError
from serving.model.classifier import Classifier, Inference, calibrated
from serving.model.contract import Contract
from train.config import require_px
from train.errors import UsageError, require
from train.evaluate import metrics
from train.evaluate.inference import Model, infer_images, infer_split, open_model
from train.evaluate.report import page
from train.evaluate.report.gallery import Mistake, Stranger
from train.evaluate.report.pictures import draw_familiarity, draw_learning, draw_split, with_maps
from train.evaluate.suspects import Doubts, find_doubts
from train.files import read_json, require_writable, write_bytes, write_json
from train.networks.alike import Looks, looks_of
from train.networks.familiarity import EMBEDDING, Embedding
from train.photos.collection import splits_of
from train.photos.folders import is_photo
from train.photos.manifest import Manifest
from train.photos.pixels import file_pixels
from train.photos.splits import labelled_split
from train.reading import MAX_PIXELS, DataConfig
from train.runs.model import load_model, read_model
from train.runs.photos import HOLDOUT, VALIDATION, held_out_photos, trained_photos, unseen_split

REPORT_JSON = "report.json"


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Measure a run or an ONNX file on a split of the photos."""

    model: tyro.conf.Positional[Path]
    """A run's folder, or an ONNX file."""
    data: Path
    """Folder of the photos: CLASS/*.jpg, or SPLIT/CLASS/*.jpg."""
    table: Path | None = None
    """CSV or TSV file with the columns path, label and, if you like, split and group; the run's own
    if not given."""
    group_by: str = ""
    """Regular expression for the group in a photo's path; the run's own if not given."""
    split: str = ""
    """The split to measure on; `holdout` is the share that the run kept out of training. If not
    given, it is that for a run that held photos out, else validation."""
    input_px: int | None = None
    """Measure a run at another input size than its own."""
    out: Path | None = None
    """Folder for the report; the folder of the run or ONNX file if not given. It must not be a
    bundle's, because the deployment's alarms compare with the report.json there."""
    others: Path | None = None
    """Folder of photos of other things: how many of them an ONNX file calls unsure."""
    labels: bool = False
    """For a run's folder: also show which labels look wrong, of the split and of train, and which
    photos look the same."""
    mistakes: int = 24
    """Number of mistakes, of least familiar photos and of labels to check in the report."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""

    def __post_init__(self) -> None:
        require(self.mistakes >= 0, "--mistakes", "a number 0 or more", self.mistakes)
        require_px("--input-px", self.input_px)


def evaluate(config: EvaluateConfig) -> None:
    """Measure, and write the report.

    Raises:
        UsageError: the model or the photos cannot be used, or the folder for the report is not
            writable or is a bundle's.
    """
    out = config.out or (config.model if config.model.is_dir() else config.model.parent)
    require_writable(out, "--out" if config.out else "")
    usual = unseen_split(read_model(config.model)) if config.model.is_dir() else VALIDATION
    config = replace(config, split=config.split or usual)
    stem = "report" if config.split == usual else f"report-{config.split}"
    file = out / f"{stem}.json"
    _refuse_a_bundles(file)
    model = open_model(config.model, config.input_px)
    photos = _photos(config, model)
    inferred = infer_split(model, photos, config.cache)
    figures = make_report(model.contract, {config.split: (inferred, photos)})
    others = _others(config, model)
    doubts = _doubts(config, photos) if config.labels else None
    if others is not None:
        figures["others"] = metrics.other_photos(inferred, others, model.contract)
    if isinstance(model, Classifier):
        figures["version"] = model.version
    probabilities = calibrated(inferred.logits, model.contract)
    mistakes = with_maps(model, confident_mistakes(probabilities, photos, config.mistakes))
    strangers = least_familiar(inferred, photos, model.contract, config.mistakes)
    split = figures["splits"][config.split]
    split["mistakes"] = [mistake.to_json() for mistake in mistakes]
    drawn = draw_learning(config.model) + draw_split(split, probabilities, photos)
    splits = {config.split: inferred}
    for name, (found, theirs) in _other_splits(config, model).items():
        splits[name] = found
        strangers += least_familiar(found, theirs, model.contract, config.mistakes)
    drawn += draw_familiarity(model.contract, splits, others)
    pictures = [replace(each, name=each.name.replace("report", stem, 1)) for each in drawn]
    write_json(file, figures)
    for picture in pictures:
        write_bytes(out / picture.name, picture.light)
    text = page.markdown(figures, config.split, pictures)
    write_bytes(file.with_suffix(".md"), text.encode())
    more = doubts.section(config.mistakes) if doubts else ""
    html = page.html_page(figures, config.split, pictures, mistakes, strangers, more)
    write_bytes(file.with_suffix(".html"), html.encode())
    print(page.summary(config.split, split))
    if others is not None:
        print(page.others_summary(figures["others"]))
    if doubts is not None:
        print(doubts.summary())
    print(f"The report is {file.with_suffix('.html')}; its figures for programs are {file}")


def _refuse_a_bundles(report_json: Path) -> None:
    """Raise UsageError for a bundle's report, which the deployment's alarms compare with."""
    try:
        found = read_json(report_json)
    except UsageError:  # it does not exist or is not JSON
        return
    if isinstance(found, dict) and "answers" in found:
        raise UsageError(
            f"{report_json} is a bundle's, and the drift alarms compare with it: give another "
            "folder for this report, --out DIR."
        )


def _photos(config: EvaluateConfig, model: Model) -> Manifest:
    if config.split != HOLDOUT:
        classes, spec = model.contract.classes, model.contract.preprocess
        reading = _reading(config)
        return labelled_split(config.data, config.split, config.cache, classes, reading, spec)
    if not config.model.is_dir():
        raise UsageError(
            "--split holdout is for a run: an ONNX file does not know which photos it is."
        )
    return held_out_photos(load_model(config.model), config.model, config.cache, config.data)


def _other_splits(config: EvaluateConfig, model: Model) -> dict[str, tuple[Inference, Manifest]]:
    """Validation and test, but for the split that is measured, to show its distances beside theirs.

    Empty for a model without familiarity. A split that cannot be used with the model is left out.
    """
    found: dict[str, tuple[Inference, Manifest]] = {}
    if model.contract.familiarity is None:
        return found
    there = splits_of(replace(_reading(config), cache=config.cache))
    for split in (VALIDATION, "test"):
        if split in there and split != config.split:
            try:
                photos = _photos(replace(config, split=split), model)
            except UsageError as error:  # such as a class that the model does not know
                print(f"{split} is not in the histogram: {error}")
                continue
            found[split] = infer_split(model, photos, config.cache), photos
    return found


def _reading(config: EvaluateConfig) -> DataConfig:
    """How the photos are read: as the run reads them, unless flags say otherwise."""
    usual = DataConfig(config.data)
    if config.model.is_dir():
        usual = read_model(config.model).config.data
    table, group_by = config.table or usual.table, config.group_by or usual.group_by
    return replace(usual, table=table, group_by=group_by)


def _others(config: EvaluateConfig, model: Model) -> Inference | None:
    """What the model computes of the photos of other things; unreadable files are left out."""
    if config.others is None:
        return None
    if model.contract.familiarity is None:
        raise UsageError(
            f"--others is for an ONNX file that computes familiarity, and {config.model} does not: "
            "export the run and evaluate RUN/classifier.onnx."
        )
    pixels, unread = [], 0
    for file in sorted(path for path in config.others.rglob("*") if is_photo(path)):
        try:
            spec = model.contract.preprocess
            pixels.append(file_pixels(file.read_bytes(), spec, MAX_PIXELS))
        except (RequestError, OSError):
            unread += 1
    if not pixels:
        raise UsageError(f"--others {config.others} has no photos that can be read.")
    if unread:
        print(f"{unread} of the other photos could not be read")
    return infer_images(model, np.stack(pixels))


def _doubts(config: EvaluateConfig, photos: Manifest) -> Doubts:
    """The labels to check and the doubles among the split's photos and those of training.

    If the run's features were trained on these labels, only the split's labels are looked at.
    """
    if not config.model.is_dir():
        raise UsageError(
            "--labels is for a run's folder, because an ONNX file does not give its features: "
            f"without a run, python -m train inspect --data {config.data} --labels."
        )
    run = load_model(config.model)
    own = photos.of(replace(photo, split=config.split) for photo in photos.photos)
    parts = [own]
    if config.split != "train":
        with suppress(UsageError):  # the folder has no train
            parts.append(trained_photos(run, config.model, config.cache, config.data))
    embedding = Embedding(run.network, run.spec.height_px).eval()
    looks = [looks_of(embedding, p, run.spec, config.cache, kind=EMBEDDING) for p in parts]
    joined = Looks(*(np.concatenate(arrays) for arrays in zip(*map(astuple, looks), strict=True)))
    every = photos.of(photo for part in parts for photo in part.photos)
    judged = np.ones(len(every.photos), bool)
    if run.config.network.train_backbone or run.config.start:
        judged[:] = config.split != "train"
        judged[len(photos.photos) :] = False
    return find_doubts(every, joined, judged)


def make_report(
    contract: Contract, splits: dict[str, tuple[Inference, Manifest]]
) -> dict[str, Any]:
    """The figures of what was inferred of each split's photos, as JSON values."""
    return {
        "model": contract.name,
        "classes": list(contract.classes),
        "manifest_sha256": contract.manifest_sha256,
        "splits": {
            name: metrics.figures(inferred, photos.labels(), contract)
            for name, (inferred, photos) in splits.items()
        },
    }


def confident_mistakes(
    probabilities: NDArray[np.float64], photos: Manifest, most: int
) -> tuple[Mistake, ...]:
    """At most `most` photos that (N, C) probabilities misclassify, the most confident first."""
    labels, predicted = photos.labels(), probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return tuple(
        Mistake(
            photo=photos.root / photos.photos[i].path,
            label=photos.photos[i].label,
            predicted=photos.classes[predicted[i]],
            probability=float(confidence[i]),
            label_probability=float(probabilities[i, labels[i]]),
        )
        for i in surest
    )


def least_familiar(
    inferred: Inference, photos: Manifest, contract: Contract, most: int
) -> tuple[Stranger, ...]:
    """At most `most` photos, the least familiar first; empty without familiarity."""
    known, distances = contract.familiarity, inferred.distances
    if known is None or distances is None:
        return ()
    return tuple(
        Stranger(
            photo=photos.root / photos.photos[i].path,
            split=photos.photos[i].split,
            label=photos.photos[i].label,
            familiarity=known.of(float(distances[i])),
        )
        for i in np.argsort(-distances, kind="stable")[:most]
    )
