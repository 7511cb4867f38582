"""Folders of photos as people have them, drawn tiny: name, how it is made, and what comes of it."""

import os
import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.drawn import encoded, picture
from tests.photo_folder import TWO, flat, in_splits, photos, with_flat, write_photo


@dataclass(frozen=True, slots=True)
class Shape:
    """A folder, and what is to be said of it.

    Attributes:
        draw: makes it in an empty folder.
        taken: photos of train, validation and test; None if it is refused.
        passed: what the line on passed-over files says.
        refused: a part of the sentence, with the name that is at fault.
        says: another line that inspect prints.
        trained_on: photos of validation that are copies of photos of train; no report has them.
        flags: for inspect and build; DIR stands for the folder.
        built_quickly: whether the fast tests build it, too; they refuse every one that is refused.
    """

    name: str
    draw: Callable[[Path], object]
    taken: tuple[int, int, int] | None = None
    passed: str = ""
    refused: str = ""
    says: str = ""
    trained_on: int = 0
    flags: tuple[str, ...] = ()
    built_quickly: bool = False


def vehicles(root: Path) -> None:
    for colour, name in (("blue", "train"), ("red", "bus"), ("green", "car")):
        photos(root / name, 10, colour)


def nested(root: Path) -> None:
    for name in TWO:
        photos(root / name, 5, name)
        photos(root / name / "session2" / "morning", 5, name)


def splits_in_classes(root: Path) -> None:
    for name in TWO:
        photos(root / name / "train", 8, name)
        photos(root / name / "Valid", 3, name)


def leftovers(root: Path) -> None:
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".Trash-1000"):
        photos(root / name, 2, "green")
        photos(root / "red" / name, 1, "red")
    (root / "red" / "._0.jpg").write_bytes(b"of a Mac")
    (root / "red" / "Thumbs.db").write_bytes(b"of Windows")


def linked(root: Path) -> None:
    outside = root.with_name("elsewhere")
    photos(outside / "reds", 9, "red")
    photos(root / "blue", 9, "blue")
    (root / "red").symlink_to(outside / "reds")
    (root / "blue" / "9.jpg").symlink_to(write_photo(outside / "one.jpg", "blue", width_px=32))
    write_photo(outside / "reds" / "9.jpg", "red", width_px=32)


def circular(root: Path) -> None:
    (root / "red" / "self").symlink_to(root / "red")
    (root / "red" / "up").symlink_to(root)
    (root / "red" / "gone.jpg").symlink_to("nowhere.jpg")


def accents(root: Path) -> None:
    forms: tuple[tuple[Literal["NFC", "NFD"], int], ...] = (("NFC", 0), ("NFD", 6))
    for form, first in forms:
        for number in range(first, first + 6):
            name = unicodedata.normalize(form, "café noir")
            write_photo(root / name / f"{number}.jpg", "red", width_px=32)
    photos(root / "blue", 12, "blue")


def endings(root: Path) -> None:
    for number, name in enumerate(("a.jpe", "b.jfif", "c.JPEG", "d", "e.txt", "f.png")):
        write_photo(root / "red" / name, "red", width_px=32 + number)
    (root / "red" / "g.jpg").write_bytes(encoded(picture("red", width_px=40, seed=5), "PNG"))
    (root / "red" / "notes.txt").write_text("no photo")


def damaged(root: Path) -> None:
    (root / "red" / "cut.jpg").write_bytes(encoded(picture("red"))[:500])
    (root / "red" / "empty.jpg").write_bytes(b"")


def zipped(root: Path) -> None:
    with zipfile.ZipFile(root / "photos.zip", "w") as file:
        file.writestr("red/1.jpg", "")


def zip_in_class(root: Path) -> None:
    (root / "mauve").mkdir()
    zipped(root / "mauve")


def emptied(*names: str) -> Callable[[Path], object]:
    def add(root: Path) -> None:
        for name in names:
            for file in (root / name).rglob("*.jpg"):
                file.write_bytes(b"no photo " + os.fsencode(file))

    return add


def table(*columns: str, separator: str = ",", name: str = "labels.csv", groups: int = 0):
    """Photos in one folder and a table of them; three of ten are validation if it has splits."""

    def draw(root: Path) -> None:
        lines = [separator.join(columns)]
        for label in TWO:
            for number in range(10):
                photo = write_photo(root / "all" / f"{label}{number}.jpg", label, width_px=32)
                cells = [photo.relative_to(root).as_posix(), label]
                cells += ["val" if number < 3 else "TRAIN"] if "split" in columns else []
                cells += [f"{label}-{number % groups}"] if groups else []
                lines.append(separator.join(cells))
        (root / name).write_text("\n".join(lines) + "\n")

    return draw


def table_of(text: str) -> Callable[[Path], object]:
    def draw(root: Path) -> None:
        flat(root)
        (root / "labels.csv").write_text(text)

    return draw


def in_groups(root: Path) -> None:
    for name in TWO:
        for number in range(12):
            person = f"{name}p{number % 4}"
            write_photo(root / name / f"{person}_{number}.jpg", name, width_px=32)


def leaking_groups(root: Path) -> None:
    in_splits(train=6, validation=3)(root)
    for split in ("train", "validation"):
        write_photo(root / split / "red" / "anna_1.jpg", "red", width_px=32)


def no_test(root: Path) -> None:
    in_splits(train=6, validation=3)(root)
    (root / "test/red").mkdir(parents=True)


def a_copy(root: Path) -> None:
    in_splits(train=6, validation=3)(root)
    shutil.copy(root / "train/red/0.jpg", root / "validation/red/copy.jpg")


TABLE = ("--table", "DIR/labels.csv")

SHAPES = (
    Shape("flat", flat, (12, 4, 4), says="divided by class", built_quickly=True),
    Shape("train and validation", in_splits(train=6, validation=3), (12, 6, 0)),
    Shape("three splits", in_splits(train=6, validation=3, test=2), (12, 6, 4)),
    Shape("Training, Testing", in_splits(Training=8, Testing=2), (14, 2, 4)),
    Shape("TRAIN, dev, Eval", in_splits(TRAIN=6, dev=2, Eval=2), (12, 4, 4)),
    Shape("train, valid", in_splits(train=6, valid=2), (12, 4, 0)),
    Shape("only train", in_splits(train=10), (16, 4, 0), says="divided by class"),
    Shape("vehicles, one of them a train", vehicles, (18, 6, 6)),
    Shape("nested", nested, (12, 4, 4)),
    Shape("splits inside classes", splits_in_classes, (16, 6, 0)),
    Shape("leftovers", with_flat(leftovers), (12, 4, 4), passed="10 hidden", built_quickly=True),
    Shape("links to elsewhere", linked, (12, 4, 4)),
    Shape("links in circles", with_flat(circular), (12, 4, 4), passed="2 circular, 1 dangling"),
    Shape("accents in two forms", accents, (16, 4, 4)),
    Shape("odd endings", with_flat(endings), (17, 5, 5), passed="1 .txt"),
    Shape("damaged photos", with_flat(damaged), (12, 4, 4), passed="2 unreadable"),
    Shape(
        "names in two cases",
        with_flat(lambda root: photos(root / "Red", 10, "green")),
        (18, 6, 6),
        says="classes whose names differ only in case: Red, red",
    ),
    Shape(
        "a class of one photo",
        with_flat(lambda root: photos(root / "green", 1, "green")),
        (13, 4, 4),
        says="green has one photo",
    ),
    Shape(
        "photos beside the classes",
        with_flat(lambda root: photos(root, 3, "red")),
        (12, 4, 4),
        passed="3 outside class folders",
    ),
    Shape(
        "a folder beside the splits",
        lambda root: (in_splits(train=6, val=3)(root), photos(root / "extra", 3, "red"))[0],
        (12, 6, 0),
        passed="1 beside the splits",
    ),
    Shape("a copy in two splits", a_copy, (12, 7, 0), says="same photo in two", trained_on=1),
    Shape("an empty test split", no_test, (12, 6, 0), says="test has no readable photo"),
    Shape("a table", table("path", "label"), (12, 4, 4), flags=TABLE, built_quickly=True),
    Shape("a table with splits", table("File Name", "class", "split"), (14, 6, 0), flags=TABLE),
    Shape(
        "a TSV with groups",
        table("image", "category", "patient_id", separator="\t", name="l.tsv", groups=5),
        (12, 4, 4),
        flags=("--table", "DIR/l.tsv"),
    ),
    Shape(
        "a table of photos that are gone",
        table_of("path,label\nblue/0.jpg,a\nblue/1.jpg,a\nred/0.jpg,b\nred/1.jpg,b\nx.jpg,b\n"),
        (2, 2, 0),
        passed="1 without a file",
        flags=TABLE,
    ),
    Shape("groups in names", in_groups, (12, 6, 6), flags=("--group-by", r"/(\w+)_")),
    # What is refused, with the way out.
    Shape("nothing", lambda root: None, refused="no photos and no class folders"),
    Shape("one class", lambda root: photos(root / "red", 3, "red"), refused="one class, red"),
    Shape("no classes", lambda root: photos(root, 3, "red"), refused="3 photos and no class"),
    Shape(
        "splits without classes",
        lambda root: (photos(root / "train", 3, "red"), photos(root / "test", 3, "red"))[0],
        refused="/CLASS/, or give their labels in a table",
    ),
    Shape("a level too high", lambda root: flat(root / "dataset"), refused="DIR/dataset"),
    Shape(
        "splits a level too high",
        lambda root: in_splits(train=3, val=2)(root / "data"),
        refused="--data DIR/data",
    ),
    Shape("a zip", zipped, refused="unpack photos.zip"),
    Shape("a zip in a class", with_flat(zip_in_class), refused="mauve has no photos: unpack"),
    Shape(
        "an empty class",
        with_flat(lambda root: (root / "mauve").mkdir()),
        refused="mauve has no photos: put photos into it",
    ),
    Shape("an unreadable class", with_flat(emptied("red")), refused="no photo of red is readable"),
    Shape("only test", in_splits(test=3), refused="no photos to train on, only test"),
    Shape(
        "a class that train lacks",
        lambda root: (
            in_splits(train=6, validation=3)(root),
            photos(root / "validation/Red", 2, "red"),
        )[0],
        refused="Red is not in train: rename it red",
    ),
    Shape(
        "a group in two splits",
        leaking_groups,
        refused="the group anna is in train and validation",
        flags=("--group-by", r"(\w+)_\d"),
    ),
    Shape(
        "a group that is in no name",
        flat,
        refused="--group-by person matches no path",
        flags=("--group-by", "person"),
    ),
    Shape("no header", table_of("red/0.jpg,red\n"), refused="no column path", flags=TABLE),
    Shape(
        "two labels",
        table_of("path,label\nred/0.jpg,a\nred/0.jpg,b\n"),
        refused="red/0.jpg has two labels, a in line 2 and b in line 3",
        flags=TABLE,
    ),
    Shape(
        "an unknown split",
        table_of("path,label,split\nred/0.jpg,a,third\n"),
        refused="line 2 has the split third",
        flags=TABLE,
    ),
    Shape(
        "a table of other photos",
        table_of("path,label\nx.jpg,a\n"),
        refused="no row has its file; the first, x.jpg, would be DIR/x.jpg",
        flags=TABLE,
    ),
    Shape("strict", with_flat(damaged), refused="passed over: 2 unreadable", flags=("--strict",)),
)
