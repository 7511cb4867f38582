"""The verb `inspect`: what to fix in a folder of photos, or one photo as numbers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.images.decode import UPRIGHT, decode_scaled
from serving.model.preprocess import PreprocessSpec, normalize
from serving.settings import Settings
from train.errors import CheckFailedError, UsageError, require
from train.evaluate.predict import naming, read_image
from train.evaluate.report.page import html
from train.evaluate.suspects import find_doubts
from train.files import require_writable, write_bytes
from train.networks.alike import looks_of
from train.networks.backbones import open_backbone, preprocessing
from train.photos.collection import Collection, collect, division
from train.photos.findings import Finding, counted, find_all, listed
from train.photos.folders import printable
from train.photos.pixels import file_pixels
from train.photos.splits import refuse
from train.reading import MAX_PIXELS, DataConfig

# Photos of each kind on the page, or --show if it is more.
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class InspectConfig:
    """Check a folder of photos before training, or show one photo as numbers."""

    data: Path | None = None
    """Folder of the photos: CLASS/*.jpg, or {train,validation,test}/CLASS/*.jpg."""
    table: Path | None = None
    """CSV or TSV file with the columns path, label and, if you like, split and group."""
    group_by: str = ""
    """Regular expression for a photo's path; photos with the same match are never in two splits."""
    image: str | None = None
    """One photo, a file or an http(s) URL, to show as an array."""
    labels: bool = False
    """Also look for wrong labels and for photos that look the same, and write a page of them. The
    first time it takes as long as an evaluation of all photos."""
    backbone: str = "mobilenet_v2"
    """With --labels, the network whose features are compared; timm/NAME for one of timm's."""
    weights: str = "default"
    """With --labels, its weights: `default` downloads the library's, or a file."""
    page: Path = Path("runs/labels.html")
    """With --labels, where the page is written; it holds thumbnails of the photos."""
    input_px: int = 224
    """Height and width of the network's input, which `--image` shows and `--labels` uses."""
    strict: bool = False
    """Exit with code 1 if there is a finding, or anything is passed over."""
    max_pixels: int = MAX_PIXELS
    """Photos with more pixels are not read."""
    cache: Path = Path(".cache/photos")
    """Folder of what is known of photos; safe to delete."""
    rehash: bool = False
    """Read every photo again, also those of unchanged size and time."""
    show: int = 20
    """Lines to print for each kind of finding; the rest are counted."""

    def __post_init__(self) -> None:
        require(self.input_px >= 1, "--input-px", "a number 1 or more", self.input_px)
        require(self.show >= 1, "--show", "a number 1 or more", self.show)


def inspect(config: InspectConfig) -> None:
    """Print what is in the folder or the photo.

    Raises:
        UsageError: neither or both of --data and --image are given, or the photos cannot be trained
            on; the findings are printed first. With --labels, also as `look_for_doubts`.
        CheckFailedError: `strict`, and there is a finding.
    """
    if config.image is not None and config.data is None:
        print("\n".join(describe_image(config.image, config.input_px, config.max_pixels)))
        return
    if config.data is None or config.image is not None:
        raise UsageError("Give what to look at: --data DIR, or --image FILE.")
    if config.labels:
        require_writable(config.page.parent, "--page")
    data = DataConfig(
        config.data,
        table=config.table,
        group_by=config.group_by,
        max_pixels=config.max_pixels,
        cache=config.cache,
        rehash=config.rehash,
    )
    collection = collect(data)
    findings = find_all(collection)
    print("\n".join(overview(collection)))
    print("\n".join(listed(findings, config.show)))
    refuse(collection, findings)
    if config.labels:
        print("\n".join(look_for_doubts(config, collection, findings)))
    if config.strict and (findings or collection.passed):
        raise CheckFailedError(
            f"{counted(len(findings))} in {config.data}, passed over: "
            f"{collection.passed_over() or 'nothing'}; --strict allows none."
        )


def look_for_doubts(
    config: InspectConfig, collection: Collection, findings: Sequence[Finding]
) -> list[str]:
    """Write the page of labels to check and of doubles; lines to print of those not known before.

    Raises:
        UsageError: the backbone or its weights cannot be used.
    """
    photos = collection.manifest(collection.splits)
    spec = preprocessing(config.backbone, config.input_px)
    backbone, _ = open_backbone(config.backbone, config.weights, config.input_px)
    doubts = find_doubts(photos, looks_of(backbone, photos, spec, config.cache))
    subtitle = f"{len(photos.photos):,} photos, judged by the features of {config.backbone}"
    title = f"{printable(collection.root)}: labels"
    body = doubts.section(max(config.show, _SHOWN))
    write_bytes(config.page, html(title, subtitle, body).encode())
    known = {finding.found for finding in findings}
    new = [finding for finding in doubts.findings() if finding.found not in known]
    return [*listed(new, config.show), f"The photos are in {config.page}"]


def describe_image(source: str, input_px: int, max_pixels: int) -> list[str]:
    """One photo as an array and as the network's input, as lines to print.

    Raises:
        UsageError: the file cannot be read or is not a photo, or the URL cannot be fetched.
    """
    settings = Settings()
    with naming(source):
        content = read_image(source, settings)
        found = decode_scaled(content, max_pixels=max_pixels, for_size=None, close=True)
    turn, (width, height) = found.orientation, found.file_px
    first = f"{found.file_format}, mode {found.mode}, {width} x {height} pixels"
    pixels = np.asarray(found.image)  # (H, W, 3) uint8
    spec = PreprocessSpec.square(input_px)
    stretched = file_pixels(content, spec, max_pixels)  # (S, S, 3) uint8
    batch = normalize(stretched[None], spec)  # (1, 3, S, S) float32
    turned = "upright" if turn == UPRIGHT else f"rotated to upright (EXIF {turn})"
    corners = {
        "top left": pixels[0, 0],
        "top right": pixels[0, -1],
        "bottom left": pixels[-1, 0],
        "bottom right": pixels[-1, -1],
    }
    return [
        f"{source}: {len(content):,} bytes, {first}, {turned}",
        f"as an array (height, width, channel): {_array(pixels)}",
        f"  mean of red, green, blue: {_numbers(pixels.mean(axis=(0, 1)))}",
        *(f"  {name} pixel: {tuple(int(v) for v in pixel)}" for name, pixel in corners.items()),
        f"the network's input (photo, channel, height, width): {_array(batch)}",
        f"  mean of red, green, blue: {_numbers(batch.mean(axis=(0, 2, 3)))}",
    ]


def _array(array: NDArray[np.generic]) -> str:
    low, high = array.min(), array.max()
    return f"shape {array.shape}, {array.dtype}, values {low:.4g} to {high:.4g}"


def _numbers(values: NDArray[np.floating[Any]]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def overview(collection: Collection) -> list[str]:
    """Lines with the photos of each split and class, and the sizes of the readable ones."""
    files, splits = collection.files, sorted(collection.splits)
    classes = sorted({label for _, label in collection.folders} | {file.label for file in files})
    counts = Counter((file.split, file.label) for file in files)
    wide = max(len(name) for name in [*classes, "all"])
    lines = [f"{'photos':<{wide}}  " + "  ".join(f"{split:>10}" for split in splits)]
    for label in classes:
        cells = "  ".join(f"{counts[split, label]:>10,}" for split in splits)
        lines.append(f"{label:<{wide}}  {cells}")
    totals = Counter(file.split for file in files)
    lines.append(f"{'all':<{wide}}  " + "  ".join(f"{totals[split]:>10,}" for split in splits))
    lines += division(collection)
    facts = [file.facts for file in files if not file.fault]
    for side, sizes in (
        ("width", [each.width_px for each in facts]),
        ("height", [each.height_px for each in facts]),
    ):
        if sizes:
            middle = median(sizes)
            lines.append(f"{side}: {min(sizes)} to {max(sizes)} pixels, median {middle:g}")
    turned = sum(each.turned for each in facts)
    lines.append(f"rotated by their EXIF orientation: {turned} (training and serving rotate them)")
    return lines
