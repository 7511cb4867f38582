"""Every finding of `inspect`, provoked on a drawn folder of photos that is otherwise in order."""

import shutil

import pytest

from tests.decoding import four_corners, with_exif
from tests.drawn import encoded, picture
from tests.photo_folder import write_photo, write_photos
from train.__main__ import main
from train.evaluate.inspection import overview
from train.photos.collection import collect
from train.photos.findings import Finding, find_all
from train.reading import DataConfig


@pytest.fixture(scope="module")
def tidy(tmp_path_factory):
    """Twelve photos a class and split, none of them twice."""
    return write_photos(tmp_path_factory.mktemp("tidy") / "data", 12)


@pytest.fixture
def folder(tidy, tmp_path):
    """A copy of the tidy folder to spoil."""
    return shutil.copytree(tidy, tmp_path / "data")


def read(folder):
    return collect(DataConfig(folder, cache=folder.with_name("cache")))


def found_in(folder) -> list[Finding]:
    return find_all(read(folder))


def the_finding(folder) -> Finding:
    (finding,) = found_in(folder)
    return finding


def test_a_tidy_folder_has_nothing_to_fix(tidy, capsys):
    assert main(["inspect", "--data", str(tidy), "--strict"]) == 0
    assert "Nothing to fix" in capsys.readouterr().out


def test_photos_are_counted_by_split_and_class(tidy):
    lines = [line.split() for line in overview(read(tidy))]
    assert lines[:5] == [
        ["photos", "train", "validation"],
        ["blue", "12", "12"],
        ["green", "12", "12"],
        ["red", "12", "12"],
        ["all", "36", "36"],
    ]


def test_sizes_are_given_as_smallest_median_and_largest(folder):
    write_photo(folder / "train/red/wide.jpg", width_px=640, height_px=20)
    text = "\n".join(overview(read(folder)))
    assert "width: 60 to 640 pixels, median 60" in text
    assert "height: 20 to 80 pixels, median 80" in text


def test_rotated_photos_are_counted_but_are_not_a_finding(folder):
    lying = picture()
    exif = lying.getexif()
    exif[0x0112] = 6
    (folder / "train/red/lying.jpg").write_bytes(encoded(lying, exif=exif))
    assert "EXIF orientation: 1 " in "\n".join(overview(read(folder)))
    assert found_in(folder) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [  # of what is cut short, Pillow raises a struct.error; of the other block, it warns
        ("a.png", encoded(four_corners(), "PNG", exif=b"Exif\0\0MM\0*\0\xa0")),
        ("a.jpg", with_exif(b"Exif\0\0MM\0*\0\0\0\x08\0\x05")),
    ],
    ids=["cut short", "damaged"],
)
def test_a_photo_with_damaged_exif_is_taken_as_serving_takes_it(folder, name, content, capsys):
    file = folder / "train/red" / name
    file.write_bytes(content)
    assert found_in(folder) == []
    assert main(["inspect", "--image", str(file)]) == 0
    assert "48 x 32 pixels, upright" in capsys.readouterr().out


def test_the_same_photo_in_two_splits_is_found_under_another_name(folder):
    shutil.copy(folder / "train/red/3.jpg", folder / "validation/red/other.jpg")
    finding = the_finding(folder)
    assert finding.kind == "the same photo in two splits"
    assert finding.found == "train/red/3.jpg, validation/red/other.jpg"


def test_the_same_photo_twice_in_a_class_is_found(folder):
    shutil.copy(folder / "train/red/3.jpg", folder / "train/red/again.jpg")
    assert the_finding(folder).kind == "the same photo twice in one split"


def test_the_same_photo_in_two_classes_is_found(folder):
    shutil.copy(folder / "train/red/3.jpg", folder / "train/blue/red.jpg")
    assert the_finding(folder).kind == "the same photo in two classes"


@pytest.mark.parametrize("content", [b"", b"no photo", encoded(picture())[:400]])
def test_an_unreadable_photo_is_named_with_its_fault(folder, content):
    (folder / "train/red/broken.jpg").write_bytes(content)
    finding = the_finding(folder)
    assert finding.kind == "an unreadable photo"
    assert finding.found.startswith("train/red/broken.jpg: it is")


def test_two_empty_files_are_unreadable_and_not_the_same_photo(folder):
    for split in ("train", "validation"):
        (folder / split / "red/empty.jpg").write_bytes(b"")
    assert [finding.kind for finding in found_in(folder)] == ["an unreadable photo"] * 2


def test_a_png_that_is_called_jpg_has_a_wrong_extension(folder):
    (folder / "train/red/called.jpg").write_bytes(encoded(picture(), "PNG"))
    finding = the_finding(folder)
    assert finding.kind == "a wrong extension"
    assert finding.found == "train/red/called.jpg is a PNG"


@pytest.mark.parametrize(
    ("name", "file_format"),
    [("a.JPEG", "JPEG"), ("a.png", "PNG"), ("a.webp", "WEBP"), ("a.tif", "TIFF"), ("a.bmp", "BMP")],
)
def test_each_formats_own_extension_is_right(folder, name, file_format):
    (folder / "train/red" / name).write_bytes(encoded(picture(width_px=61), file_format))
    assert found_in(folder) == []


def test_a_phones_jpeg_of_several_views_is_a_jpeg(folder):
    views = {"save_all": True, "append_images": [picture("blue")]}
    (folder / "train/red/views.jpg").write_bytes(encoded(picture(), "MPO", **views))
    assert found_in(folder) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("train/red/notes.txt", "not a photo"),
        ("train/photo.jpg", "outside class folders"),
        ("photo.jpg", "outside class folders"),
    ],
)
def test_an_ignored_file_is_named_with_the_reason(folder, name, reason):
    (folder / name).write_text("no photo")
    finding = the_finding(folder)
    assert finding.kind == "an ignored file"
    assert finding.found == f"{name} ({reason})"


def test_a_licence_beside_the_splits_is_no_finding(folder):
    (folder / "LICENSE").write_text("free")
    assert found_in(folder) == []


def test_a_class_of_fewer_than_ten_photos_is_tiny(folder):
    for number in range(3):
        (folder / f"validation/red/{number}.jpg").unlink()
    finding = the_finding(folder)
    assert finding.kind == "a tiny class"
    assert finding.found == "validation/red has 9 photos"


def test_a_class_three_times_another_is_unequal(folder):
    for number in range(24):
        write_photo(folder / f"train/red/more-{number}.jpg")
    finding = the_finding(folder)
    assert finding.kind == "unequal classes"
    assert finding.found == "train/red has 3.0 times the photos of blue"
    assert "--class-weights" in finding.advice


def test_a_class_without_training_photos_cannot_be_learned(folder):
    shutil.rmtree(folder / "train/red")
    assert the_finding(folder).kind == "a class that cannot be learned"


def test_a_class_without_validation_photos_is_not_measured(folder):
    shutil.rmtree(folder / "validation/red")
    finding = the_finding(folder)
    assert (finding.kind, finding.found) == (
        "a class that is not measured",
        "validation/red has no photos",
    )


def test_an_empty_class_folder_cannot_be_learned(folder):
    (folder / "train/mauve").mkdir()
    finding = the_finding(folder)
    assert (finding.kind, finding.found) == (
        "a class that cannot be learned",
        "train/mauve has no photos",
    )
    lines = [line.split() for line in overview(read(folder))]
    assert ["mauve", "0", "0"] in lines


def test_an_emptied_class_is_named_once_in_each_split(folder):
    for photo in folder.glob("*/red/*"):
        photo.unlink()
    assert [(finding.kind, finding.found) for finding in found_in(folder)] == [
        ("a class that cannot be learned", "train/red has no photos"),
        ("a class that is not measured", "validation/red has no photos"),
    ]
    write_photo(folder / "train/red/one.jpg")
    kinds = [f.kind for f in found_in(folder)]
    assert kinds.count("a class that is not measured") == 1


def test_findings_are_printed_one_a_line_and_fail_only_when_strict(folder, capsys):
    (folder / "train/red/broken.jpg").write_bytes(b"no photo")
    assert main(["inspect", "--data", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "passed over: 1 unreadable" in lines
    assert lines[-2].startswith("an unreadable photo: train/red/broken.jpg: ")
    assert lines[-1] == "1 finding"
    assert main(["inspect", "--data", str(folder), "--strict"]) == 1
    assert "--strict allows none" in capsys.readouterr().err


def test_many_findings_of_a_kind_are_counted(folder, capsys):
    for number in range(5):
        (folder / f"train/red/broken-{number}.jpg").write_bytes(b"no photo %d" % number)
    assert main(["inspect", "--data", str(folder), "--show", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("an unreadable photo: train/") == 2
    assert "an unreadable photo: 3 more; list them with --show 5" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--data DIR, or --image FILE"),
        (["--data", "nowhere"], "--data nowhere is not a folder"),
        (["--image", "nowhere.jpg"], "nowhere.jpg cannot be read"),
        (["--image", "a.jpg", "--input-px", "0"], "--input-px takes a number 1 or more; found 0"),
    ],
)
def test_a_wrong_command_says_what_it_takes(flags, message, capsys):
    assert main(["inspect", *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_a_photo_is_named(tmp_path, capsys):
    notes = tmp_path / "notes.md"
    notes.write_text("no photo")
    assert main(["inspect", "--image", str(notes)]) == 2
    assert capsys.readouterr().err.startswith(f"train inspect: {notes}: These 8 bytes are not")


def test_an_empty_folder_says_where_photos_are_looked_for(tmp_path, capsys):
    assert main(["inspect", "--data", str(tmp_path)]) == 2
    assert "no photos and no class folders" in capsys.readouterr().err


def test_a_photo_is_shown_as_an_array_and_as_the_networks_input(tmp_path, capsys):
    two = picture(width_px=3, height_px=2)
    two.putdata([(0, 10, 20)] * 5 + [(255, 70, 80)])
    file = tmp_path / "two.png"
    file.write_bytes(encoded(two, "PNG"))
    assert main(["inspect", "--image", str(file), "--input-px", "32"]) == 0
    out = capsys.readouterr().out
    assert "PNG, mode RGB, 3 x 2 pixels, upright" in out
    assert "shape (2, 3, 3), uint8, values 0 to 255" in out
    assert "mean of red, green, blue: 42.500, 20.000, 30.000" in out
    assert "top left pixel: (0, 10, 20)" in out
    assert "bottom right pixel: (255, 70, 80)" in out
    assert "shape (1, 3, 32, 32), float32" in out


def test_a_photo_on_its_side_is_shown_upright(tmp_path, capsys):
    lying = picture(width_px=90, height_px=30)
    exif = lying.getexif()
    exif[0x0112] = 6
    file = tmp_path / "lying.jpg"
    file.write_bytes(encoded(lying, exif=exif))
    assert main(["inspect", "--image", str(file)]) == 0
    out = capsys.readouterr().out
    assert "rotated to upright (EXIF 6)" in out
    assert "shape (90, 30, 3)" in out
