"""A run and its measured figures in, MODEL_CARD.md out: what a user must know before trusting it.

The figures are written from the run; what no run can know (where the photos come from, under which
licence, what the model must not be used for) comes from a file of notes.
"""

from typing import Any

from serving.contract import Contract
from train.calibration import SURE_ACCURACY
from train.lineage import cascade_commands, commands, fitted
from train.report import markdown_classes, markdown_headlines
from train.saved import Trained, TrainedCascade

CARD = "MODEL_CARD.md"


def model_card(
    trained: Trained, contract: Contract, version: str, report: dict[str, Any], notes: str
) -> str:
    """The card as Markdown."""
    parts = [
        f"# {contract.name}",
        _facts(trained, contract, version),
        _recipe(trained),
        *(_figures(name, split) for name, split in report["splits"].items()),
        *(_int8(name, split, report.get("int8")) for name, split in report["splits"].items()),
        _calibration(trained, contract),
        notes.strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(trained: Trained, contract: Contract, version: str) -> str:
    return "\n".join(
        [
            "| | |",
            "| --- | --- |",
            f"| version | `{version}` |",
            f"| classes | {', '.join(contract.classes)} |",
            f"| backbone | {_backbones(trained)} |",
            f"| input | {_inputs(trained, contract)} |",
            f"| training photos | manifest `{contract.manifest_sha256}` |",
            f"| seed | {_seeds(trained)} |",
        ]
    )


def _backbones(trained: Trained) -> str:
    networks = [part.config.network for part in trained.parts]
    names = " and ".join(n.backbone + (" (pruned)" if n.hidden else "") for n in networks)
    if not isinstance(trained, TrainedCascade):
        return names
    return f"{names}, the second where the first is less than {trained.rule.sure_above:.3f} sure"


def _inputs(trained: Trained, contract: Contract) -> str:
    spec = contract.preprocess
    size = f"{spec.width_px} x {spec.height_px}"
    if isinstance(trained, TrainedCascade):
        px = trained.rule.second_px
        size += f" and {px} x {px}"
    return f"{size} RGB, the whole photo stretched to it"


def _seeds(trained: Trained) -> str:
    """The seed of each run that was trained for it, once."""
    members = [run for part in trained.parts for run in fitted(part.members)]
    return ", ".join(dict.fromkeys(str(run.config.seed) for run in members))


def _recipe(trained: Trained) -> str:
    if isinstance(trained, TrainedCascade):
        sizes_px = (trained.rule.first_px, trained.rule.second_px)
        first, second = (part.members for part in trained.parts)
        lines = cascade_commands(first, second, sizes_px=sizes_px, like=bool(trained.like))
    else:
        lines = commands(trained.members)
    return "\n".join(["## Recipe", "", "```", *lines, "```"])


def _figures(name: str, split: dict[str, Any]) -> str:
    tables = [*markdown_headlines(split), "", *markdown_classes(split)]
    return "\n".join([f"## Figures on {name}", "", *tables])


def _int8(name: str, split: dict[str, Any], int8: dict[str, Any] | None) -> str:
    if int8 is None:
        return ""
    gate, limits = int8["gate"], int8["gate"]["limits"]
    judged, run = gate["candidate"], gate["run"]
    seen = "had seen" if gate["photos"]["seen_by_the_network"] else "had not seen"
    return (
        "## int8\n\n"
        "This file computes in 8 bits, the figures above are its own. Against the float32 file "
        "that it was made of:\n\n"
        "| | float32 | int8 | same label |\n| --- | --- | --- | --- |\n"
        + _int8_row(
            name,
            (int8["float32_correct"], split["correct"], int8["agreed"], int8["photos"]),
            int8["agreement_interval_95"],
        )
        + _int8_row(
            f"photos of train that the network {seen}, by the recipe",
            _counts(judged),
            judged["agreement_interval_95"],
        )
        + _int8_row(
            "photos of train that calibration had not seen, this file",
            _counts(run),
            run["agreement_interval_95"],
        )
        + "\nIn brackets the 95 % interval. It was written because on the two lower rows it kept "
        f"at least {limits['min_agreement']:.1%} of the labels, lost at most "
        f"{limits['max_accuracy_loss']:.1%} of accuracy, took {run['time_ratio']:.2f} times "
        "float32's time, and no two of its weights can saturate 16 bits on processors without "
        f"VNNI.{_int8_second(gate['second'])}"
    )


def _int8_second(second: dict[str, Any] | None) -> str:
    """What became of a cascade's second network, whose own answers were judged."""
    if second is None:
        return ""
    if not second["run"] or second["run"][-1]["refused"]:
        return " The second network is in float32: no int8 file of it was let pass."
    passed = second["run"][-1]
    before, after, agreed, photos = _counts(passed)
    return (
        " The second network is in 8 bits too. Alone, on the photos of the lowest row, it is right "
        f"on {after} and float32 on {before}, with the same label on {agreed} of {photos}, in "
        f"{passed['time_ratio']:.2f} times the time."
    )


def _counts(judged: dict[str, Any]) -> tuple[int, int, int, int]:
    names = ("correct_float32", "correct_int8", "agreed", "photos")
    before, after, agreed, photos = (judged[name] for name in names)
    return before, after, agreed, photos


def _int8_row(what: str, counts: tuple[int, int, int, int], interval: list[float]) -> str:
    before, after, agreed, photos = counts
    low, high = interval
    return (
        f"| {what} | {before} of {photos} | {after} of {photos} | {agreed / photos:.1%} "
        f"({low:.1%} to {high:.1%}) |\n"
    )


def _temperatures(trained: Trained, contract: Contract) -> str:
    if isinstance(trained, TrainedCascade):
        rule = trained.rule
        return f"{rule.first_temperature:.3f} and {rule.second_temperature:.3f}"
    return f"{contract.temperature:.3f}"


def _calibration(trained: Trained, contract: Contract) -> str:
    fitted = contract.metrics
    if "calibration_photos" not in fitted:
        return "## Calibration\n\nNot calibrated: probabilities are the softmax of the logits."
    photos = (
        f"{fitted['calibration_photos']} photos of train that a sibling of this network, trained "
        "by the same recipe, had not seen"
    )
    if "calibration_like" in fitted:
        photos = (
            f"{fitted['calibration_photos']} photos that it had not seen. Not their labels were "
            f"taken for right but what the model `{fitted['calibration_like']}` holds for likely"
        )
    return (
        "## Calibration\n\n"
        f"Temperature {_temperatures(trained, contract)}, fitted on {photos}: "
        f"calibration error {fitted['calibration_ece_before']:.3f} before, "
        f"{fitted['calibration_ece_after']:.3f} after.\n\n" + _unsure(contract)
    )


def _unsure(contract: Contract) -> str:
    coverage = contract.metrics["calibration_coverage"]
    if not coverage:
        return (
            f"Every answer is `unsure`: at no threshold were {SURE_ACCURACY:.0%} of the answers on "
            "those photos right."
        )
    return (
        f"An answer is `unsure` below {contract.unsure_below:.3f}: the lowest threshold at which "
        f"{SURE_ACCURACY:.0%} of the other answers on those photos were right. "
        f"{coverage:.1%} of them were sure."
    )
