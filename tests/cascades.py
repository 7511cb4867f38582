"""Fixtures of a cascade: two real runs, small ones on drawn photos; read-only by agreement."""

from pathlib import Path

import pytest

from tests.training import tiny_config
from train.cascade import CascadeConfig, cascade
from train.export import ExportConfig, export
from train.fit import fit

HOLDOUT = {"choose_on": "holdout", "holdout": 0.3}
SECOND_PX = 48  # the runs themselves have 32
BACKBONES = ("resnet18", "mobilenet_v3_small")


@pytest.fixture(scope="session")
def cascade_parts(
    drawn_data: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Path]]:
    """Two runs that held photos out, and two of the same recipes that did not."""
    folder = tmp_path_factory.mktemp("parts")
    made: dict[str, tuple[Path, Path]] = {}
    for share, reading in (("holdout", HOLDOUT), ("nothing", {"choose_on": "nothing"})):
        parts = []
        for backbone in BACKBONES:
            out = folder / f"{share}-{backbone}"
            network = {"backbone": backbone}
            fit(tiny_config(drawn_data, photo_cache, out, network=network, reading=reading))
            parts.append(out)
        made[share] = (parts[0], parts[1])
    return made


@pytest.fixture(scope="session")
def cascade_sibling(cascade_parts: dict[str, tuple[Path, Path]], photo_cache: Path) -> Path:
    first, second = cascade_parts["holdout"]
    out = first.parent / "sibling"
    cascade(CascadeConfig(first, second, out, second_px=SECOND_PX, cache=photo_cache))
    return out


@pytest.fixture(scope="session")
def cascade_run(
    cascade_parts: dict[str, tuple[Path, Path]], cascade_sibling: Path, photo_cache: Path
) -> Path:
    first, second = cascade_parts["nothing"]
    out = first.parent / "whole"
    cascade(CascadeConfig(first, second, out, tuned_on=cascade_sibling, cache=photo_cache))
    return out


@pytest.fixture(scope="session")
def exported_cascade(cascade_run: Path, cascade_sibling: Path, photo_cache: Path) -> Path:
    export(ExportConfig(run=cascade_run, calibrate_on=cascade_sibling, cache=photo_cache))
    return cascade_run / "classifier.onnx"
