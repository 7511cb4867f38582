"""The verb `export`: a run's model in, an ONNX file with its contract out.

The file is checked before it is put in place: torch and ONNX Runtime must give the same top-1 on
every photo of a split, and logits that differ by at most the tolerance.
"""

import copy
import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import torch
import tyro
from numpy.typing import NDArray

from serving.model.classifier import Classifier
from serving.model.contract import METADATA_KEY, Contract
from train.config import require_px
from train.errors import CheckFailedError, UsageError
from train.evaluate import metrics
from train.evaluate.calibration import SURE_ACCURACY, Calibration, calibrate
from train.evaluate.inference import contract_of, split_logits
from train.files import draft_folder, require_writable, write_bytes, writing_drafts
from train.networks.torch_model import TorchModel
from train.networks.transfer import Network
from train.photos.collection import splits_of
from train.photos.splits import labelled_split
from train.runs.model import TrainedModel, load_model
from train.runs.photos import VALIDATION, unseen_photos, unseen_split

ONNX_FILE = "classifier.onnx"

# Torch's exporter writes opset 18 without conversion; ONNX Runtime supports it since 1.14.
OPSET = 18


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """Write a run's model as an ONNX file."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    out: Path | None = None
    """The file to write; RUN/classifier.onnx if not given."""
    data: Path | None = None
    """Folder of the photos for the check and the calibration; the run's own if not given."""
    split: str = "validation"
    """Split to check the file with. Calibration uses validation, or the run's held-out share."""
    name: str | None = None
    """The model's name in answers; DATA-BACKBONE if not given."""
    input_px: int | None = None
    """Height and width of the file's input; the run's own if not given. `frontier RUN` compares
    sizes."""
    tolerance: Annotated[float, tyro.conf.arg(metavar="LOGITS")] = 1e-3
    """Largest difference of a logit between torch and ONNX Runtime."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""

    def __post_init__(self) -> None:
        require_px("--input-px", self.input_px)


@dataclass(frozen=True, slots=True)
class Parity:
    """How far ONNX Runtime's answers are from torch's on the same photos."""

    photos: int
    largest_difference: float
    changed_top_1: int


def export(config: ExportConfig) -> None:
    """Export and check the file, then put it in place.

    Raises:
        UsageError: the file cannot be written there, or there are no photos to check it with.
        TrainError: the disk is full.
        CheckFailedError: ONNX Runtime's answers differ from torch's; nothing is written.
    """
    out = config.out or config.run / ONNX_FILE
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: give a file in it, {out / ONNX_FILE}.")
    require_writable(out.parent, "--out" if config.out else "")
    trained = load_model(config.run)
    root = config.data or trained.config.data.data
    if not root.is_dir():
        raise UsageError(f"{root} is missing: give the photos to check the file with, --data DIR.")
    photos = labelled_split(
        root, config.split, config.cache, trained.classes, like=trained.config.data
    )
    calibration = _calibration(config, trained)
    contract = _contract(config, trained, calibration)
    expected = split_logits(TorchModel(trained.network, contract), photos, config.cache)
    # Torch's accuracy is the file's too: the file is refused unless every top-1 is the same.
    figures = {
        **(calibration.figures() if calibration else {}),
        f"{config.split}_accuracy": metrics.accuracy(expected, photos.labels()),
        f"{config.split}_photos": len(photos.photos),
    }
    contract = replace(contract, metrics=figures)
    with draft_folder() as folder:
        draft = Path(folder) / ONNX_FILE
        write_onnx(trained.network, contract, draft)
        actual = split_logits(Classifier.load(draft), photos, config.cache)
        parity = compare(expected, actual)
        require_parity(parity, config.tolerance)
        content = draft.read_bytes()
    write_bytes(out, content)
    print(
        f"{parity.photos} photos of {config.split}: largest logit difference "
        f"{parity.largest_difference:.2e}, top-1 the same on all\n"
        f"The ONNX file is {out} ({len(content) / 1e6:.1f} MB)"
    )


def _calibration(config: ExportConfig, trained: TrainedModel) -> Calibration | None:
    """Calibrate on photos that the network was not trained on; None if there are none."""
    root = config.data or trained.config.data.data
    splits = splits_of(replace(trained.config.data, data=root))
    if unseen_split(trained) == VALIDATION and VALIDATION not in splits:
        return None
    photos = unseen_photos(trained, config.run, config.cache, config.data)
    return calibrate(trained, photos, config.cache, config.input_px)


def _contract(
    config: ExportConfig, trained: TrainedModel, calibration: Calibration | None
) -> Contract:
    contract = contract_of(trained, config.input_px)
    if config.name is not None:
        contract = replace(contract, name=config.name)
    if calibration is None:
        print(
            "not calibrated, because there is no split `validation`: probabilities are the plain "
            "softmax of the logits"
        )
        return contract
    if calibration.faultless:
        print(
            f"all {calibration.photos} answers are right, which is too few mistakes to calibrate "
            "with: probabilities are the plain softmax of the logits. Add validation photos, or "
            "hold more out (fit --holdout)."
        )
    if not calibration.coverage:
        print(
            f"no threshold makes {SURE_ACCURACY:.0%} of the answers on {calibration.photos} photos "
            "right: every answer of this model will be unsure. Add validation photos, hold more "
            "out (fit --holdout), or train a better network."
        )
    return replace(
        contract, temperature=calibration.temperature, unsure_below=calibration.unsure_below
    )


def write_onnx(network: Network, contract: Contract, path: Path) -> None:
    """Write the network, in eval mode, with its contract: images (N, 3, H, W) -> logits (N, C).

    Raises:
        TrainError: the folder cannot be written into.
    """
    spec = contract.preprocess
    # Two images, because the exporter makes a batch of one a constant.
    images = torch.zeros(2, 3, spec.height_px, spec.width_px)
    # With channels-last weights the exporter writes nine nodes for the pooling instead of one.
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own deprecated calls
        program = torch.onnx.export(
            plain.eval(),
            (images,),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("N")}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:  # the exporter's traces name folders of this machine
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    with writing_drafts(path.parent):
        path.write_bytes(with_contract(model, contract))


def with_contract(model: onnx.ModelProto, contract: Contract) -> bytes:
    """The bytes of an ONNX file whose metadata is the contract and nothing else."""
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(contract.to_json())})
    content: bytes = model.SerializeToString()
    return content


def compare(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> Parity:
    """Compare (N, C) logits row by row."""
    return Parity(
        photos=len(expected),
        largest_difference=float(np.abs(expected - actual).max()),
        changed_top_1=int((expected.argmax(axis=1) != actual.argmax(axis=1)).sum()),
    )


def require_parity(parity: Parity, tolerance: float) -> None:
    """Raises CheckFailedError unless top-1 is the same on all and every logit is close."""
    if parity.changed_top_1 or not parity.largest_difference <= tolerance:
        raise CheckFailedError(
            f"ONNX Runtime's answers differ from torch's on {parity.photos} photos: largest logit "
            f"difference {parity.largest_difference:.2e} (at most {tolerance:.0e} allowed), "
            f"different top-1 on {parity.changed_top_1}. No file was written."
        )
