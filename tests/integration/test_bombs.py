"""Decompression bombs cost no memory: measured on a process of its own, by the kernel."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serving import image
from serving.errors import UndecodableImageError
from tests.bombs import BOMBS, HEAVY
from tests.drawn import encoded, picture
from tests.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[2]
MEMORY_MB = 20  # what any bomb may add to the peak of an ordinary prediction


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_a_bomb_is_refused(bomb):
    with pytest.raises(UndecodableImageError):
        image.decode(bomb(), max_pixels=50_000_000, for_size=(224, 224))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for its peak")
def test_bombs_leave_the_peak_of_memory_where_it_was(tmp_path):
    (tmp_path / "ordinary.jpg").write_bytes(encoded(picture(width_px=600, height_px=800)))
    for bomb in (*BOMBS, *HEAVY):
        (tmp_path / f"{bomb.__name__}.bomb").write_bytes(bomb())
    write_tiny_model(tmp_path / "tiny.onnx")
    result = subprocess.run(
        [sys.executable, "-m", "tests.integration.test_bombs", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(result.stdout.splitlines()[-1])
    print(json.dumps(report, indent=1))
    refused = {name for name, status in report["statuses"].items() if status == 422}
    answered = {name for name, status in report["statuses"].items() if status == 200}
    assert refused == {bomb.__name__ for bomb in BOMBS}
    assert answered == {heavy.__name__ for heavy in HEAVY}
    assert max(report["grown_mb"].values()) <= MEMORY_MB, report


def _measure(folder: Path) -> None:
    """The child's part: predict once, then meet each bomb, watching the peak of memory."""
    from serving.app import App
    from serving.classifier import Classifier
    from serving.settings import Settings
    from tests.invocations import event

    def fetch(url: str, *, timeout_s: float) -> bytes:
        return Path(url).read_bytes()

    app = App(Classifier.load(folder / "tiny.onnx"), Settings(), fetch)

    def status_of(path: Path) -> int:
        body = json.dumps({"url": str(path)}).encode()
        return int(app.handle(event("alb", body=body), "request-1")["statusCode"])

    ordinary = folder / "ordinary.jpg"
    for plain in ("png", "gif", "webp", "tiff", "avif", "bmp"):  # imports are no bomb's doing
        (folder / f"small.{plain}").write_bytes(encoded(picture(), plain.upper()))
        status_of(folder / f"small.{plain}")
    status_of(ordinary)
    started = time.perf_counter()
    status_of(ordinary)
    ordinary_ms = (time.perf_counter() - started) * 1000
    statuses, grown_mb, times = {}, {}, {}
    for bomb in sorted(folder.glob("*.bomb")):
        idle_kb = _memory_kb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what is in use now
        started = time.perf_counter()
        statuses[bomb.stem] = status_of(bomb)
        times[bomb.stem] = round((time.perf_counter() - started) * 1000 / ordinary_ms, 2)
        file_kb = bomb.stat().st_size // 1024  # the file itself is no decompression
        grown_mb[bomb.stem] = round((_memory_kb("VmHWM") - idle_kb - file_kb) / 1024, 1)
    report = {"statuses": statuses, "grown_mb": grown_mb, "times_of_an_ordinary": times}
    print(json.dumps({**report, "ordinary_ms": round(ordinary_ms, 1)}))


def _memory_kb(name: str) -> int:
    """A figure of this process's memory (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    _measure(Path(sys.argv[1]))
