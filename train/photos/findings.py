"""A collection of photos in; what to fix before training, and what stops it, out.

`inspect` prints every finding. `fit`, `sweep` and `build` print those that matter for the result,
and stop at the same ones, in the same words.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.images.formats import FORMATS
from train.photos.collection import Collection, PhotoFile
from train.photos.contents import Looks
from train.photos.folders import advice_for_empty, ending, is_photo, printable
from train.reading import FULL_RANGE

# With fewer photos a class is hard to learn and to measure: if all of nine are right, the 95 %
# interval of the recall still begins at 0.70.
TINY_CLASS = 10
# From this ratio on, weighting the classes is worth a try.
IMBALANCE_RATIO = 3.0

# Photos whose values are in a smaller share of the range are told: of 12 bits that are saved in 16,
# at most 16 of 256 grey levels are left. Scans of low contrast have more, enough to learn from.
_SLIVER = 1 / 15

_FORMAT_BY_SUFFIX = {suffix: known.name for known in FORMATS for suffix in known.suffixes} | {
    ".jpe": "JPEG",
    ".jfif": "JPEG",
}


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


def find_all(collection: Collection) -> list[Finding]:
    """Every finding, those that stop a training first."""
    found = [
        *_splits_and_classes(collection),
        *_groups(collection.files),
        *_copies(collection),
        *_unreadable(collection.files),
        *_wrong_names(collection),
        *_class_counts(collection),
        *_not_measured(collection),
        *_ranges(collection),
        *_passed_over(collection),
    ]
    return sorted(found, key=lambda finding: not finding.stops)


def _splits_and_classes(collection: Collection) -> Iterator[Finding]:
    """What is missing: a split, a class, or every readable photo of one."""
    files, splits = collection.files, collection.splits
    root = printable(collection.root)
    readable = {(file.split, file.label) for file in files if not file.fault}
    if "train" not in splits:
        found = f"no photos to train on, only {' and '.join(splits)}"
        yield Finding("no training photos", found, f"put some into {root}/train/CLASS/", stops=True)
        return
    train = {label for split, label in readable if split == "train"}
    own = "" if "train" in collection.made else "train/"
    labels = sorted(
        {label for split, label in collection.folders if split in ("", "train")}
        | {file.label for file in files if file.split in ("", "train")}
    )
    kind = "a class that cannot be learned"
    for label in labels:
        if label in train:
            continue
        if any(file.label == label and file.split in ("", "train") for file in files):
            found = f"no photo of {own}{label} is readable"
            advice = "replace them, or remove the class"
        else:
            found, advice = f"{own}{label} has no photos", _instead_of_nothing(collection, label)
        yield Finding(kind, found, advice, stops=True)
    for label in sorted({file.label for file in files} - set(labels)):
        alike = [each for each in labels if each.casefold() == label.casefold()]
        advice = f"rename it {alike[0]}" if alike else f"add photos to {root}/train/{label}"
        yield Finding(kind, f"{label} is not in train", advice, stops=True)
    if len(labels) < 2:
        yield _one_class(collection, labels)
    for split in splits:
        if split != "train" and not any(at == split for at, _ in readable):
            found, advice = f"{split} has no readable photo", f"add some to {root}/{split}/CLASS/"
            if split in collection.made:
                found, advice = f"there are too few photos for {split}", "add photos to each class"
            yield Finding("a split without photos", found, advice, stops=split == "validation")


def _instead_of_nothing(collection: Collection, label: str) -> str:
    if collection.config.table:
        return "add some, or remove its rows"
    folders = collection.folders
    return advice_for_empty(folders.get(("train", label)) or folders["", label])


def _one_class(collection: Collection, labels: Sequence[str]) -> Finding:
    found = f"there is one class, {labels[0]}" if labels else "there is no class"
    advice = "a classifier needs two"
    folder = collection.folders.get(("", labels[0])) if labels else None
    if folder is not None and not collection.config.table:
        advice += f"; if its folders are the classes, give --data {printable(folder)}"
    return Finding("one class alone", found, advice, stops=True)


def _groups(files: Sequence[PhotoFile]) -> Iterator[Finding]:
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for file in files:
        if file.group and file.split:
            splits[file.group].add(file.split)
    for group, found in splits.items():
        if len(found) > 1:
            where = f"the group {group} is in {' and '.join(sorted(found))}"
            yield Finding("a group in two splits", where, "keep it in one", stops=True)


def _copies(collection: Collection) -> Iterator[Finding]:
    groups: defaultdict[str, list[PhotoFile]] = defaultdict(list)
    for file in collection.files:
        if not file.fault:  # two empty files are not copies of a photo
            groups[file.sha256].append(file)
    for group in groups.values():
        if len(group) == 1:
            continue
        names = ", ".join(printable(file.path) for file in group)
        if len({file.split for file in group}) > 1:
            advice = "keep it in one split: a training photo cannot measure the model"
            yield Finding("the same photo in two splits", names, advice, told=True)
        if len({file.label for file in group}) > 1:
            yield Finding(
                "the same photo in two classes", names, "keep it in the right class", told=True
            )
        elif len({file.split for file in group}) < len(group):
            yield Finding("the same photo twice in one split", names, "keep one of them")
    yield from _near_copies([group[0] for group in groups.values() if group[0].facts.thumbnail])


def _near_copies(files: Sequence[PhotoFile]) -> Iterator[Finding]:
    """Photos of train of which another split has a near-copy."""
    train = [file for file in files if file.split == "train"]
    others = [file for file in files if file.split not in ("train", "")]
    if not train or not others:
        return
    looks, others_looks = (Looks([f.facts.thumbnail for f in some]) for some in (train, others))
    for other, found in looks.nearest(others_looks).items():
        names = f"{printable(train[found].path)}, {printable(others[other].path)}"
        advice = "look at both; if they show the same, keep them in one split"
        yield Finding("nearly the same photo in two splits", names, advice, told=True)


def _unreadable(files: Sequence[PhotoFile]) -> Iterator[Finding]:
    for file in files:
        if file.fault:
            found = f"{printable(file.path)}: {file.fault}"
            yield Finding("an unreadable photo", found, "training leaves it out", told=True)


def _wrong_names(collection: Collection) -> Iterator[Finding]:
    for file in collection.files:
        expected = _FORMAT_BY_SUFFIX.get(file.path.suffix.lower())
        if file.facts.file_format and expected != file.facts.file_format:
            found = f"{printable(file.path)} is a {file.facts.file_format}"
            advice = "rename it; training reads it anyway, by its content"
            yield Finding("a wrong extension", found, advice)
        if printable(file.path) != file.path.as_posix():
            advice = "rename it; training reads the photo anyway, but refuses such class names"
            yield Finding("a name that is not UTF-8", printable(file.path), advice)
    same: defaultdict[str, set[str]] = defaultdict(set)
    for file in collection.files:
        same[" ".join(file.label.casefold().split())].add(file.label)
    for labels in same.values():
        if len(labels) > 1:
            advice = "they are trained as different classes; if they are one, rename them"
            found = ", ".join(sorted(labels))
            yield Finding("classes whose names differ only in case", found, advice, told=True)


def _class_counts(collection: Collection) -> Iterator[Finding]:
    counts = Counter((f.split, f.label) for f in collection.files if f.split and not f.fault)
    trained = {label: n for (split, label), n in sorted(counts.items()) if split == "train"}
    made = set(collection.made)
    divided = made | ({"train"} if made else set())
    whole = Counter(file.label for file in collection.files if file.split in divided)
    tiny = {("", label): count for label, count in whole.items()}
    tiny |= {place: count for place, count in counts.items() if place[0] not in divided}
    for (split, label), count in sorted(tiny.items()):
        if count < TINY_CLASS:
            name = f"{split}/{label}" if split else label
            found = f"{name} has {count} photos" if count > 1 else f"{name} has one photo"
            advice = f"add photos, at least {TINY_CLASS}"
            yield Finding("a tiny class", found, advice, told=count == 1 and split in ("", "train"))
    if trained and max(trained.values()) >= IMBALANCE_RATIO * min(trained.values()):
        most, least = max(trained, key=trained.__getitem__), min(trained, key=trained.__getitem__)
        found = f"train/{most} has {trained[most] / trained[least]:.1f} times the photos of {least}"
        yield Finding("unequal classes", found, "try fit --class-weights, or add photos")


def _not_measured(collection: Collection) -> Iterator[Finding]:
    """Classes without a readable photo in validation or test."""
    there = {(file.split, file.label) for file in collection.files}
    readable = {(file.split, file.label) for file in collection.files if not file.fault}
    known = there | set(collection.folders)
    for split in collection.splits:
        if split == "train" or (split == "test" and split in collection.made):
            continue  # a class of three photos has none in a test split that was made
        labels = {label for at, label in known if at == split}
        labels |= {label for at, label in readable if at == "train"}
        for label in sorted(labels - {label for at, label in readable if at == split}):
            found, advice = f"{split}/{label} has no photos", "add photos"
            if (split, label) in there:
                found, advice = f"no photo of {split}/{label} is readable", "replace them"
            yield Finding("a class that is not measured", found, advice, told=True)


def _ranges(collection: Collection) -> Iterator[Finding]:
    """Photos of few grey levels, such as 12 bits that are saved in 16."""
    if collection.config.value_range != FULL_RANGE:
        return
    readable = [file for file in collection.files if not file.fault]
    narrow = [file for file in readable if file.facts.high - file.facts.low < _SLIVER]
    if not narrow:
        return
    share = max(file.facts.high - file.facts.low for file in narrow)
    levels = max(int(file.facts.high * 256) - int(file.facts.low * 256) + 1 for file in narrow)
    photos = "1 photo uses" if len(narrow) == 1 else f"{len(narrow)} photos use"
    found = (
        f"{photos} at most {share:.2%} of the range of values, such as "
        f"{printable(narrow[0].path)}: {levels} of 256 grey levels are left"
    )
    advice = "look at them; they may be blank"
    if 2 * len(narrow) > len(readable):
        advice = "stretch their own range to the whole, --value-range data"
    yield Finding("pictures that use little of their range", found, advice, told=True)


def _passed_over(collection: Collection) -> Iterator[Finding]:
    for each in collection.passed:
        if each.reason == "hidden":
            continue
        name = each.path
        if name.is_relative_to(collection.root):
            name = name.relative_to(collection.root)
        advice = "photos are read from CLASS/ or SPLIT/CLASS/, in the formats of docs/images.md"
        reason = (
            "not a photo" if each.reason == ending(name) and not is_photo(name) else each.reason
        )
        yield Finding("an ignored file", f"{printable(name)} ({reason})", advice)


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
