"""A run's folder in, its model out, if its photos may judge or calibrate for those of another run.

Such a sibling was trained by the same recipe with photos held out, which the other was trained on.
"""

from pathlib import Path

from train.errors import UsageError
from train.saved import Trained, load_model


def open_sibling(flag: str, folder: Path, trained: Trained, run: Path) -> Trained:
    """The sibling of `run` that `flag` names.

    Raises:
        UsageError: it tells other classes, or is of other backbones: of two for one, for instance.
    """
    sibling = load_model(folder)
    if sibling.classes != trained.classes:
        raise UsageError(f"{folder} has other classes than {run}.")
    its, own = ([p.config.network.backbone for p in model.parts] for model in (sibling, trained))
    if its != own:
        raise UsageError(
            f"{flag} {folder} is {' and '.join(its)}, {run} is {' and '.join(own)}: give a run of "
            "the same recipe."
        )
    return sibling
