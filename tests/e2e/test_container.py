"""The Lambda image: its content and its answers."""

import os
import subprocess
import sys
from pathlib import PurePosixPath

import pytest

from local import backends
from serving.model.classifier import Classifier
from tests.client import send
from tests.e2e.conftest import serving
from tests.e2e.engine import ROOT, missing_engine, run

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_engine()), reason=missing_engine() or "-"),
]
SAMPLE = ROOT / "samples" / "pants.jpg"


@pytest.fixture(scope="module")
def container():
    config = backends.FunctionConfig(dict(os.environ), sys.stderr)
    with serving(backends.start("container", config)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def files(container):
    """Every file of the image's task folder, relative to it."""
    shell = ("docker", "run", "--rm", "--entrypoint", "sh", backends.IMAGE, "-c")
    return [PurePosixPath(p) for p in run(*shell, "cd /var/task && find . -type f").splitlines()]


def test_the_image_classifies_a_raw_body(container):
    answer = send(f"{container.url}/predict", "POST", SAMPLE.read_bytes())
    assert answer.status == 200
    assert answer.json()["predictions"]


def test_the_image_decodes_every_common_format(container):
    from tests.drawn import encoded, picture

    for file_format in ("PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        body = encoded(picture("red"), file_format)
        answer = send(f"{container.url}/predict", "POST", body)
        assert answer.status == 200, (file_format, answer.body)


def test_the_image_holds_the_service_and_its_model(files):
    own = {p for p in files if p.parts[0] in ("lambda_function.py", "serving", "bulk", "model")}
    assert PurePosixPath("lambda_function.py") in own
    assert {p.name for p in own if p.parts[0] == "model"} == {
        "classifier.onnx",
        "classifier.onnx.json",  # which original it was optimised from
    }
    code = {p.as_posix() for p in own if p.suffix == ".py"}
    assert not {p for p in own if p.suffix == ".toml"}
    there = {p.relative_to(ROOT).as_posix() for p in (ROOT / "serving").rglob("*.py")}
    assert code == there | {"lambda_function.py", "bulk/handler.py"}


@pytest.mark.parametrize(
    "name", ["tests", "test", "torch", "torchvision", "train", "onnx", "local"]
)
def test_the_image_has_no_folder_that_serving_does_not_need(files, name):
    assert [p for p in files if name in p.parts[:-1]] == []


def test_the_image_has_no_cache_of_pip():
    shell = ("docker", "run", "--rm", "--entrypoint", "sh", backends.IMAGE, "-c")
    found = run(
        *shell,
        "find / -xdev -path '*/.cache/pip*' -o -xdev -name '*.whl' | grep -v ensurepip || true",
    )
    assert found == ""


def test_the_code_in_the_image_is_compiled(files):
    compiled = {p.name.partition(".")[0] for p in files if p.suffix == ".pyc"}
    assert {"lambda_function", "app", "classifier", "onnxruntime_inference_collection"} <= compiled


def test_the_packages_are_compiled_without_docstrings():
    shell = ("docker", "run", "--rm", "--entrypoint", "python", backends.IMAGE, "-v", "-c")
    code = "import numpy as np, PIL.Image; print(np.linalg.norm.__doc__, PIL.Image.open.__doc__,"
    code += "np.ndarray.reshape.__doc__, np.float32.__doc__)"
    code += "; import lambda_function; print(lambda_function.warm_up.__doc__[:10])"
    command = [*shell, code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    of_packages, own = done.stdout.splitlines()
    assert of_packages == "None None None None"
    assert own.startswith("Infer once")
    # Of what it finds compiled, Python quotes the name; of what it compiles itself, it does not.
    loaded = [line for line in done.stderr.splitlines() if line.startswith("# code object from ")]
    assert any("'/var/task/numpy/" in line for line in loaded)
    assert [line for line in loaded if " /var/task/" in line] == []


def test_the_model_in_the_image_is_optimised_and_keeps_its_version():
    shell = ("docker", "run", "--rm", "--entrypoint", "python", backends.IMAGE, "-c")
    code = "from lambda_function import classifier as c; print(c.is_optimized, c.version)"
    plain = Classifier.load(ROOT / "model" / "classifier.onnx")
    assert run(*shell, code).strip() == f"True {plain.version}"


def test_the_image_can_run_the_bulk_handler_instead():
    shell = ("docker", "run", "--rm", "--entrypoint", "python", backends.IMAGE, "-c")
    code = "from bulk.handler import lambda_handler as h; print(h.__name__)"
    assert run(*shell, code).strip() == "lambda_handler"
