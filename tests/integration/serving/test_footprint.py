"""The function writes no file outside /tmp, starts no process but the one that decodes TIFF, AVIF
and HEIC, connects only where it is asked to, and keeps no freed memory. Watched by Python's audit
events (PEP 578) in a new process.
"""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from platform import libc_ver
from typing import Any

import pytest

from benchmarks.harness import photos
from local.backends import MALLOC
from tests.drawn import encoded, picture
from tests.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[3]
Completed = subprocess.CompletedProcess[str]
_SILENCING = ("ORT_DISABLE_TELEMETRY", "CI")  # either keeps ONNX Runtime's telemetry quiet

WATCHED = """
import json, os, sys

events = []

def watch(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        flags = args[2] if isinstance(args[2], int) else 0
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            path = os.path.realpath(os.fsdecode(args[0]))
            if not path.startswith(("/tmp/", "/dev/null")):
                events.append([event, path])
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.fork", "socket.connect",
                   "socket.getaddrinfo", "os.mkdir", "os.remove", "os.rename", "shutil.rmtree"):
        events.append([event, repr(args)])

sys.addaudithook(watch)
import lambda_function

class Context:
    aws_request_id = "request-1"
    def get_remaining_time_in_millis(self): return 30000

for line in sys.stdin:
    lambda_function.lambda_handler(json.loads(line), Context())
print(json.dumps(events), file=sys.stderr)
"""


def run(script: str, *words: str, environ: dict[str, str], given: str = "") -> Completed:
    """Run a script in a new process, in the repository's root."""
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=ROOT,
        env=environ,
        input=given,
        capture_output=True,
        text=True,
        check=True,
    )


def watched(tmp_path: Path, made: list[dict[str, Any]]) -> list[list[str]]:
    """What the function does beside answering these events, with one line of log for each."""
    environment = {
        "MODEL_PATH": str(write_tiny_model(tmp_path / "tiny.onnx")),
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",  # as in the image, whose code is compiled already
    }
    given = "".join(json.dumps(event) + "\n" for event in made)
    result = run(WATCHED, environ=environment, given=given)
    assert len(result.stdout.splitlines()) == len(made)
    found: list[list[str]] = json.loads(result.stderr)
    return found


def pictures(*formats: str) -> list[dict[str, Any]]:
    return [
        {"image": base64.b64encode(encoded(picture("red"), file_format)).decode()}
        for file_format in formats
    ]


def test_several_files_of_risky_formats_start_one_process(tmp_path):
    found = watched(tmp_path, pictures("JPEG", "TIFF", "AVIF", "HEIC", "TIFF"))
    assert [event for event, _ in found] == ["subprocess.Popen"]
    assert "child.py" in found[0][1]
    assert "LD_LIBRARY_PATH" in found[0][1]
    assert "MODEL_PATH" not in found[0][1]  # nothing of the function's environment


def test_requests_of_every_kind_write_nothing_and_start_nothing(tmp_path):
    made = pictures("JPEG", "PNG", "WEBP", "GIF", "BMP")
    made += [{"image": "eA=="}, {"url": "http://127.0.0.1/"}, {"images": [made[0], made[1]]}]
    made += [
        {"requestContext": {"http": {"method": "GET"}}, "rawPath": path}
        for path in ("/", "/health", "/model", "/openapi.json", "/nowhere")
    ]
    assert watched(tmp_path, made) == []


ALONE = """
import os
import lambda_function

class Context:
    aws_request_id = "request-1"
    def get_remaining_time_in_millis(self): return 30000

lambda_function.lambda_handler({"image": "eA=="}, Context())
print(len(os.listdir("/proc/self/task")), os.listdir(os.environ["HOME"]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_native_code_starts_no_thread_and_writes_no_file(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "MODEL_PATH": str(write_tiny_model(tmp_path / "tiny.onnx")),
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "OPENBLAS_NUM_THREADS": "1",  # numpy's own, for matrices that are never multiplied
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    result = run(ALONE, environ=environment)
    assert result.stdout.splitlines()[-1] == "1 []"


@pytest.mark.parametrize(
    "room",
    [
        "serving.model.classifier",
        pytest.param("train.export.onnx", marks=pytest.mark.slow),
        "lambda_function",
    ],
)
def test_onnx_runtime_sends_nothing_to_its_makers(room, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key not in _SILENCING}
    environment["MODEL_PATH"] = str(write_tiny_model(tmp_path / "tiny.onnx"))
    script = f"import os, {room}; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    result = run(script, environ=environment)
    assert result.stdout.strip() == "1"


FREED = """
import ctypes, resource
from pathlib import Path
from serving.model.classifier import Classifier

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

model = Classifier.load(Path("model/classifier.onnx"))
loaded = resident_bytes()
ctypes.CDLL(None).malloc_trim(0)
print(loaded - resident_bytes())
"""


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="of memory allocators glibc's has the call")
def test_a_loaded_model_keeps_no_memory_that_is_free():
    result = run(FREED, environ=dict(os.environ))
    assert int(result.stdout) < 500_000  # it was 2.7 MB


BATCHES = """
import base64, resource, sys
from pathlib import Path
from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings

app = App(Classifier.load(Path("model/classifier.onnx")), Settings())
photo = base64.b64encode(Path(sys.argv[1]).read_bytes()).decode()
sys.stdout = sys.stderr  # the service's log
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    app.handle({"images": [{"image": photo}] * 16}, "request-1")
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, file=sys.__stdout__)
"""


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="of memory allocators glibc's is told")
def test_a_batch_finds_the_memory_of_the_one_before_it(tmp_path: Path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(photos.jpeg("400x533"))
    result = run(BATCHES, str(photo), environ={**os.environ, **MALLOC})
    assert int(result.stdout) < 500  # page faults; they were 5,800
