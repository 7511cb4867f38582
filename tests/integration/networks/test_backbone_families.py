"""One small model of each of many families: trained, exported and compared with ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest

from serving.model.classifier import Classifier
from train.__main__ import main
from train.evaluate.inference import open_model

# name, input size: where a family takes one size only, that.
FAMILIES = [
    ("mobilenet_v3_small", 64),
    ("resnet18", 64),
    ("shufflenet_v2_x0_5", 64),
    ("timm/convnext_atto", 64),
    ("timm/densenet121", 64),
    ("timm/edgenext_xx_small", 64),
    ("timm/ghostnet_050", 64),
    ("timm/hgnetv2_b0", 64),
    ("timm/lcnet_035", 64),
    ("timm/levit_128s", 224),
    ("timm/mobilenetv4_conv_small_035", 64),
    ("timm/mobilevit_xxs", 64),
    ("timm/regnetx_002", 64),
    ("timm/repvgg_a0", 64),
    ("timm/tf_efficientnet_lite0", 64),
    ("timm/vit_tiny_patch16_224", 224),
]
# Families whose answers are explained: the head gets the mean of a feature map.
EXPLAINED = {
    *("resnet18", "shufflenet_v2_x0_5", "timm/densenet121", "timm/mobilevit_xxs"),
    *("timm/regnetx_002", "timm/repvgg_a0", "timm/tf_efficientnet_lite0"),
}
QUICK = {"timm/mobilenetv4_conv_small_035", "timm/tf_efficientnet_lite0"}


@pytest.mark.parametrize(
    ("backbone", "input_px"),
    [pytest.param(*f, marks=[] if f[0] in QUICK else pytest.mark.slow) for f in FAMILIES],
)
def test_a_family_is_trained_exported_and_answers_alike(
    backbone: str, input_px: int, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    run = tmp_path / "run"
    flags = ["--data", str(drawn_data), "--out", str(run), "--cache", str(photo_cache)]
    network = ["--backbone", backbone, "--weights", "none", "--input-px", str(input_px)]
    small = ["--epochs", "1", "--batch", "10", "--threads", "1", "--workers", "0"]
    assert main(["fit", *flags, *network, *small, "--train-backbone"]) == 0
    assert main(["export", str(run), "--cache", str(photo_cache)]) == 0  # it checks parity
    classifier = Classifier.load(run / "classifier.onnx")
    contract = classifier.contract
    assert (contract.preprocess.height_px, len(contract.classes)) == (input_px, 3)
    assert (contract.unexplained_because == "") == (backbone in EXPLAINED)
    batch = np.random.default_rng(0).normal(size=(2, 3, input_px, input_px)).astype(np.float32)
    inferred, maps = classifier.explain(batch)
    _, torchs = open_model(run).explain(batch)
    assert (maps is None) == (torchs is None)
    if maps is not None:
        logits = inferred.logits.max(axis=1)
        np.testing.assert_allclose(maps.mean(axis=(1, 2)), logits, atol=1e-3)


@pytest.mark.parametrize(
    ("backbone", "input_px", "message"),
    [
        ("timm/levit_128s", "100", "does not support --input-px 100"),
        ("timm/nosuchnet", "64", "timm has no such model"),
        ("squeezenet1_1", "64", "does not end in a linear layer"),
    ],
)
def test_a_backbone_that_cannot_be_trained_is_refused_by_name(
    backbone: str,
    input_px: str,
    message: str,
    drawn_data: Path,
    photo_cache: Path,
    tmp_path,
    capsys,
):
    where = ["--data", str(drawn_data), "--out", str(tmp_path / "run"), "--cache", str(photo_cache)]
    flags = ["--backbone", backbone, "--weights", "none", "--input-px", input_px, "--epochs", "1"]
    assert main(["fit", *where, *flags]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"--backbone {backbone}" in error
    assert message in error
