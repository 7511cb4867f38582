"""The model file in, calibrated predictions out: an ONNX Runtime session and its contract.

Refused at init with a ContractError: a file that is missing, that ONNX Runtime cannot load, whose
contract cannot be honoured, or whose input or output shape contradicts its contract.
"""

from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.errors import ContractError
from serving.model import memory, origin
from serving.model.contract import Contract
from serving.model.explanation import check_outputs, top_class_maps

_LOG_LEVEL_ERROR = 3


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class and its calibrated probability, 0..1."""

    label: str
    probability: float


class Inference(NamedTuple):
    """What a model computes of a batch: (N, C) logits, and (N,) distances or None, float32."""

    logits: NDArray[np.float32]
    distances: NDArray[np.float32] | None = None


class Classifier:
    """A loaded model. Safe to call from several threads.

    Attributes:
        version: `sha256:` and the hash of the model file; of its original if it is optimised.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        contract: Contract,
        version: str,
        *,
        is_optimized: bool = False,
    ) -> None:
        self._session = session
        self._input_name: str = session.get_inputs()[0].name
        outputs = [output.name for output in session.get_outputs()]
        self._inferred = outputs[: 1 if contract.familiarity is None else 2]
        self._explaining = outputs[len(self._inferred) :]
        self.contract = contract
        self.version = version
        self.is_optimized = is_optimized

    @classmethod
    def load(cls, path: Path, *, threads: int = 1) -> "Classifier":
        """Load a model file; `threads` is what ONNX Runtime may use inside one inference.

        Raises:
            ContractError: the model cannot be served; the message names the file and the field.
        """
        session = _session(path, threads)
        memory.give_back_freed()
        contract = Contract.from_metadata(session.get_modelmeta().custom_metadata_map)
        _check_shapes(session, contract)
        made_from = origin.read(path)
        version = f"sha256:{made_from or _sha256(path)}"
        return cls(session, contract, version, is_optimized=made_from is not None)

    def infer(self, batch: NDArray[np.float32]) -> Inference:
        """(N, 3, H, W) float32 -> (N, C) logits and, if the model computes them, (N,) distances."""
        outputs: list[Any] = self._session.run(self._inferred, {self._input_name: batch})
        return Inference(*outputs)

    def explain(self, batch: NDArray[np.float32]) -> tuple[Inference, NDArray[np.float32] | None]:
        """As `infer`, and each photo's class activation map of its most likely class.

        The maps are (N, h, w) float32, in logits; None if the contract says that there are none.
        """
        if not self._explaining:
            return self.infer(batch), None
        fetched = [*self._inferred, *self._explaining]
        outputs: list[Any] = self._session.run(fetched, {self._input_name: batch})
        inferred = Inference(*outputs[: len(self._inferred)])
        return inferred, top_class_maps(inferred.logits, *outputs[len(self._inferred) :])

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3, H, W) float32 -> (N, C) float32."""
        return self.infer(batch).logits

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, C) logits -> (N, C) calibrated probabilities, each row summing to 1."""
        return calibrated(logits, self.contract)

    def top_k(self, probabilities: NDArray[np.float64], k: int) -> list[Prediction]:
        """(C,) probabilities of one image -> its `k` most likely classes, the most likely first."""
        named = zip(self.contract.classes, probabilities.tolist(), strict=True)
        top = sorted(named, key=itemgetter(1), reverse=True)[:k]  # equals keep their order
        return [Prediction(label, probability) for label, probability in top]


def calibrated(logits: NDArray[np.floating[Any]], contract: Contract) -> NDArray[np.float64]:
    """(N, C) logits of a contract's model -> (N, C) float64, each row summing to 1.

    The softmax of the logits divided by the contract's temperature, in float64.
    """
    return softmax(np.divide(logits, contract.temperature, dtype=np.float64))


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    try:
        path.open("rb").close()  # if it cannot be read, this gives the system's reason
        # By path: given bytes, it would keep a copy, a tenth of the process's peak memory.
        return onnxruntime.InferenceSession(
            path, session_options(threads), providers=["CPUExecutionProvider"]
        )
    except OSError as error:
        raise ContractError(f"The model file {path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # its errors have no base class of their own
        raise ContractError(f"ONNX Runtime cannot load {path}: {error}") from error


def _sha256(path: Path) -> str:
    import hashlib  # imports OpenSSL: 3.5 MB of memory that an optimised file does not need

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, C) -> (N, C), each row summing to 1; subtracting the row's maximum prevents overflow."""
    powers: NDArray[np.float64] = logits - logits.max(axis=-1, keepdims=True)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """The options of every session; it may use `threads` threads inside one inference."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_LEVEL_ERROR
    # A spinning thread would spend the function's CPU share on waiting.
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
    if list(outputs[0].shape[1:]) != [len(contract.classes)]:
        raise ContractError(
            f"The model's output has shape {outputs[0].shape}; the contract's field 'classes' "
            f"names {len(contract.classes)} classes."
        )
    if not contract.unexplained_because:
        check_outputs([output.shape for output in outputs[-3:]], len(contract.classes))
        outputs = outputs[:-3]
    wanted_outputs = 1 if contract.familiarity is None else 2
    if len(outputs) != wanted_outputs or len(outputs[-1].shape) != 3 - wanted_outputs:
        raise ContractError(
            f"The model's outputs have shapes {[output.shape for output in outputs]}; with the "
            f"contract's field 'familiarity' {'absent' if wanted_outputs == 1 else 'given'}, it "
            f"must have {'logits only' if wanted_outputs == 1 else 'logits and distances (N,)'}."
        )
