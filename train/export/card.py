"""A run and its measured figures in, MODEL_CARD.md out.

What a run cannot know (origin and licence of the photos, misuse) comes from a file of notes.
"""

from typing import Any

from serving.model.contract import Contract
from train.evaluate.familiarity import UNSURE_SHARE
from train.evaluate.report.page import headlines, markdown_classes, plain
from train.runs.command import fit_command
from train.runs.model import TrainedModel
from train.runs.photos import HOLDOUT, unseen_split

CARD = "MODEL_CARD.md"


def model_card(
    trained: TrainedModel, contract: Contract, version: str, report: dict[str, Any], notes: str
) -> str:
    """The card as Markdown."""
    splits = report["splits"]
    parts = [
        f"# {plain(contract.name)}",
        _facts(trained, contract, version),
        f"## Command\n\n```\n{fit_command(trained.config)}\n```",
        _figures(splits, unseen_split(trained)),
        *(_classes(name, split) for name, split in splits.items()),
        _int8(splits, report["int8"]) if "int8" in report else "",
        _calibration(trained, contract),
        notes.strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(trained: TrainedModel, contract: Contract, version: str) -> str:
    spec = contract.preprocess
    size = f"{spec.width_px} x {spec.height_px}"
    return "\n".join(
        [
            "| | |",
            "| --- | --- |",
            f"| version | `{version}` |",
            f"| classes | {', '.join(map(plain, contract.classes))} |",
            f"| backbone | {plain(trained.config.network.backbone)} |",
            f"| input | {size} RGB, the whole photo stretched to it |",
            f"| training photos | manifest `{contract.manifest_sha256}` |",
            f"| seed | {trained.config.seed} |",
        ]
    )


def _figures(splits: dict[str, Any], chosen_on: str) -> str:
    """The headlines of every split in one table; `chosen_on` is the one that settings saw."""
    cells = {
        name: {title: f"{value} ({note})" for title, value, note in headlines(split)}
        for name, split in splits.items()
    }
    titles = dict.fromkeys(title for column in cells.values() for title in column)
    lines = [
        f"| figure | {' | '.join(splits)} |",
        f"| --- |{' --- |' * len(splits)}",
        *(
            f"| {title} | {' | '.join(column.get(title, '') for column in cells.values())} |"
            for title in titles
        ),
    ]
    if set(splits) == {chosen_on}:
        lines += [
            "",
            "There is no split `test`: settings may have been chosen on these photos, which makes "
            "the figures too good.",
        ]
    return "\n".join(["## Figures", "", *lines])


def _classes(name: str, split: dict[str, Any]) -> str:
    return "\n".join([f"## Each class of {name}", "", *markdown_classes(split)])


def _int8(splits: dict[str, Any], int8: dict[str, Any]) -> str:
    gate, limits = int8["gate"], int8["gate"]["limits"]
    photos, passed = gate["photos"], gate["passed"]
    rows = [
        _int8_row(
            name,
            (its["float32_correct"], splits[name]["correct"], its["agreed"], its["photos"]),
            its["agreement_interval_95"],
        )
        for name, its in int8["splits"].items()
    ]
    return (
        "## int8\n\n"
        "This file computes in 8 bits; the figures above are its own. Compared with the float32 "
        "file that it was made from:\n\n"
        "| photos | float32 | int8 | same label (95 % interval) |\n| --- | --- | --- | --- |\n"
        f"{''.join(rows)}\n"
        f"It passed the gate on {photos['judging']} photos of {photos['judging_split']}: it kept "
        f"at least {limits['min_agreement']:.1%} of the labels, lost at most "
        f"{limits['max_accuracy_loss']:.1%} of accuracy, took {passed['time_ratio']:.2f} times "
        "float32's time, and no two of its weights can saturate 16 bits on processors without VNNI."
    )


def _int8_row(what: str, counts: tuple[int, int, int, int], interval: list[float]) -> str:
    before, after, agreed, photos = counts
    low, high = interval
    return (
        f"| {what} | {before} of {photos} | {after} of {photos} | {agreed / photos:.1%} "
        f"({low:.1%} to {high:.1%}) |\n"
    )


def _calibration(trained: TrainedModel, contract: Contract) -> str:
    fitted = contract.metrics
    if "calibration_photos" not in fitted:
        return "## Calibration\n\nNot calibrated: probabilities are the softmax of the logits."
    split = unseen_split(trained)
    where = "train that were held out of training" if split == HOLDOUT else split
    return (
        "## Calibration\n\n"
        f"Temperature {contract.temperature:.3f}, fitted on {fitted['calibration_photos']} photos "
        f"of {where}: calibration error {fitted['calibration_ece_before']:.3f} before, "
        f"{fitted['calibration_ece_after']:.3f} after.\n\n" + _unsure(contract)
    )


def _unsure(contract: Contract) -> str:
    known = contract.familiarity
    undecided = f"its highest probability is below {contract.unsure_below:.3f} (undecided)"
    if known is None:
        return f"An answer is `unsure` if {undecided}."
    return (
        "An answer is `unsure` if the photo is unlike the training photos (unfamiliar), or if "
        f"{undecided}. `familiarity` compares a photo's distance to the nearest class with those "
        f"of {known.photos:,} photos that the model did not learn from, so its steps are "
        f"{1 / (known.photos + 1):.2g}; below {known.unsure_below:g} a photo is unfamiliar. "
        f"Together, the two thresholds call at most {UNSURE_SHARE:.0%} of those photos unsure."
    )
