"""A network's float32 file in, its int8 file out if one passes the gate, and every trial's figures.

Candidates are made of a sibling's file, whose photos to judge on are new to it; the recipes that
pass there, the best first, make the file of the run itself, until one passes as well.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from serving.classifier import Classifier
from serving.contract import Contract
from train import data
from train.candidates import Quantizer, Recipe
from train.export import ONNX_FILE, add_contract
from train.gate import Judged, Limits, Reference, judge, refusals
from train.gated import SECOND_INT8_FILE
from train.judging import PhotoRoles
from train.turns import Clock

RULE = (
    "Of the candidates that pass, the one with the least mean difference of probabilities from "
    "float32; of equal ones the fastest."
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recipe and what became of it."""

    recipe: Recipe
    judged: Judged
    refused: list[str]

    def to_json(self) -> dict[str, Any]:
        """The candidate as JSON values."""
        return {**asdict(self.recipe), **self.judged.figures(), "refused": self.refused}


@dataclass(frozen=True, slots=True)
class Source:
    """What candidates are made of, and the float32 answers that they are compared with.

    `file` has a folder to itself, into which the candidates go; beside it is its second model.
    """

    file: Path
    float32: Classifier


@dataclass(frozen=True, slots=True)
class Trials:
    """What was tried of one network, and the files that passed.

    Attributes:
        candidates: of the sibling's network, in the order in which they were made.
        run: of the run's own, the last of which passed if any did.
        passed: the run's int8 file, and the sibling's by the same recipe; None if none did.
    """

    candidates: list[Candidate]
    run: list[Candidate]
    passed: tuple[Path, Path] | None

    def to_json(self) -> dict[str, Any]:
        """The trials as JSON values."""
        return {
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "run": [candidate.to_json() for candidate in self.run],
        }

    def closest(self) -> Candidate:
        """Of trials that failed the one that came closest."""
        by_failures = sorted(
            self.candidates, key=lambda c: (len(c.refused), c.judged.mean_difference)
        )
        return (self.run or by_failures)[0]


@dataclass(frozen=True, slots=True)
class Examiner:
    """Tries int8 files of a network: what they are held to, and on which photos."""

    roles: PhotoRoles
    limits: Limits
    cache: Path
    clock: Clock

    def trials_of(self, run: Source, sibling: Source, wanted: Sequence[Recipe]) -> Trials:
        """Try every recipe on the sibling's network, and on the run's those that pass.

        The file that passes says in its contract how it was judged.
        """
        judged_on = Reference.on(sibling.float32, self.roles.candidates, self.cache)
        makes = self._quantizer(sibling)
        candidates = [self._judge(makes, recipe, judged_on) for recipe in wanted]
        ranked = rank(candidates)
        tried: list[Candidate] = []
        if not ranked:
            return Trials(candidates, tried, None)
        of_all = Reference.on(run.float32, self.roles.run, self.cache)
        own = makes if run.file == sibling.file else self._quantizer(run)
        for recipe in (candidate.recipe for candidate in ranked):
            tried.append(self._judge(own, recipe, of_all))
            if not tried[-1].refused:
                made = own.path_of(recipe)
                contract = Classifier.load(made).contract
                made.write_bytes(add_contract(made, contract_of_int8(contract, tried[-1].judged)))
                return Trials(candidates, tried, (made, makes.path_of(recipe)))
        return Trials(candidates, tried, None)

    def _quantizer(self, source: Source) -> Quantizer:
        spec = source.float32.contract.preprocess
        pixels = data.pixels(self.roles.calibration, spec, self.cache)
        return Quantizer(source.file, spec, pixels, source.file.parent)

    def _judge(self, quantizer: Quantizer, recipe: Recipe, reference: Reference) -> Candidate:
        judged = judge(reference, quantizer.make(recipe), self.clock)
        refused = refusals(judged, self.limits)
        verdict = "refused" if refused else "passes"
        print(f"{verdict:8} {recipe!s:48} {judged_line(judged)}", flush=True)
        return Candidate(recipe, judged, refused)


def rank(candidates: list[Candidate]) -> list[Candidate]:
    """Those that pass, the best first, by RULE."""
    passing = [candidate for candidate in candidates if not candidate.refused]
    return sorted(passing, key=lambda c: (c.judged.mean_difference, c.judged.time_ratio))


def contract_of_int8(contract: Contract, judged: Judged) -> Contract:
    """The float32 file's contract; its split's figures are named as what they are."""
    kept = {
        name if name.startswith("calibration_") else f"float32_{name}": value
        for name, value in contract.metrics.items()
    }
    added = {
        "int8_agreement": round(judged.agreement, 4),
        "int8_agreement_photos": judged.photos,
        "int8_mean_difference": round(judged.mean_difference, 5),
    }
    return replace(contract, metrics=kept | added)


def copy_model(source: Path, folder: Path, int8_second: Path | None = None) -> Path:
    """A model file in a folder of its own, beside its second or an int8 one in the place of that.

    Whatever is made of the copy has its contract, and finds that second model.
    """
    contract = Classifier.load(source).contract
    folder.mkdir(parents=True)
    copy = folder / ONNX_FILE
    shutil.copyfile(source, copy)
    if contract.second is not None and int8_second is None:
        name = contract.second.file
        shutil.copyfile(source.with_name(name), folder / name)
    elif contract.second is not None and int8_second is not None:
        shutil.copyfile(int8_second, folder / SECOND_INT8_FILE)
        sha256 = hashlib.sha256(int8_second.read_bytes()).hexdigest()
        named = replace(contract.second, file=SECOND_INT8_FILE, sha256=sha256)
        copy.write_bytes(add_contract(copy, replace(contract, second=named)))
    return copy


def judged_line(judged: Judged) -> str:
    """The figures of a file on one line."""
    return (
        f"agreement {judged.agreement:.4f}, accuracy {judged.correct_int8 / judged.photos:.4f} "
        f"(float32 {judged.correct_float32 / judged.photos:.4f}), mean difference "
        f"{judged.mean_difference:.5f}, {judged.time_ratio:.2f} of the time"
    )
