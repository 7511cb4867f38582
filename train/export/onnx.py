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

from serving.model.classifier import Classifier, Inference
from serving.model.contract import METADATA_KEY, Contract
from train.config import require_px
from train.errors import CheckFailedError, UsageError
from train.evaluate import metrics
from train.evaluate.calibration import fit_calibration
from train.evaluate.familiarity import familiar_network, out_of_fold_distances, with_thresholds
from train.evaluate.inference import contract_of, infer_split
from train.export.explanation import expose
from train.files import draft_folder, require_writable, write_bytes, writing_drafts
from train.networks.familiarity import FamiliarNetwork
from train.networks.torch_model import TorchModel
from train.networks.transfer import Network
from train.photos.collection import splits_of
from train.photos.manifest import Manifest
from train.runs.model import TrainedModel, load_model
from train.runs.photos import VALIDATION, named_photos, unseen_photos, unseen_split

ONNX_FILE = "classifier.onnx"

# Torch's exporter writes opset 18 without conversion; ONNX Runtime supports it since 1.14.
OPSET = 18

# Largest difference of a distance, in times of the mean one. Whitening enlarges rounding errors.
_DISTANCE_TOLERANCE = 2e-2


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """Write a run's model as an ONNX file."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    out: Path | None = None
    """The file to write; RUN/classifier.onnx if not given."""
    data: Path | None = None
    """Folder of the photos for the check and the calibration; the run's own if not given."""
    split: str = ""
    """Split to check the file with; if not given, what calibration uses: the run's held-out share
    if it has one, else validation."""
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
    largest_distance_share: float


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
    config = replace(config, split=config.split or unseen_split(trained))
    photos = named_photos(trained, config.run, config.split, config.cache, config.data)
    contract = contract_of(trained, config.input_px)
    contract = replace(contract, name=config.name or contract.name)
    network = familiar_network(trained, contract, config.run, config.cache, config.data)
    try:
        content, parity = _checked(config, trained, network, contract, photos)
    except DistancesDifferError as error:
        print(f"no familiarity: {error}")
        content, parity = _checked(config, trained, trained.network, contract, photos)
    write_bytes(out, content)
    if because := contract_in(onnx.load_from_string(content)).unexplained_because:
        print(f"no explanations of answers: {because}")
    print(
        f"{parity.photos} photos of {config.split}: largest logit difference "
        f"{parity.largest_difference:.2e}, top-1 the same on all\n"
        f"The ONNX file is {out} ({len(content) / 1e6:.1f} MB)"
    )


def _checked(
    config: ExportConfig,
    trained: TrainedModel,
    network: Network | FamiliarNetwork,
    contract: Contract,
    photos: Manifest,
) -> tuple[bytes, Parity]:
    """The file of a network, calibrated and checked.

    Raises:
        CheckFailedError: ONNX Runtime's answers differ from torch's; as DistancesDifferError, only
            its distances do.
    """
    contract = _calibrated(config, trained, TorchModel(network, contract))
    expected = infer_split(TorchModel(network, contract), photos, config.cache)
    # Torch's accuracy is the file's too: the file is refused unless every top-1 is the same.
    figures = {
        f"{config.split}_accuracy": metrics.accuracy(expected.logits, photos.labels()),
        f"{config.split}_photos": len(photos.photos),
    }
    contract = replace(contract, metrics={**contract.metrics, **figures})
    with draft_folder() as folder:
        draft = Path(folder) / ONNX_FILE
        write_onnx(network, contract, draft)
        actual = infer_split(Classifier.load(draft), photos, config.cache)
        parity = compare(expected, actual)
        require_parity(parity, config.tolerance)
        return draft.read_bytes(), parity


def _calibrated(config: ExportConfig, trained: TrainedModel, model: TorchModel) -> Contract:
    """The contract with the temperature and thresholds, from photos that were not trained on."""
    root = config.data or trained.config.data.data
    data = replace(trained.config.data, data=root, cache=config.cache)
    contract, splits = model.contract, splits_of(data)
    if unseen_split(trained) == VALIDATION and VALIDATION not in splits:
        print(
            "not calibrated, because there is no split `validation`: probabilities are the plain "
            "softmax of the logits"
        )
        return contract
    photos = unseen_photos(trained, config.run, config.cache, config.data)
    inferred = infer_split(model, photos, config.cache)
    calibration = fit_calibration(inferred.logits, photos.labels())
    if calibration.faultless:
        print(
            f"all {calibration.photos} answers are right, which is too few mistakes to calibrate "
            "with: probabilities are the plain softmax of the logits. Add validation photos, or "
            "hold more out (fit --holdout)."
        )
    contract = replace(contract, temperature=calibration.temperature, metrics=calibration.figures())
    others = out_of_fold_distances(
        trained, contract, len(photos.photos), config.run, config.cache, config.data
    )
    return with_thresholds(contract, inferred, others)


def write_onnx(network: Network | FamiliarNetwork, contract: Contract, path: Path) -> None:
    """Write the network, in eval mode, with its contract.

    images (N, 3, H, W) -> logits (N, C), and of a FamiliarNetwork distances (N,), too; then what
    explains them (train/export/explanation.py).

    Raises:
        TrainError: the folder cannot be written into.
    """
    spec = contract.preprocess
    # Two images, because the exporter makes a batch of one a constant.
    images = torch.zeros(2, 3, spec.height_px, spec.width_px)
    # With channels-last weights the exporter writes nine nodes for the pooling instead of one.
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    is_familiar = isinstance(network, FamiliarNetwork)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own deprecated calls
        program = torch.onnx.export(
            plain.eval(),
            (images,),
            input_names=["images"],
            output_names=["logits", "distance"] if is_familiar else ["logits"],
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
    """The bytes of an ONNX file whose metadata is the contract and nothing else.

    The model gets the outputs that explain it, and the contract says so, or why there are none.
    """
    contract = replace(contract, unexplained_because=expose(model))
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(contract.to_json())})
    content: bytes = model.SerializeToString()
    return content


def contract_in(model: onnx.ModelProto) -> Contract:
    """The contract in a model's metadata; raises ContractError if there is none."""
    return Contract.from_metadata({entry.key: entry.value for entry in model.metadata_props})


class DistancesDifferError(CheckFailedError):
    """ONNX Runtime's distances differ from torch's: its rounding errors show in them."""


def compare(expected: Inference, actual: Inference) -> Parity:
    """Compare logits and distances photo by photo."""
    before, after = expected.logits, actual.logits
    off = 0.0
    if expected.distances is not None and actual.distances is not None:
        usual = float(np.abs(expected.distances).mean())
        off = float(np.abs(expected.distances - actual.distances).max() / usual)
    return Parity(
        photos=len(before),
        largest_difference=float(np.abs(before - after).max()),
        changed_top_1=int((before.argmax(axis=1) != after.argmax(axis=1)).sum()),
        largest_distance_share=off,
    )


def require_parity(parity: Parity, tolerance: float) -> None:
    """Raises CheckFailedError unless top-1 is the same on all, and logits and distances close."""
    if not parity.largest_distance_share <= _DISTANCE_TOLERANCE:
        raise DistancesDifferError(
            f"ONNX Runtime's distances differ from torch's on {parity.photos} photos by up to "
            f"{parity.largest_distance_share:.1e} of the mean one (at most {_DISTANCE_TOLERANCE:g} "
            "allowed)."
        )
    if parity.changed_top_1 or not parity.largest_difference <= tolerance:
        raise CheckFailedError(
            f"ONNX Runtime's answers differ from torch's on {parity.photos} photos: largest logit "
            f"difference {parity.largest_difference:.2e} (at most {tolerance:.0e} allowed), "
            f"different top-1 on {parity.changed_top_1}. No file was written."
        )
