"""A whole build after one more photo: what it reads and decodes again."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.photo_folder import write_many
from tests.small_recipes import small_steps, write_recipe
from train.__main__ import main
from train.files import read_json
from train.photos.contents import examine, file_pixels, photo_bytes

PHOTOS = 2000


@pytest.mark.slow
def test_a_build_with_one_more_photo_reads_and_decodes_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done: Counter[str] = Counter()
    lock = threading.Lock()

    def counted(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def count(*given: Any, **wanted: Any) -> Any:
            with lock:
                done[name] += 1
            return work(*given, **wanted)

        return count

    for place, name, work in (
        ("scan.photo_bytes", "read", photo_bytes),
        ("scan.examine", "decoded", examine),
        ("pixels.file_pixels", "without the cache", file_pixels),
    ):
        monkeypatch.setattr(f"train.photos.{place}", counted(name, work))
    last = write_many(tmp_path / "photos", PHOTOS + 1, (40, 30)) / f"red/{PHOTOS}.jpg"
    last.rename(tmp_path / "last.jpg")
    steps = small_steps("frozen")
    del steps["quantize"]
    steps["student"].update(backbone="timm/test_resnet", epochs=1)
    recipe = write_recipe(tmp_path / "small.toml", steps)
    places = {"--data": "photos", "--cache": "cache", "--out": "runs", "--model": "model"}
    words = [word for flag, name in places.items() for word in (flag, str(tmp_path / name))]
    build = ["build", *words, "--recipe", str(recipe), "--weights", "none"]
    assert main(build) == 0
    assert done == {"read": PHOTOS, "decoded": PHOTOS}
    trained = read_json(tmp_path / "runs/student/run.json")["manifest_sha256"]
    done.clear()
    (tmp_path / "last.jpg").rename(last)
    assert main(build) == 0
    assert read_json(tmp_path / "runs/student/run.json")["manifest_sha256"] != trained
    assert done == {"read": 1, "decoded": 1}
