"""A torch network with the interface of an ONNX file: a contract, and what it infers of a batch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serving.model.classifier import Inference
from serving.model.contract import Contract


class TorchModel:
    """A network in eval mode, answering like the ONNX file that is exported from it."""

    def __init__(self, network: nn.Module, contract: Contract) -> None:
        self._network = network.eval()
        self.contract = contract

    @torch.inference_mode()
    def infer(self, batch: NDArray[np.float32]) -> Inference:
        """(N, 3, H, W) float32 -> (N, C) logits and, if the network gives them, (N,) distances."""
        outputs = self._network(torch.from_numpy(batch))
        return Inference(*map(Tensor.numpy, outputs if isinstance(outputs, tuple) else (outputs,)))
