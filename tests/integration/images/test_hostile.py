"""Files that cost far more than they weigh: each in a process of its own, with its children."""

from pathlib import Path

import pytest

from tests.costs import Cost, cost_of
from tests.drawn import encoded, picture
from tests.hostile_files import HOSTILE

# CPU time as a multiple of an ordinary photo's, a JPEG of 12 megapixels, which takes about 20 ms
# here: 2 s for all of the answer, 5 for HEIC.
MOST_TIMES, MOST_TIMES_HEIC = 100, 250
MOST_MB, MOST_KEPT_MB = 400, 40
# The quick run's: one of each way to be stopped.
QUICK = (
    "fax_of_noise_4",
    "jpeg_of_arithmetic_coding",
    "png_without_its_palette",
    "tiff_of_shared_tiles_in_a_large_picture",
)

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="asks Linux for the peak of memory"
)


def check(cost: Cost, *, heic: bool = False) -> None:
    print(cost)
    assert cost.status < 500
    assert cost.batch == (200, cost.status, 200)
    assert cost.stderr_bytes == 0
    assert cost.times <= (MOST_TIMES_HEIC if heic else MOST_TIMES)
    assert cost.memory_mb <= MOST_MB
    assert cost.kept_mb <= MOST_KEPT_MB


@pytest.mark.parametrize(
    "drawn",
    [
        pytest.param(drawn, marks=() if drawn.__name__ in QUICK else pytest.mark.slow)
        for drawn in HOSTILE
    ],
    ids=lambda drawn: drawn.__name__,
)
def test_a_hostile_file_hurts_neither_the_service_nor_its_neighbours(drawn, tmp_path):
    file = tmp_path / "it"
    file.write_bytes(drawn())
    check(cost_of(file), heic="heic" in drawn.__name__)


@pytest.mark.slow
def test_a_phones_heic_is_answered_within_its_budget(tmp_path):
    file = tmp_path / "it"
    file.write_bytes(encoded(picture(width_px=4_032, height_px=3_024), "HEIC", quality=60))
    cost = cost_of(file)
    check(cost, heic=True)
    assert cost.status == 200
