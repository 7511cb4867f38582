"""A torch network with the interface of an ONNX file: a contract, and logits of a batch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from serving.model.contract import Contract


class TorchModel:
    """A network in eval mode, answering like the ONNX file that is exported from it."""

    def __init__(self, network: nn.Module, contract: Contract) -> None:
        self._network = network.eval()
        self.contract = contract

    @torch.inference_mode()
    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3, H, W) float32 -> (N, C) float32."""
        output: NDArray[np.float32] = self._network(torch.from_numpy(batch)).numpy()
        return output
