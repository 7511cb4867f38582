"""Decompression bombs need no more memory and time than a photo; measured in a new process."""

import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from serving.errors import UndecodableImageError
from serving.images.decode import decode, decode_scaled
from tests.bombs import (
    BOMBS,
    HEAVY,
    gif_of_65_535_squared,
    png_of_50_000_squared,
    png_that_nests_text,
)
from tests.drawn import encoded, picture, png, png_chunk

ROOT = Path(__file__).parents[3]
MEMORY_MB = 20  # what any bomb may add to the peak of an ordinary prediction
CLASSICS = (png_of_50_000_squared, png_that_nests_text, gif_of_65_535_squared)
ROUNDS = 5
# Of the median of CPU times, each over that of the ordinary photo just before it. That has 3
# megapixels: most of its time is decoding, whatever network is bundled. On an idle machine the
# slowest bomb, 4 MB of a JPEG's padding, comes to 4.5: 0.03 s of the budget of 2 s.
SLACK = 8


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_a_bomb_is_refused(bomb):
    with pytest.raises(UndecodableImageError):
        decode_scaled(bomb(), max_pixels=50_000_000, for_size=(224, 224), close=False)


def test_a_png_in_many_small_chunks_is_answered():
    noise = np.random.default_rng(0).bytes(1_000 * 1_000 * 3)
    whole = png(1_000, 1_000, noise)
    start = whole.index(b"IDAT") + 4
    pixels = whole[start : whole.rindex(b"IEND") - 8]
    parts = [pixels[at : at + 4_096] for at in range(0, len(pixels), 4_096)]
    data = whole[: start - 8] + b"".join(png_chunk(b"IDAT", part) for part in parts)
    decoded = decode(data + png_chunk(b"IEND"), max_pixels=1_000_000)
    assert decoded.tobytes() == noise


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What each file was answered, what it added to the peak, how long it took: see `_measure`."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("asks Linux for the peak of memory")
    folder = tmp_path_factory.mktemp("bombs")
    (folder / "ordinary.jpg").write_bytes(encoded(picture(width_px=2_000, height_px=1_500)))
    for bomb in (*BOMBS, *HEAVY):
        (folder / f"{bomb.__name__}.bomb").write_bytes(bomb())
    result = subprocess.run(
        [sys.executable, "-m", "tests.integration.images.test_bombs", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(result.stdout.splitlines()[-1])
    print(json.dumps(measured, indent=1))
    return measured


@pytest.mark.slow
def test_bombs_are_refused_and_heavy_pictures_are_answered(report):
    refused = {name for name, status in report["statuses"].items() if status == 422}
    answered = {name for name, status in report["statuses"].items() if status == 200}
    assert refused == {bomb.__name__ for bomb in BOMBS}
    assert answered == {heavy.__name__ for heavy in HEAVY}


def test_bombs_leave_the_peak_of_memory_where_it_was(report):
    assert max(report["grown_mb"].values()) <= MEMORY_MB


def test_a_bomb_takes_a_few_times_an_ordinary_photo_at_most(report):
    times = report["times_of_an_ordinary"]
    assert {name: ratio for name, ratio in times.items() if ratio > SLACK} == {}
    assert max(times[bomb.__name__] for bomb in CLASSICS) < 1


def _measure(folder: Path) -> None:
    """The child's part: meet each bomb between ordinary photos, with the bundled model."""
    from serving.app import App
    from serving.model.classifier import Classifier
    from serving.settings import Settings
    from tests.invocations import event

    def fetch(url: str, *, timeout_s: float) -> bytes:
        return Path(url).read_bytes()

    app = App(Classifier.load(ROOT / "model" / "classifier.onnx", threads=1), Settings(), fetch)

    def timed(path: Path) -> tuple[int, float]:
        made = event("alb", body=json.dumps({"url": str(path)}).encode())
        started = time.process_time()
        status = int(app.handle(made, "request-1")["statusCode"])
        return status, time.process_time() - started

    ordinary = folder / "ordinary.jpg"
    for plain in ("png", "gif", "webp", "tiff", "avif", "bmp"):  # imports are no bomb's doing
        (folder / f"small.{plain}").write_bytes(encoded(picture(), plain.upper()))
        timed(folder / f"small.{plain}")
    timed(ordinary)
    ratios: dict[str, list[float]] = defaultdict(list)
    statuses, grown_mb = {}, dict.fromkeys((p.stem for p in folder.glob("*.bomb")), 0.0)
    for bomb in sorted(folder.glob("*.bomb")) * ROUNDS:
        ordinary_s = timed(ordinary)[1]  # just before: a busy machine lengthens both
        idle_kb = _memory_kb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what is in use now
        statuses[bomb.stem], time_s = timed(bomb)
        ratios[bomb.stem].append(time_s / ordinary_s)
        file_kb = bomb.stat().st_size // 1024  # the file itself is no decompression
        grown = round((_memory_kb("VmHWM") - idle_kb - file_kb) / 1024, 1)
        grown_mb[bomb.stem] = max(grown_mb[bomb.stem], grown)
    medians = {name: round(statistics.median(values), 3) for name, values in ratios.items()}
    print(json.dumps({"statuses": statuses, "grown_mb": grown_mb, "times_of_an_ordinary": medians}))


def _memory_kb(name: str) -> int:
    """A figure of this process's memory (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    _measure(Path(sys.argv[1]))
