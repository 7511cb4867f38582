"""What a cold start does not import, and what importing costs; each tried in a new process."""

import base64
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drawn import encoded, picture
from tests.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[3]

# What the service may cost beside ONNX Runtime, which brings numpy. The processor's time is the
# least of a few starts in turns, which a busy machine affects little.
_MODULES_RATIO = 1.8  # 1.55 on Python 3.11: 206 modules to 133
_CPU_TIME_RATIO = 2.5
_ROUNDS = 3


def modules_after(code: str, **environment: str) -> set[str]:
    """The modules that a new process has imported after running some code."""
    script = f"import json, sys\n{code}\njson.dump(sorted(sys.modules), sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(result.stderr))


@pytest.fixture(scope="module")
def at_init(tmp_path_factory) -> set[str]:
    path = write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
    return modules_after("import lambda_function", MODEL_PATH=str(path))


@pytest.mark.parametrize(
    "unknown",
    ["train", "local", "ops", "torch", "torchvision", "onnx", "sklearn", "matplotlib", "tests"],
)
def test_the_service_knows_nothing_of(at_init, unknown):
    assert not {name for name in at_init if name == unknown or name.startswith(f"{unknown}.")}


@pytest.mark.parametrize(
    "late",
    [
        *("boto3", "botocore", "urllib3", "python_multipart", "concurrent.futures", "asyncio"),
        *(
            "http.client",
            "email",
            "ssl",
            "tempfile",
            "serving.fetch.fetcher",
            "serving.fetch.connection",
        ),
        *(
            "serving.fetch.s3",
            "serving.http.form",
            "serving.answers.openapi",
            "serving.answers.plain",
        ),
        *(
            "serving.answers.page",
            "PIL.TiffImagePlugin",
            "PIL.WebPImagePlugin",
            "PIL.AvifImagePlugin",
        ),
        # What a library could drag in at any upgrade.
        *("google.protobuf", "flatbuffers", "packaging", "unittest", "multiprocessing", "sqlite3"),
        *("PIL.PngImagePlugin", "PIL.BmpImagePlugin", "PIL.GifImagePlugin", "PIL.ImageFont"),
        *("PIL.MpoImagePlugin", "serving.images.confined", "serving.images.kinds", "pi_heif"),
        "selectors",  # subprocess imports it
        *("onnxruntime.quantization", "numpy.f2py", "numpy.testing", "numpy.ma", "xml.etree"),
    ],
)
def test_a_cold_start_does_not_import_what_few_events_need(at_init, late):
    assert late not in at_init


def modules_after_a(file_format: str, folder: Path) -> set[str]:
    """What is imported when a picture of a format has been answered."""
    model = str(write_tiny_model(folder / "tiny.onnx"))
    event = {"image": base64.b64encode(encoded(picture("red"), file_format)).decode()}
    code = f"""
import lambda_function
answer = lambda_function.app.handle({event!r}, request_id="request-1")
assert "label" in answer, answer
"""
    return modules_after(code, MODEL_PATH=model)


def test_a_jpeg_in_the_request_imports_no_http_and_no_other_format(tmp_path):
    modules = modules_after_a("JPEG", tmp_path)
    assert not modules & {"http.client", "PIL.PngImagePlugin", "PIL.GifImagePlugin"}
    assert "serving.images.confined" not in modules


def test_the_service_itself_never_imports_the_heic_library(tmp_path):
    assert not {name for name in modules_after_a("HEIC", tmp_path) if "heif" in name}


def test_a_snapshot_holds_what_the_first_url_imports(tmp_path):
    model = str(write_tiny_model(tmp_path / "tiny.onnx"))
    code = "import lambda_function\nlambda_function.warm_up()"
    assert {"serving.fetch.fetcher", "http.client", "ssl"} <= modules_after(code, MODEL_PATH=model)


def test_subprocess_is_still_there_for_those_who_use_it():
    modules = modules_after("""
import serving.images.decode
from PIL import JpegImagePlugin
import subprocess
assert JpegImagePlugin.subprocess.run is subprocess.run
""")
    assert "subprocess" in modules


def test_a_stand_in_that_is_used_at_once_becomes_the_module():
    modules_after("""
from serving import deferred
with deferred.imported_when_used("colorsys"):
    from colorsys import rgb_to_hsv
assert rgb_to_hsv(1, 1, 1) == (0.0, 0.0, 1)
""")


def test_urllib_request_is_still_there_for_those_who_use_it():
    modules = modules_after("""
import serving.model.preprocess
import urllib.request
assert urllib.request.urlopen
""")
    assert "http.client" in modules


GARBAGE = """
import gc
def collections(): return sum(generation["collections"] for generation in gc.get_stats())
before = collections()
import lambda_function
assert collections() - before < 5  # it was 59
assert gc.isenabled() and gc.get_freeze_count() > 10_000
"""


def test_the_garbage_collector_is_off_during_the_start(tmp_path):
    modules_after(GARBAGE, MODEL_PATH=str(write_tiny_model(tmp_path / "tiny.onnx")))


def test_a_start_that_fails_leaves_the_garbage_collector_on(tmp_path):
    code = """
import gc
from serving.errors import ContractError
try:
    import lambda_function
except ContractError:
    assert gc.isenabled()
else:
    raise AssertionError
"""
    modules_after(code, MODEL_PATH=str(tmp_path / "nowhere.onnx"))


def test_the_service_imports_few_modules_beside_onnx_runtime(at_init):
    nothing, alone = modules_after("pass"), modules_after("import onnxruntime")
    assert len(at_init - nothing) <= _MODULES_RATIO * len(alone - nothing)


def test_the_service_starts_almost_as_fast_as_onnx_runtime(tmp_path):
    model = str(write_tiny_model(tmp_path / "tiny.onnx"))
    least_s = dict.fromkeys(("onnxruntime", "lambda_function"), math.inf)
    for _ in range(_ROUNDS):
        for name in least_s:
            script = f"import time\nimport {name}\nprint(time.process_time())"
            result = subprocess.run(
                [sys.executable, "-c", script],
                cwd=ROOT,
                env={**os.environ, "MODEL_PATH": model},
                capture_output=True,
                text=True,
                check=True,
            )
            least_s[name] = min(least_s[name], float(result.stdout))
    assert least_s["lambda_function"] <= _CPU_TIME_RATIO * least_s["onnxruntime"]
