"""The model file in, calibrated predictions out: an ONNX Runtime session and its contract.

Refused at init with a ContractError: a file that is missing, that ONNX Runtime cannot load, whose
contract cannot be honoured, or whose input or output shape contradicts its contract.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.contract import Contract
from serving.errors import ContractError

_LOG_LEVEL_ERROR = 3


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class and its calibrated probability, 0..1."""

    label: str
    probability: float


class Classifier:
    """A loaded model. Read-only after `load`, and safe to call from several threads."""

    def __init__(
        self, session: onnxruntime.InferenceSession, contract: Contract, version: str
    ) -> None:
        self._session = session
        self._input_name: str = session.get_inputs()[0].name
        self.contract = contract
        self.version = version

    @classmethod
    def load(cls, path: Path, *, threads: int = 1) -> "Classifier":
        """Load a model file; `threads` is what ONNX Runtime may use inside one inference.

        Raises:
            ContractError: the model cannot be served; the message names the file and the field.
        """
        try:
            with path.open("rb") as file:
                version = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError as error:
            raise ContractError(
                f"The model file {path} cannot be read: {error.strerror}."
            ) from error
        try:
            # By path: of bytes it would keep a copy, a tenth of the process's peak memory.
            session = onnxruntime.InferenceSession(
                path, _session_options(threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no base class of their own
            raise ContractError(f"ONNX Runtime cannot load {path}: {error}") from error
        contract = Contract.from_metadata(session.get_modelmeta().custom_metadata_map)
        _check_shapes(session, contract)
        return cls(session, contract, version)

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3, H, W) float32 -> (N, C) float32."""
        outputs: list[Any] = self._session.run(None, {self._input_name: batch})
        logits: NDArray[np.float32] = outputs[0]
        return logits

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, C) logits -> (N, C) calibrated probabilities, each row summing to 1."""
        return softmax(logits.astype(np.float64) / self.contract.temperature)

    def top_k(self, probabilities: NDArray[np.float64], k: int) -> list[Prediction]:
        """(C,) probabilities of one image -> its `k` likeliest classes, the likeliest first."""
        order = np.argsort(-probabilities, kind="stable")[:k]
        return [Prediction(self.contract.classes[i], float(probabilities[i])) for i in order]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, C) -> (N, C), each row summing to 1; the row's maximum is taken off against overflow."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    total: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return total


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_LEVEL_ERROR
    # A spinning thread spends the function's CPU share on waiting.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _check_shapes(session: onnxruntime.InferenceSession, contract: Contract) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        raise ContractError("The model must have one float32 input of shape (N, 3, H, W).")
    spec = contract.preprocess
    wanted = [3, spec.height_px, spec.width_px]
    if list(inputs[0].shape[1:]) != wanted or isinstance(inputs[0].shape[0], int):
        raise ContractError(
            f"The model's input has shape {inputs[0].shape}; the contract's field 'preprocess' "
            f"asks for [N, 3, {spec.height_px}, {spec.width_px}] with a dynamic N."
        )
    if len(outputs) != 1 or list(outputs[0].shape[1:]) != [len(contract.classes)]:
        raise ContractError(
            f"The model's output has shape {outputs[0].shape}; the contract's field 'classes' "
            f"names {len(contract.classes)} classes."
        )
