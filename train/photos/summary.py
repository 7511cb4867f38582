"""A collection of photos and its findings in; lines to print out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from train.photos.collection import Collection


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to fix: its kind, what was found and where, and what to do.

    Attributes:
        stops: whether no training begins before it is fixed.
        told: whether a training prints it.
    """

    kind: str
    found: str
    advice: str
    stops: bool = False
    told: bool = False


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


def division(collection: Collection) -> list[str]:
    """A line on the splits that were made, if any were, and on what was passed over, if any was."""
    lines = []
    if collection.record is not None:
        counts = Counter(file.split for file in collection.files)
        made = ", ".join(f"{counts[split]:,} {split}" for split in collection.splits)
        lines.append(f"divided by class: {made}; the record is {collection.record}")
    passed = collection.passed_over()
    return [*lines, *([f"passed over: {passed}"] if passed else [])]


def listed(findings: Sequence[Finding], most: int) -> list[str]:
    """One line per finding, at most `most` of each kind, then how many more there are."""
    if not findings:
        return ["Nothing to fix."]
    lines, kinds = [], Counter(finding.kind for finding in findings)
    so_far: Counter[str] = Counter()
    for finding in findings:
        so_far[finding.kind] += 1
        if so_far[finding.kind] <= most:
            lines.append(line(finding))
    for kind, count in kinds.items():
        if count > most:
            lines.append(f"{kind}: {count - most} more; list them with --show {count}")
    lines.append(counted(len(findings)))
    return lines


def line(finding: Finding) -> str:
    return f"{finding.kind}: {finding.found}: {finding.advice}"


def counted(findings: int) -> str:
    return "1 finding" if findings == 1 else f"{findings} findings"
