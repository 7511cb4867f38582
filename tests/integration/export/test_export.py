"""What the exporter writes of a whole network."""

from pathlib import Path

import onnx
import pytest

from serving.model.contract import Contract
from serving.model.preprocess import PreprocessSpec
from tests.networks import drawn_network
from train.export.onnx import write_onnx

pytestmark = pytest.mark.slow

CONTRACT = Contract(
    name="drawn",
    classes=("hat", "shoe", "skirt"),
    preprocess=PreprocessSpec.square(64),
)


def test_pooling_and_head_are_three_nodes(tmp_path: Path):
    file = tmp_path / "model.onnx"
    write_onnx(drawn_network("mobilenet_v2"), CONTRACT, file)
    nodes = [node.op_type for node in onnx.load(str(file)).graph.node]
    assert nodes[-4:] == ["Clip", "ReduceMean", "Reshape", "Gemm"]
