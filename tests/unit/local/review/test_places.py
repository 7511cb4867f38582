"""Where a labelled photo goes in each layout, read back as training reads it."""

from dataclasses import replace
from pathlib import Path

import pytest

from local.errors import ReviewError
from local.review.log import Decision
from local.review.places import Places
from tests.photo_folder import write_photo
from train.photos.folders import list_folder
from train.photos.tables import list_table

NAME = "0123456789abcdef0123456789abcdef.jpg"


def draw(root: Path, *paths: str) -> None:
    for path in paths:
        write_photo(root / path, width_px=8, height_px=8)


def tree(root: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, and every folder."""
    return {
        p.relative_to(root).as_posix(): p.read_bytes() if p.is_file() else None
        for p in root.rglob("*")
    }


def decided(places: Places, label: str) -> Decision:
    name = places.class_named(label)
    file = places.file_for(name, NAME)
    return Decision("0" * 64, "a.jpg", name, file, places.is_new(name, file))


# The files of a folder; where a photo of `red` goes, and one of a class `hat` that is new.
LAYOUTS = {
    "flat": (("blue/0.jpg", "red/0.jpg"), f"red/{NAME}", f"hat/{NAME}"),
    "nested": (("blue/a/0.jpg", "red/b/c/0.jpg"), f"red/{NAME}", f"hat/{NAME}"),
    "splits": (
        ("train/blue/0.jpg", "train/red/0.jpg", "validation/red/1.jpg", "test/red/2.jpg"),
        f"train/red/{NAME}",
        f"train/hat/{NAME}",
    ),
    "other names": (
        ("Training/blue/0.jpg", "Training/red/0.jpg", "val/red/1.jpg"),
        f"Training/red/{NAME}",
        f"Training/hat/{NAME}",
    ),
    "not yet in train": (
        ("train/blue/0.jpg", "valid/red/0.jpg"),
        f"train/red/{NAME}",
        f"train/hat/{NAME}",
    ),
    "splits inside classes": (
        ("blue/train/0.jpg", "blue/test/1.jpg", "red/train/0.jpg", "red/dev/1.jpg"),
        f"red/train/{NAME}",
        f"hat/train/{NAME}",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("label", ["red", "hat"])
def test_a_photo_goes_to_the_training_photos_of_its_class(layout, label, tmp_path):
    files, *wanted = LAYOUTS[layout]
    draw(tmp_path, *files)
    before, old = tree(tmp_path), {e.path for e in list_folder(tmp_path).entries}
    places = Places(tmp_path)
    decision = decided(places, label)
    assert decision.file == wanted[label == "hat"]
    places.put(decision, lambda: b"photo")
    (found,) = [e for e in list_folder(tmp_path).entries if e.path not in old]
    is_split = "split" in layout or "train" in layout or "names" in layout
    assert (found.label, found.split) == (label, "train" if is_split else "")
    assert (tmp_path / found.path).read_bytes() == b"photo"
    assert label in places.classes
    places.remove(decision)
    assert tree(tmp_path) == before


TABLES = {
    "csv": b"path,label\nimages/0.jpg,red\nimages/1.jpg,blue\n",
    "no line end": b"path,label\nimages/0.jpg,red\nimages/1.jpg,blue",
    "windows": b"\xef\xbb\xbffilename;Class;Split\r\n"
    b"images/0;red;Training\r\nimages/1;blue;val\r\n",
    "tsv": b'group\timage id\tnote\tlabel\ng\timages/0.jpg\t"a\tb"\tred\n\timages/1.jpg\t\tblue\n',
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("label", ["red", "a new, one; or two"])
def test_in_a_table_it_is_a_file_beside_the_others_and_a_row(name, label, tmp_path):
    draw(tmp_path, "photos/images/0.jpg", "photos/images/1.jpg")
    root, table = tmp_path / "photos", tmp_path / "labels.csv"
    table.write_bytes(TABLES[name])
    before = tree(tmp_path)
    places = Places(root, table)
    decision = decided(places, label)
    assert decision.file == f"images/{NAME}"
    places.put(decision, lambda: b"photo")
    places.put(decision, lambda: b"another")  # as a restart does: nothing is doubled
    (found,) = [e for e in list_table(root, table).entries if e.path.name == NAME]
    assert (found.label, found.split) == (label, "train" if name == "windows" else "")
    assert len(list_table(root, table).entries) == 3
    assert (root / found.path).read_bytes() == b"photo"
    assert table.read_bytes().startswith(TABLES[name])
    places.remove(decision)
    assert tree(tmp_path).keys() == before.keys()
    assert table.read_bytes().rstrip() == TABLES[name].rstrip()


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", "../x", "/etc", "a/b", "a\\b", "..\\x", "C:", "a\0b", "a\nb"),
        *(".hidden", "__MACOSX", "train", "Validation", "x" * 121, "\u202ered", "a\ud800", "hat."),
        "RED",
    ],
)
def test_a_name_that_is_no_class_is_refused(name, tmp_path):
    draw(tmp_path, "blue/0.jpg", "red/0.jpg")
    before = tree(tmp_path)
    with pytest.raises(ReviewError, match="class"):
        Places(tmp_path).class_named(name)
    assert tree(tmp_path) == before


def test_names_with_accents_are_one_class_in_either_form(tmp_path):
    draw(tmp_path, "blue/0.jpg", "mu\u0308tze/0.jpg")
    places = Places(tmp_path)
    assert places.class_named(" m\u00fctze ") == "m\u00fctze"
    assert places.file_for("m\u00fctze", NAME) == f"mu\u0308tze/{NAME}"


def test_a_class_folder_that_leads_out_of_the_data_is_refused(tmp_path):
    draw(tmp_path, "data/blue/0.jpg", "elsewhere/0.jpg")
    (tmp_path / "data" / "red").symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path / "elsewhere")
    places = Places(tmp_path / "data")
    with pytest.raises(ReviewError, match="outside"):
        places.file_for("red", NAME)
    decision = replace(decided(places, "blue"), file="../elsewhere/x.jpg")  # as a changed log says
    for act in (lambda: places.put(decision, lambda: b"x"), lambda: places.remove(decision)):
        with pytest.raises(ReviewError, match="outside"):
            act()
    assert tree(tmp_path / "elsewhere") == before


def test_a_file_in_the_place_of_a_class_is_named(tmp_path):
    draw(tmp_path, "blue/0.jpg")
    (tmp_path / "hat").write_text("a file")
    with pytest.raises(ReviewError, match=r"hat is a file"):
        decided(Places(tmp_path), "hat")


def test_splits_without_one_to_train_on_are_refused(tmp_path):
    draw(tmp_path, "validation/blue/0.jpg", "test/blue/0.jpg")
    with pytest.raises(ReviewError, match="none to train on"):
        Places(tmp_path)
