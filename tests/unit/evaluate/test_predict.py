"""Predictions on the command line: by an ONNX file, by a run, and by a pretrained network."""

import os
import re

import pytest
import torch

from serving.images.decode import decode
from serving.model.preprocess import Preprocessor
from tests.drawn import encoded, picture
from tests.photo_folder import write_photo
from tests.tiny_model import write_tiny_model
from train.__main__ import main
from train.config import DataConfig, FitConfig, NetworkConfig
from train.networks.imagenet import open_pretrained
from train.networks.transfer import build
from train.photos.manifest import Manifest
from train.runs.folder import MODEL
from train.runs.model import save_model


@pytest.fixture
def photo(tmp_path):
    return write_photo(tmp_path / "photo.jpg", "red")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run's folder whose network has random weights."""
    folder = tmp_path_factory.mktemp("run")
    network = NetworkConfig(backbone="mobilenet_v3_small", weights="none", input_px=32)
    config = FitConfig(out=folder, data=DataConfig(folder), network=network)
    torch.manual_seed(0)
    whole = build(network, 2)
    save_model(config, Manifest(folder, ("hat", "shoe"), ()), whole, whole, {})
    assert (folder / MODEL).is_file()
    return folder


def shown(text: str) -> list[tuple[float, str]]:
    """The (probability, label) lines of a prediction."""
    found = re.findall(r"^ +(\d\.\d{4}) +(.+)$", text, re.MULTILINE)
    return [(float(number), label) for number, label in found]


def test_an_onnx_file_names_each_photo_with_its_likeliest_classes(tmp_path, photo, capsys):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    other = write_photo(tmp_path / "other.jpg", "green")
    assert main(["predict", str(model), str(photo), str(other), "--top-k", "1"]) == 0
    out = capsys.readouterr().out
    assert [label for _, label in shown(out)] == ["red", "green"]
    assert out.splitlines()[0] == str(photo)


def test_an_answer_below_the_contracts_threshold_is_marked_unsure(tmp_path, photo, capsys):
    model = write_tiny_model(tmp_path / "tiny.onnx", temperature=500.0, unsure_below=0.5)
    assert main(["predict", str(model), str(photo)]) == 0
    assert f"{photo}: unsure, below 0.5" in capsys.readouterr().out


def test_a_run_predicts_without_being_exported(run_folder, photo, capsys):
    assert main(["predict", str(run_folder), str(photo)]) == 0
    answers = shown(capsys.readouterr().out)
    assert sorted(label for _, label in answers) == ["hat", "shoe"]
    assert sum(probability for probability, _ in answers) == pytest.approx(1, abs=2e-4)


def test_a_pretrained_network_names_five_of_imagenets_classes(photo, capsys):
    torch.manual_seed(0)
    flags = ["--backbone", "mobilenet_v3_small", "--weights", "none"]
    assert main(["predict", *flags, str(photo)]) == 0
    answers = shown(capsys.readouterr().out)
    categories = open_pretrained("mobilenet_v3_small", "none").contract.classes
    assert len(answers) == 5
    assert {label for _, label in answers} <= set(categories)


def test_a_pretrained_network_answers_from_servings_own_preprocessing(tmp_path):
    from torchvision.models import mobilenet_v3_small

    torch.manual_seed(0)
    network = mobilenet_v3_small(weights=None)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = open_pretrained("mobilenet_v3_small", str(tmp_path / "weights.pth"))
    upright = decode(encoded(picture()), max_pixels=10_000)
    batch = Preprocessor(model.contract.preprocess)(upright)
    assert batch.shape == (1, 3, 224, 224)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(batch)).numpy()
    assert model.infer(batch).logits == pytest.approx(expected)


def test_a_backbone_brings_the_input_size_that_it_was_trained_at():
    assert open_pretrained("inception_v3", "none").contract.preprocess.height_px == 299


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "Give a model and at least one image"),
        (["model.onnx"], "Give a model and at least one image"),
        (["nowhere.onnx", "photo.jpg"], "neither a run's folder nor an ONNX file"),
        (["--backbone", "mobilenet_v2"], "Give at least one image"),
        (["--backbone", "nosuch", "a.jpg"], "--backbone nosuch is not one of torchvision's"),
        (["--backbone", "alexnet", "--weights", "nosuch", "a.jpg"], "--weights nosuch is neither"),
        (["a.onnx", "a.jpg", "--weights", "none"], "--weights goes with --backbone"),
        (["a.onnx", "a.jpg", "--top-k", "0"], "--top-k takes a number 1 or more; found 0"),
    ],
)
def test_a_wrong_command_says_what_it_takes(flags, message, capsys):
    assert main(["predict", *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_photo_is_refused_in_one_line(tmp_path, capsys):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    text = tmp_path / "notes.jpg"
    text.write_text("no photo")
    assert main(["predict", str(model), str(text)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"train predict: {text}: ")
    assert "not an image in a supported format" in error


def test_a_folder_is_sent_to_the_command_for_folders(tmp_path, capsys):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    assert main(["predict", str(model), str(tmp_path)]) == 2
    assert f"`python -m local classify {tmp_path}`" in capsys.readouterr().err


def test_what_cannot_be_read_is_named_and_the_others_are_answered(tmp_path, photo, capsys):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    notes = tmp_path / "notes.md"
    notes.write_text("no photo")
    other = write_photo(tmp_path / "other.jpg", "green")
    named = [str(photo), str(notes), str(tmp_path / "nowhere.jpg"), str(other)]
    assert main(["predict", str(model), *named, "--top-k", "1"]) == 1
    out, err = capsys.readouterr()
    assert [label for _, label in shown(out)] == ["red", "green"]
    lines = err.splitlines()
    assert lines[0].startswith(f"train predict: {notes}: These 8 bytes are not an image")
    assert lines[1].startswith(f"train predict: {tmp_path / 'nowhere.jpg'} cannot be read")
    assert lines[2] == "train predict: 2 of 4 images could not be read; see above."


@pytest.mark.parametrize("url", ["http://[oops", "https://[::1"])
def test_a_url_that_is_none_is_named_in_one_line(tmp_path, url, capsys):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    assert main(["predict", str(model), url]) == 2
    assert capsys.readouterr().err.startswith(f"train predict: {url} is not a valid URL: ")


def test_a_photo_whose_name_is_not_utf8_is_answered(tmp_path, capsys):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    photo = write_photo(tmp_path / os.fsdecode(b"caf\xe9.jpg"), "red")
    assert main(["predict", str(model), str(photo), "--top-k", "1"]) == 0
    assert [label for _, label in shown(capsys.readouterr().out)] == ["red"]
