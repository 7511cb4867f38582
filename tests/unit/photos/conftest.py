"""Photos that several tests read; others write their own."""

from pathlib import Path

import pytest

from tests.photo_folder import write_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten photos a class in train and in validation."""
    return write_photos(tmp_path / "photos", 10)
