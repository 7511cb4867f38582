"""A run's model in, an ONNX file out that describes itself and was checked against the checkpoint.

The file is checked before it takes its place: torch and ONNX Runtime must give the same top-1 on
every photo of a split, and logits that differ by no more than the tolerance.
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
from train.evaluate.inference import TorchModel, contract_of, split_logits
from train.files import draft_folder, require_writable, write_bytes, writing_drafts
from train.networks.transfer import Network
from train.photos.splits import labelled_split
from train.runs.model import TrainedModel, load_model
from train.runs.photos import VALIDATION, unseen_photos, unseen_split

ONNX_FILE = "classifier.onnx"

# Opset 18 is what torch's exporter writes without a conversion; ONNX Runtime has it since 1.14.
OPSET = 18


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """Write a run's model as an ONNX file."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    out: Path | None = None
    """The file to write; RUN/classifier.onnx if not given."""
    data: Path | None = None
    """Folder of the photos to check and to calibrate with; the run's own if not given."""
    split: str = "validation"
    """Which photos to check with. Temperature and threshold are fitted on validation, or on what
    the run held out."""
    name: str | None = None
    """What the model is called in answers; DATA-BACKBONE if not given."""
    input_px: int | None = None
    """Height and width of the input that the file takes; the run's own if not given. Choose another
    by `frontier RUN`."""
    tolerance: Annotated[float, tyro.conf.arg(metavar="LOGITS")] = 1e-3
    """Largest difference of any logit between torch and ONNX Runtime."""
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
    """Export, check, and only then put the file in its place.

    Raises:
        UsageError: the file cannot be written there, or there are no photos to check it with.
        TrainError: there is no room for the draft, or for the file.
        CheckFailedError: ONNX Runtime's answers are not torch's; nothing is written.
    """
    out = config.out or config.run / ONNX_FILE
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: name the file in it, {out / ONNX_FILE}.")
    require_writable(out.parent, "--out" if config.out else "")
    trained = load_model(config.run)
    root = config.data or trained.config.data.data
    if not root.is_dir():
        raise UsageError(f"{root} is missing: name the photos to check the file with, --data DIR.")
    photos = labelled_split(root, config.split, config.cache, trained.classes)
    calibration = _calibration(config, trained)
    contract = _contract(config, trained, calibration)
    expected = split_logits(TorchModel(trained, contract), photos, config.cache)
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
    """What is fitted on photos that the network was not trained on; None where there are none."""
    root = config.data or trained.config.data.data
    if unseen_split(trained) == VALIDATION and not (root / VALIDATION).is_dir():
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
            "not calibrated, for there is no split `validation`: probabilities are the softmax of "
            "the logits"
        )
        return contract
    if calibration.faultless:
        print(
            f"all {calibration.photos} photos are answered rightly: so few mistakes cannot "
            "calibrate, and the network's own probabilities are kept. Give more photos of "
            "validation, or hold more out (fit --holdout)."
        )
    if not calibration.coverage:
        print(
            f"at no threshold are {SURE_ACCURACY:.0%} of the answers on {calibration.photos} "
            "photos right: the model will call every answer unsure. Give more photos of "
            "validation, hold more out (fit --holdout), or train a better network."
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
    # Two images: the exporter takes a batch of one for a constant.
    images = torch.zeros(2, 3, spec.height_px, spec.width_px)
    # Of weights in channels-last order it makes nine nodes of the pooling instead of one.
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecated calls
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
            f"ONNX Runtime does not answer as torch does on {parity.photos} photos: largest logit "
            f"difference {parity.largest_difference:.2e} (at most {tolerance:.0e}), another top-1 "
            f"on {parity.changed_top_1}. No file was written."
        )
