"""A pretrained network with its own classifier: the 1,000 classes of ImageNet, by name."""

from serving.model.contract import Contract
from train.errors import UsageError
from train.networks.backbones import pretraining, whole_model
from train.networks.timm_models import TIMM
from train.networks.torch_model import TorchModel


def open_pretrained(backbone: str, weights: str) -> TorchModel:
    """A network with its own classifier, and the contract of the input that it was trained for.

    Args:
        backbone: a torchvision classification model by name.
        weights: `default`, a state-dict file, or `none`.

    Raises:
        UsageError: the backbone is unknown or one of timm's, which do not name their classes, or
            its weights cannot be downloaded or do not fit.
    """
    if backbone.startswith(TIMM):
        raise UsageError(
            f"--backbone {backbone}: timm's models do not name their classes. Use one of "
            "torchvision's, or train a run with this one (`fit`) and predict with the run."
        )
    network, usual = whole_model(backbone, weights), pretraining(backbone)
    contract = Contract(name=backbone, classes=usual.classes, preprocess=usual.spec)
    return TorchModel(network, contract)
