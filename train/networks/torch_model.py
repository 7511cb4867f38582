"""A torch network with the interface of an ONNX file: a contract, and what it infers of a batch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serving.model.classifier import Inference
from serving.model.contract import Contract
from train.networks.familiarity import FamiliarNetwork
from train.networks.maps import top_class_maps
from train.networks.transfer import Network


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

    @torch.inference_mode()
    def explain(self, batch: NDArray[np.float32]) -> tuple[Inference, NDArray[np.float32] | None]:
        """As an ONNX file's: (N, h, w) maps of the most likely classes, or None."""
        bare = self._network
        if isinstance(bare, FamiliarNetwork):
            bare = bare.embedding.network
        maps = top_class_maps(bare, torch.from_numpy(batch)) if isinstance(bare, Network) else None
        return self.infer(batch), None if maps is None else maps.numpy()
