"""The picture of the benchmarks: every bar is a figure, and what has none says so."""

import pytest
from benchmarks.plot import PANELS, figure, inverse, main
from benchmarks.results import RESULTS, Spread, read_ratio

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def bars_of(axes) -> dict[str, float]:
    names = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(names, (bar.get_width() for bar in axes.patches), strict=True))


def test_every_panel_shows_the_figures_that_are_kept():
    for panel, axes in zip(PANELS, figure(PANELS, RESULTS).axes, strict=True):
        bars = bars_of(axes)
        assert bars.pop("ours") == 1.0
        for name, row in panel.rows.items():
            found = read_ratio(panel.benchmark, row)
            assert isinstance(found, Spread), found
            wanted = 1 / found.median if panel.ours_over_theirs else found.median
            assert bars.pop(name) == pytest.approx(wanted)
        assert not bars


def test_what_was_not_measured_says_so(tmp_path):
    axes = figure(PANELS[:1], tmp_path).axes[0]
    assert bars_of(axes) == {
        "ours": 1.0,
        "workshop\n(not measured)": 0.0,
        "torch eager\n(not measured)": 0.0,
        "TorchScript, frozen\n(not measured)": 0.0,
    }


def test_one_over_a_ratio_swaps_the_ends_of_its_spread():
    assert inverse(Spread(0.5, 0.25, 2.0, 7)) == Spread(2.0, 0.5, 4.0, 7)


def test_the_picture_is_written(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "picture.png")]) == 0
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG_MAGIC)
    assert "The picture is" in capsys.readouterr().out
