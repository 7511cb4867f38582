"""Fixtures of the training half: a drawn data folder, and a real run trained on it."""

from pathlib import Path
from typing import Any

import pytest

from tests.drawn import write_class_folders
from train.config import DataConfig, FitConfig, NetworkConfig


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """{train,validation}/{blue,green,red}/*.jpg; read-only by agreement."""
    return write_class_folders(tmp_path_factory.mktemp("drawn") / "colours")


@pytest.fixture(scope="session")
def photo_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def tiny_config(data: Path, cache: Path, out: Path, **changes) -> FitConfig:
    """Settings that train a small network without weights in a second or two."""
    network: dict[str, Any] = {"backbone": "mobilenet_v3_small", "weights": "none", "input_px": 32}
    network |= changes.pop("network", {})
    reading: dict[str, Any] = {"data": data, "cache": cache, "workers": 0} | changes.pop(
        "reading", {}
    )
    settings: dict[str, Any] = {"epochs": 3, "batch": 10, "lr": 1e-2, "threads": 1} | changes
    return FitConfig(
        out=out, data=DataConfig(**reading), network=NetworkConfig(**network), **settings
    )


@pytest.fixture(scope="session")
def tiny_run(drawn_data: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained and exported; read-only by agreement."""
    from train.export.onnx import ExportConfig, export
    from train.fit.loop import fit

    out = tmp_path_factory.mktemp("runs") / "tiny"
    # Untrained residual blocks pass enough of a picture's colour on for a head to learn it.
    network = {"backbone": "resnet18"}
    fit(tiny_config(drawn_data, photo_cache, out, epochs=20, network=network))
    export(ExportConfig(run=out, cache=photo_cache))
    return out
