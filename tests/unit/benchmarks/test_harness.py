"""How photos are drawn and contestants are asked."""

from pathlib import Path

import pytest

from benchmarks.harness import mixture
from benchmarks.harness.rounds import UnavailableError, workers


def test_a_contestant_that_dies_while_asked_says_why(tmp_path: Path):
    with pytest.raises(UnavailableError, match="its process died"), workers((), {}, tmp_path):
        raise UnavailableError("its process died")


def test_a_drawn_photo_fits_into_a_request(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mixture, "KINDS", (mixture.Kind(1.0, (200, 400), "JPEG"),))
    whole = len(mixture.photo(1))
    monkeypatch.setattr(mixture, "_MAX_BYTES", whole - 1)
    assert len(mixture.photo(1)) < whole
