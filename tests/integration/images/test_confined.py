"""The child process that decodes TIFF, AVIF and HEIC: ended, crashed, forked, or not to be had."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from serving.errors import CostlyImageError, UndecodableImageError
from serving.images import confined
from serving.images.formats import named
from serving.images.reading import Wanted
from tests.decoding import decode, difference, four_corners
from tests.drawn import encoded, picture

TIFF = encoded(four_corners(), "TIFF")


@pytest.fixture(autouse=True)
def no_child():
    """Each test starts without a child, and leaves none."""
    confined._end_all()
    yield
    confined._end_all()


def the_child() -> int:
    (child,) = confined._idle
    return child._process.pid


def test_one_child_serves_one_file_after_another():
    decode(TIFF)
    first = the_child()
    for file_format in ("AVIF", "HEIC", "TIFF", "HEIC"):
        decode(encoded(picture(), file_format))
    assert the_child() == first


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_ended_while_idle_is_replaced(how):
    decode(TIFF)
    os.kill(the_child(), how)
    os.waitid(os.P_PID, the_child(), os.WEXITED | os.WNOWAIT)
    assert difference(decode(TIFF), four_corners()) == 0


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (signal.SIGSEGV, UndecodableImageError),
        (signal.SIGKILL, CostlyImageError),
        (signal.SIGPROF, CostlyImageError),
        (signal.SIGXCPU, CostlyImageError),
    ],
)
def test_how_a_child_ends_says_what_the_caller_is_told(how, error, monkeypatch):
    decode(TIFF)
    ask = confined._Child._put

    def put(self, question, data):
        os.kill(self._process.pid, signal.SIGSTOP)  # so that it cannot answer first
        ask(self, question, data)
        os.kill(self._process.pid, how)
        os.kill(self._process.pid, signal.SIGCONT)

    with monkeypatch.context() as patched:
        patched.setattr(confined._Child, "_put", put)
        with pytest.raises(UndecodableImageError) as raised:
            decode(TIFF)
    assert type(raised.value) is error
    assert difference(decode(TIFF), four_corners()) == 0


def test_a_file_that_takes_too_much_time_is_stopped():
    known = named("AVIF")
    quick = replace(known, cpu_s=0.01)
    large = encoded(picture(width_px=2_000, height_px=1_500), "AVIF", speed=10)
    with pytest.raises(CostlyImageError, match="too much time or memory"):
        confined.read(large, quick, Wanted(10**8, None, True, None))


def test_threads_that_decode_at_once_get_their_own_pixels():
    colours = ["red", "green", "blue"] * 4
    files = [encoded(picture(colour), "TIFF") for colour in colours]
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(decode, files))
    for colour, found in zip(colours, decoded, strict=True):
        assert difference(found, picture(colour)) == 0
    assert 1 <= len(confined._idle) <= 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_process_does_not_use_its_parents_child():
    decode(TIFF)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            assert not confined._idle
            status = 0 if difference(decode(TIFF), four_corners()) == 0 else 2
            confined._end_all()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert difference(decode(TIFF), four_corners()) == 0


# What Windows lacks, taken away before anything of ours is imported.
WITHOUT_LIMITS = """
import os, select, signal, sys
sys.modules["resource"] = None  # its import fails
for module, names in {
    os: "fork register_at_fork sysconf posix_fallocate",
    select: "poll",
    signal: "SIGPROF SIGXCPU SIGKILL",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
from pathlib import Path
from train.photos.collection import collect
from train.reading import DataConfig
found = collect(DataConfig(Path(sys.argv[1]), cache=Path(sys.argv[2])))
print([(file.facts.file_format, file.fault) for file in found.files])
"""


def test_where_no_process_can_be_limited_files_are_read_and_that_is_said_once(tmp_path: Path):
    for number, file_format in enumerate(("TIFF", "AVIF", "HEIC", "TIFF")):
        file = tmp_path / "photos" / ("a", "b")[number % 2] / f"{number}.{file_format.lower()}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(seed=number), file_format))
    words = [str(tmp_path / "photos"), str(tmp_path / "cache")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIMITS, *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([(name, "") for name in ("TIFF", "HEIC", "AVIF", "TIFF")])
    assert done.stderr.count("This system cannot limit a process: TIFF, AVIF and HEIC are") == 1


def test_a_child_is_no_thread_of_the_service():
    before = threading.active_count()
    decode(TIFF)
    assert threading.active_count() == before
