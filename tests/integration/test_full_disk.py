"""A disk that fills up is one line that says so and names the place, and leaves nothing by half."""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch

from serving.model.preprocess import PreprocessSpec
from tests.drawn import write_class_folders
from tests.photo_folder import manifest_of
from train.errors import TrainError, UsageError
from train.evaluate.inference import contract_of
from train.export import onnx as export
from train.photos.pixels import cached_pixels
from train.runs.folder import load_checkpoint, save_checkpoint
from train.runs.model import load_model
from train.store import Store

SPEC = PreprocessSpec(height_px=32, width_px=24)

# The kernel refuses to make a file larger than this, in the midst of writing it.
LIMITED = """
import resource
import sys
from pathlib import Path

import numpy as np
import torch

from train.errors import TrainError, UsageError
from train.files import write_whole
from train.runs.folder import load_checkpoint, save_checkpoint

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
folder = Path(sys.argv[1])
for write in (
    lambda: save_checkpoint(folder / "last.pt", {"weights": torch.zeros(100_000)}),
    lambda: write_whole(folder / "x.npy", lambda file: np.save(file, np.zeros(100_000))),
):
    try:
        write()
    except TrainError as error:
        print(error)
"""


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of files are Linux's here")
def test_what_the_kernel_says_is_told_also_where_a_library_hides_it(tmp_path: Path):
    save_checkpoint(tmp_path / "last.pt", {"weights": torch.zeros(1)})
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    checkpoint, array = done.stdout.splitlines()
    assert f"{tmp_path / 'last.pt'} could not be written: File too large. The" in checkpoint
    assert f"{tmp_path / 'x.npy'} could not be written: only a part was written" in array
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert torch.equal(load_checkpoint(tmp_path / "last.pt")["weights"], torch.zeros(1))


def test_a_disk_that_fills_up_leaves_no_half_shard_and_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    manifest = manifest_of(write_class_folders(tmp_path / "photos"), "train")
    cache = tmp_path / "cache"
    cached_pixels(manifest.of(manifest.photos[:4]), SPEC, cache)
    before = sorted(cache.rglob("*"))
    with monkeypatch.context() as filled:
        filled.setattr(os, "fsync", full)
        with pytest.raises(TrainError, match=rf"cache {cache}.*No space left on device.*--cache"):
            cached_pixels(manifest, SPEC, cache)
    assert sorted(cache.rglob("*")) == before
    assert cached_pixels(manifest, SPEC, cache).is_cached


def test_a_disk_without_the_room_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    manifest = manifest_of(write_class_folders(tmp_path / "photos"), "train")
    with closing(Store(tmp_path / "cache")) as store:
        store.set_limit(1e9)
    free = shutil.disk_usage(tmp_path)._replace(free=50_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: free)
    monkeypatch.setattr(Path, "read_bytes", None)
    with pytest.raises(UsageError, match=r"has not the room for .*--cache-gb"):
        cached_pixels(manifest, SPEC, tmp_path / "cache")


def test_an_export_without_room_for_its_draft_names_the_folder(
    tiny_run: Path, photo_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(drafts))
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    out = tmp_path / "x.onnx"
    with pytest.raises(TrainError, match=rf"{drafts}.* No space left on device.*TMPDIR"):
        export.export(export.ExportConfig(run=tiny_run, out=out, cache=photo_cache))
    assert not out.exists()


def test_an_export_without_a_folder_for_its_draft_says_so(
    tiny_run: Path, photo_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    config = export.ExportConfig(run=tiny_run, out=tmp_path / "x.onnx", cache=photo_cache)
    with pytest.raises(TrainError, match=rf"{tmp_path / 'gone'}.*TMPDIR"):
        export.export(config)


def test_the_draft_of_a_model_is_named_with_its_folder(tiny_run: Path, tmp_path: Path):
    trained = load_model(tiny_run)
    with pytest.raises(TrainError, match=str(tmp_path / "gone")):
        export.write_onnx(trained.network, contract_of(trained), tmp_path / "gone" / "x.onnx")
