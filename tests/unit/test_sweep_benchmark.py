"""The benchmark's arithmetic, on figures that can be multiplied by hand."""

from pathlib import Path

import pytest
from benchmarks.sweep import WorkshopWay, ratio, report, workshop_s

from train.data import Manifest, Photo


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
