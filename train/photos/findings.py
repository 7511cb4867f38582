"""A folder of photos in, what to fix before training out.

Every file is read once: hashed, opened and decoded by serving's own code.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tqdm import tqdm

from serving.errors import RequestError
from serving.images.decode import UPRIGHT, decode_scaled
from serving.images.formats import FORMATS
from train.errors import UsageError
from train.photos.folders import (
    PHOTO_SUFFIXES,
    advice_for_empty,
    empty_class_folders,
    is_photo,
    printable,
)
from train.photos.pixels import MAX_PIXELS

# With fewer photos a class is hard to learn and to measure: if all of nine are right, the 95 %
# interval of the recall still begins at 0.70.
TINY_CLASS = 10
# From this ratio on, weighting the classes is worth a try.
IMBALANCE_RATIO = 3.0

# Other common names of the splits that `fit` reads.
_MISNAMED = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
}

_FORMAT_BY_SUFFIX = {suffix: known.name for known in FORMATS for suffix in known.suffixes}


@dataclass(frozen=True, slots=True)
class Inspected:
    """One file of a class folder; sizes are 0 if it is unreadable."""

    path: Path
    split: str
    label: str
    sha256: str
    file_format: str = ""
    width_px: int = 0
    height_px: int = 0
    turned: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to fix: its kind, what was found and where, and what to do."""

    kind: str
    found: str
    advice: str


def read_folder(root: Path) -> list[Inspected]:
    """Read every photo under ROOT/SPLIT/CLASS/; raises UsageError if there are none."""
    if not root.is_dir():
        raise UsageError(f"--data {root} is not a folder.")
    paths = [path for path in sorted(root.glob("*/*/*")) if is_photo(path)]
    if not paths:
        raise UsageError(f"{root} has no photos; they are read from SPLIT/CLASS/.")
    with ThreadPoolExecutor() as pool:
        read = pool.map(lambda path: inspect_file(root, path), paths)
        return list(tqdm(read, "reading photos", len(paths), unit="img", leave=False))


def inspect_file(root: Path, path: Path) -> Inspected:
    """Hash, open and decode one file of ROOT/SPLIT/CLASS/."""
    name = path.relative_to(root)
    split, label = printable(name).split("/")[:2]
    try:
        content = path.read_bytes()
    except OSError as error:
        return Inspected(name, split, label, "", fault=f"It cannot be read: {error.strerror}.")
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        found = decode_scaled(content, max_pixels=MAX_PIXELS, for_size=None, close=True)
    except RequestError as error:
        return Inspected(name, split, label, sha256, fault=error.detail)
    turned = found.orientation != UPRIGHT
    return Inspected(name, split, label, sha256, found.file_format, *found.image.size, turned)


def overview(root: Path, files: Sequence[Inspected]) -> list[str]:
    """Lines with the photos of each split and class, and the sizes of the readable ones."""
    splits = sorted({file.split for file in files})
    empty = {printable(Path(folder.name)) for folder in empty_class_folders(root, splits)}
    classes = sorted(empty | {file.label for file in files})
    counts = Counter((file.split, file.label) for file in files)
    wide = max(len(name) for name in [*classes, "all"])
    lines = [f"{'photos':<{wide}}  " + "  ".join(f"{split:>10}" for split in splits)]
    for label in classes:
        cells = "  ".join(f"{counts[split, label]:>10,}" for split in splits)
        lines.append(f"{label:<{wide}}  {cells}")
    totals = Counter(file.split for file in files)
    lines.append(f"{'all':<{wide}}  " + "  ".join(f"{totals[split]:>10,}" for split in splits))
    readable = [file for file in files if not file.fault]
    for side, sizes in (
        ("width", [file.width_px for file in readable]),
        ("height", [file.height_px for file in readable]),
    ):
        if sizes:
            middle = median(sizes)
            lines.append(f"{side}: {min(sizes)} to {max(sizes)} pixels, median {middle:g}")
    turned = sum(file.turned for file in readable)
    lines.append(f"rotated by their EXIF orientation: {turned} (training and serving rotate them)")
    return lines


def find_all(root: Path, files: Sequence[Inspected]) -> list[Finding]:
    """Every finding, the most serious kinds first."""
    return [
        *_copies(files),
        *_unreadable(files),
        *_wrong_names(files),
        *_misnamed_splits(files),
        *_class_counts(files),
        *_classes_without_photos(root, files),
        *_ignored_files(root),
    ]


def _copies(files: Sequence[Inspected]) -> Iterator[Finding]:
    groups: defaultdict[str, list[Inspected]] = defaultdict(list)
    for file in files:
        if not file.fault:  # two empty files are not copies of a photo
            groups[file.sha256].append(file)
    for group in groups.values():
        if len(group) == 1:
            continue
        names = ", ".join(printable(file.path) for file in group)
        if len({file.split for file in group}) > 1:
            advice = "keep it in one split: a training photo cannot measure the model"
            yield Finding("the same photo in two splits", names, advice)
        if len({file.label for file in group}) > 1:
            yield Finding("the same photo in two classes", names, "keep it in the right class")
        elif len({file.split for file in group}) < len(group):
            yield Finding("the same photo twice in one split", names, "keep one of them")


def _unreadable(files: Sequence[Inspected]) -> Iterator[Finding]:
    for file in files:
        if file.fault:
            found = f"{printable(file.path)}: {file.fault}"
            yield Finding("an unreadable photo", found, "replace or delete it; fit leaves it out")


def _wrong_names(files: Sequence[Inspected]) -> Iterator[Finding]:
    for file in files:
        expected = _FORMAT_BY_SUFFIX.get(file.path.suffix.lower())
        if file.file_format and expected != file.file_format:
            found = f"{printable(file.path)} is a {file.file_format}"
            advice = "rename it; training reads it anyway, by its content"
            yield Finding("a wrong extension", found, advice)
        if printable(file.path) != file.path.as_posix():
            advice = "rename it; training reads the photo anyway, but refuses such class names"
            yield Finding("a name that is not UTF-8", printable(file.path), advice)


def _misnamed_splits(files: Sequence[Inspected]) -> Iterator[Finding]:
    splits = {file.split for file in files}
    for split in sorted(splits & _MISNAMED.keys()):
        if _MISNAMED[split] not in splits:
            advice = f"rename it {_MISNAMED[split]}"
            yield Finding("a split that fit does not read", split, advice)


def _classes_without_photos(root: Path, files: Sequence[Inspected]) -> Iterator[Finding]:
    folders = {(file.split, file.label) for file in files}
    for split, label in sorted(folders - {(f.split, f.label) for f in files if not f.fault}):
        found = f"no photo of {split}/{label} is readable"
        yield _lacking(split, found, "replace them, or remove the class everywhere")
    splits, labels = {file.split for file in files}, {file.label for file in files}
    for folder in empty_class_folders(root, {"train", *splits}):
        split, label = folder.parent.name, printable(Path(folder.name))
        if split in splits and label in labels:
            continue  # `_class_counts` reports it, because another split has the class
        yield _lacking(split, f"{split}/{label} has no photos", advice_for_empty([folder]))


def _lacking(split: str, found: str, advice: str) -> Finding:
    is_train = split == "train"
    kind = "a class that cannot be learned" if is_train else "a class that is not measured"
    return Finding(kind, found, advice)


def _class_counts(files: Sequence[Inspected]) -> Iterator[Finding]:
    counts = Counter((file.split, file.label) for file in files)
    splits, classes = {file.split for file in files}, {file.label for file in files}
    first = "train" if "train" in splits else min(splits)
    trained = {label: counts[first, label] for label in sorted(classes) if counts[first, label]}
    for label in sorted(classes - trained.keys()):
        found = f"{label} is not in {first}"
        yield Finding("a class that cannot be learned", found, f"add photos to {first}/{label}")
    for split, label in sorted(counts):
        if counts[split, label] < TINY_CLASS:
            found = f"{split}/{label} has {counts[split, label]} photos"
            yield Finding("a tiny class", found, f"add photos, at least {TINY_CLASS}")
    for split in sorted(splits - {first}):
        for label in sorted(trained.keys() - {name for at, name in counts if at == split}):
            found = f"{split}/{label} has no photos"
            yield Finding("a class that is not measured", found, "add photos")
    if trained and max(trained.values()) >= IMBALANCE_RATIO * min(trained.values()):
        most, least = max(trained, key=trained.__getitem__), min(trained, key=trained.__getitem__)
        found = (
            f"{first}/{most} has {trained[most] / trained[least]:.1f} times the photos of {least}"
        )
        yield Finding("unequal classes", found, "try fit --class-weights, or add photos")


def _ignored_files(root: Path) -> Iterator[Finding]:
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if not path.is_file() or (len(name.parts) == 3 and is_photo(path)):
            continue
        if len(name.parts) == 1 and not is_photo(path):
            continue  # such as a licence beside the splits
        advice = f"photos are read from SPLIT/CLASS/ and end in {', '.join(sorted(PHOTO_SUFFIXES))}"
        yield Finding("an ignored file", printable(name), advice)


def listed(findings: Sequence[Finding], most: int) -> list[str]:
    """One line per finding, at most `most` of each kind, then how many more there are."""
    if not findings:
        return ["Nothing to fix."]
    lines, kinds = [], Counter(finding.kind for finding in findings)
    so_far: Counter[str] = Counter()
    for finding in findings:
        so_far[finding.kind] += 1
        if so_far[finding.kind] <= most:
            lines.append(f"{finding.kind}: {finding.found}: {finding.advice}")
    for kind, count in kinds.items():
        if count > most:
            lines.append(f"{kind}: {count - most} more; list them with --show {count}")
    lines.append(counted(len(findings)))
    return lines


def counted(findings: int) -> str:
    return "1 finding" if findings == 1 else f"{findings} findings"
