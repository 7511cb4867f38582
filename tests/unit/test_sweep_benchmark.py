"""The benchmark's arithmetic, on figures that can be multiplied by hand."""

from itertools import count
from pathlib import Path

import pytest
from benchmarks import sweep
from benchmarks.sweep import Config, WorkshopWay, measure_workshop, ratio, report, workshop_s

from train.data import Manifest, Photo, scan


def manifest(train: int, validation: int) -> Manifest:
    splits = ["train"] * train + ["validation"] * validation
    photos = tuple(Photo(Path(f"{i}.jpg"), "red", s, f"{i:064x}") for i, s in enumerate(splits))
    return Manifest(Path(), ("blue", "red"), photos)


def test_the_workshops_way_passes_every_photo_in_every_epoch_of_every_training():
    # 48 settings x 3 seeds x 10 epochs x (100 x 20 ms + 10 x 10 ms)
    assert workshop_s(manifest(100, 10), WorkshopWay(0.02, 0.01)) == pytest.approx(1440 * 2.1)


def test_the_report_says_when_the_target_is_not_reached_in_the_worst_case():
    ways = [WorkshopWay(0.02, 0.01), WorkshopWay(0.002, 0.001), WorkshopWay(0.03, 0.01)]

    text = report(manifest(100, 10), ways, [30.0])

    assert "48 settings x 3 seeds x 21 s = 3,024 s = 0.8 h" in text
    assert "Ratio of the medians: 101; of the fastest workshop to the slowest sweep: 10." in text
    assert "NOT reached" in text


def test_the_ratio_pairs_every_measurement_of_the_workshops_way_with_every_sweep():
    ways = [WorkshopWay(0.02, 0.01), WorkshopWay(0.04, 0.02)]  # 3,024 s and 6,048 s

    spread = ratio(manifest(100, 10), ways, [30.24, 60.48])

    assert spread.rounds == 4  # 100, 50, 200 and 100 times
    assert spread.median == pytest.approx(100)


@pytest.mark.slow
def test_a_split_of_one_batch_is_timed_by_itself(drawn_data: Path, monkeypatch: pytest.MonkeyPatch):
    photos = scan(drawn_data)
    counts = [len(photos.split(name).photos) for name in ("train", "validation")]
    assert max(counts) <= 32
    clock = count()
    monkeypatch.setattr("benchmarks.sweep.time.perf_counter", lambda: next(clock))
    way = measure_workshop(photos, Config(drawn_data, weights="none"))
    assert (way.train_s, way.validation_s) == (1 / counts[0], 1 / counts[1])


def test_a_folder_without_photos_is_told_in_one_line(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["sweep", "--data", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="nowhere"):
        sweep.main()
