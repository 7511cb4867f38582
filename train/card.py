"""A run and its measured figures in, MODEL_CARD.md out: what a user must know before trusting it.

The figures are written from the run; what no run can know (where the photos come from, under which
licence, what the model must not be used for) comes from a file of notes.
"""

from typing import Any

from serving.contract import Contract
from train.calibration import SURE_ACCURACY
from train.checkpoints import TrainedModel
from train.config import to_command
from train.report import markdown_classes, markdown_headlines

CARD = "MODEL_CARD.md"


def model_card(
    trained: TrainedModel, contract: Contract, version: str, report: dict[str, Any], notes: str
) -> str:
    """The card as Markdown."""
    parts = [
        f"# {contract.name}",
        _facts(trained, contract, version),
        _recipe(trained),
        *(_figures(name, split) for name, split in report["splits"].items()),
        _calibration(contract),
        notes.strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(trained: TrainedModel, contract: Contract, version: str) -> str:
    spec = contract.preprocess
    return "\n".join(
        [
            "| | |",
            "| --- | --- |",
            f"| version | `{version}` |",
            f"| classes | {', '.join(contract.classes)} |",
            f"| backbone | torchvision {trained.config.network.backbone} |",
            f"| input | {spec.width_px} x {spec.height_px} RGB, the whole photo stretched to it |",
            f"| training photos | manifest `{contract.manifest_sha256}` |",
            f"| seed | {trained.config.seed} |",
        ]
    )


def _recipe(trained: TrainedModel) -> str:
    commands = [to_command(trained.config)]
    if trained.averaged:
        names = [f"RUN{number}" for number in range(1, len(trained.averaged) + 1)]
        commands = [
            to_command(member).replace("--out RUN", f"--out {name}", 1)
            for name, member in zip(names, trained.averaged, strict=True)
        ]
        commands.append(f"python -m train average {' '.join(names)} --out RUN")
    return "\n".join(["## Recipe", "", "```", *commands, "```"])


def _figures(name: str, split: dict[str, Any]) -> str:
    tables = [*markdown_headlines(split), "", *markdown_classes(split)]
    return "\n".join([f"## Figures on {name}", "", *tables])


def _calibration(contract: Contract) -> str:
    fitted = contract.metrics
    if "calibration_photos" not in fitted:
        return "## Calibration\n\nNot calibrated: probabilities are the softmax of the logits."
    return (
        "## Calibration\n\n"
        f"Temperature {contract.temperature:.3f}, fitted on {fitted['calibration_photos']} photos "
        "of train that a sibling of this network, trained by the same recipe, had not seen: "
        f"calibration error {fitted['calibration_ece_before']:.3f} before, "
        f"{fitted['calibration_ece_after']:.3f} after.\n\n"
        f"An answer is `unsure` below {contract.unsure_below:.3f}: the lowest threshold at which "
        f"{SURE_ACCURACY:.0%} of the other answers on those photos were right. "
        f"{fitted['calibration_coverage']:.1%} of them were sure."
    )
