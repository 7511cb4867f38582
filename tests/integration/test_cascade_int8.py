"""A cascade in int8: both networks quantised, judged, bundled."""

import shutil
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import pytest

from serving.classifier import Classifier
from tests.quantized import clock_that_takes
from train import runs
from train.bundle import BundleConfig, bundle
from train.candidates import largest_pair
from train.errors import UsageError
from train.quantize import QuantizeConfig, quantize

pytestmark = pytest.mark.slow


@pytest.fixture
def quantised(
    cascade_run: Path,
    exported_cascade: Path,
    cascade_sibling: Path,
    photo_cache: Path,
    tmp_path: Path,
) -> QuantizeConfig:
    """Settings for a copy of the exported cascade."""
    run = tmp_path / "run"
    shutil.copytree(cascade_run, run)
    return QuantizeConfig(
        run=run,
        sibling=cascade_sibling,
        photos=30,
        methods=("minmax",),
        float_first=(0,),
        cache=photo_cache,
    )


def test_both_networks_are_quantised_and_judged_by_what_both_answer(
    quantised: QuantizeConfig, exported_cascade: Path, photo_cache: Path, tmp_path: Path
):
    quantize(quantised, clock=clock_that_takes(1.0, 0.5))
    out = tmp_path / "model"
    out.mkdir()
    (out / "second.onnx").write_bytes(b"of a model before")
    bundle(
        BundleConfig(
            run=quantised.run, out=out, golden=out / "golden", int8=True, cache=photo_cache
        )
    )
    assert sorted(path.name for path in out.glob("*.onnx")) == [
        "classifier.onnx",
        "second.int8.onnx",
    ]
    made, before = Classifier.load(out / "classifier.onnx"), Classifier.load(exported_cascade)
    assert made.contract.second is not None
    assert before.contract.second is not None
    assert made.contract.second.sure_above == before.contract.second.sure_above
    assert made.contract.metrics["int8_agreement"] >= 0.99
    assert made.second().contract.preprocess == before.second().contract.preprocess
    assert largest_pair(out / "second.int8.onnx") > 0  # it has int8 weights
    record = runs.read_json(quantised.run / "quantize.json")
    assert record["second"]["run"][-1]["refused"] == []
    assert "The second network is in 8 bits too." in (out / "MODEL_CARD.md").read_text()


def test_a_second_network_of_which_no_file_passes_stays_float32(
    quantised: QuantizeConfig,
    exported_cascade: Path,
    photo_cache: Path,
    capsys: pytest.CaptureFixture[str],
):
    # Both candidates of the second are slower than float32, in the 34 turns that each is given.
    steps = chain(repeat((0.0, 1.0, 0.0, 2.0), 34 * 2), repeat((0.0, 1.0, 0.0, 0.5)))
    times = chain.from_iterable(steps)
    quantize(quantised, clock=lambda: next(times))
    assert "the second in float32, for no int8 file of it passed" in capsys.readouterr().out
    made = Classifier.load(quantised.run / "classifier.int8.onnx")
    assert made.contract.second == Classifier.load(exported_cascade).contract.second
    assert not (quantised.run / "second.int8.onnx").exists()


def test_the_first_network_is_quantised_alone_where_that_is_wanted(
    quantised: QuantizeConfig, exported_cascade: Path
):
    quantize(replace(quantised, first_alone=True), clock=clock_that_takes(1.0, 0.5))
    made = Classifier.load(quantised.run / "classifier.int8.onnx")
    assert made.contract.second == Classifier.load(exported_cascade).contract.second
    assert "second" not in runs.read_json(quantised.run / "quantize.json")


def test_a_sibling_of_other_networks_is_refused_by_name(
    quantised: QuantizeConfig, cascade_parts: dict[str, tuple[Path, Path]]
):
    single, _ = cascade_parts["holdout"]
    with pytest.raises(UsageError, match=f"--sibling {single} is resnet18, .* is resnet18 and"):
        quantize(replace(quantised, sibling=single))
