"""Runs that are killed while they read photos, or that read the same ones at once: one cache."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.photo_folder import write_many

pytestmark = pytest.mark.slow

PHOTOS, KILLS = 3000, 12
SHARDS = -(-PHOTOS // 256)

# Reads the photos for pixels, as fit does, and says when it begins.
READ = """
import sys
from pathlib import Path

from serving.model.preprocess import PreprocessSpec
from train.photos.collection import collect
from train.photos.pixels import cached_pixels
from train.reading import DataConfig

spec = PreprocessSpec.square(96)
config = DataConfig(Path(sys.argv[1]), cache=Path(sys.argv[2]))
print("begin", flush=True)
manifest = collect(config, specs={"train": spec}).manifest(("train",))
assert cached_pixels(manifest, spec, config.cache).is_cached
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_many(tmp_path_factory.mktemp("many") / "photos", PHOTOS, (160, 120))


def begin(root: Path, cache: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", READ, str(root), str(cache)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert started.stdout is not None
    assert started.stdout.readline() == b"begin\n"
    return started


def finish(running: subprocess.Popen[bytes]) -> None:
    running.communicate()
    assert running.returncode == 0


def content(cache: Path) -> dict[str, Any]:
    """All that a cache holds: its tables without times of use, and the bytes of its shards."""
    names = {file for file in cache.rglob("*") if file.is_file()} - {cache / "photos.sqlite"}
    found: dict[str, Any] = {str(f.relative_to(cache)): f.read_bytes() for f in names}
    database = sqlite3.connect(cache / "photos.sqlite")
    for table, columns in {
        "files": "*",
        "facts": "*",
        "shards": "kind, name, rows, bytes",
        "rows JOIN shards USING (shard)": "sha256, rows.kind, row, name",
    }.items():
        found[table] = sorted(database.execute(f"SELECT {columns} FROM {table}").fetchall())
    database.close()
    return found


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[str, Any]:
    cache = folder.with_name("undisturbed")
    finish(begin(folder, cache))
    return content(cache)


def test_a_pass_that_is_killed_and_continued_leaves_the_same_bits(
    folder: Path, undisturbed: dict[str, Any], tmp_path: Path
):
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(10**6)))
    print("seed", seed)
    moments = random.Random(seed)
    midway = 0
    for _ in range(KILLS):
        running = begin(folder, tmp_path)
        time.sleep(moments.uniform(0, 0.8))
        running.send_signal(signal.SIGKILL)
        running.communicate()
        shards = len(list((tmp_path / "shards").glob("*/*")))
        midway += running.returncode == -signal.SIGKILL and 0 < shards < SHARDS
    assert midway, "no kill hit a pass midway"
    finish(begin(folder, tmp_path))
    assert content(tmp_path) == undisturbed


def test_two_runs_at_once_share_a_cache(folder: Path, undisturbed: dict[str, Any], tmp_path: Path):
    runs = [begin(folder, tmp_path) for _ in range(2)]
    for run in runs:
        finish(run)
    found = content(tmp_path)
    assert (found["files"], found["facts"]) == (undisturbed["files"], undisturbed["facts"])
    assert {row[:2] for row in found["rows JOIN shards USING (shard)"]} == {
        row[:2] for row in undisturbed["rows JOIN shards USING (shard)"]
    }
    assert not list(tmp_path.rglob("*.part"))
