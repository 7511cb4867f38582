"""Blocks a new version of the function whose answers to the golden pictures differ.

The expected answers are deployed beside this file; `python -m train bundle` writes them from the
torch checkpoint. Nothing is read from the version under test, so it also finds a model whose own
contract was changed with it. Answers contain calibrated probabilities, not logits; the expected
ones are computed here from the checkpoint's logits and temperature.

It needs only the runtime's own boto3.
"""

import base64
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_name("golden")
EXPECTATIONS = "expectations.json"
NEW_VERSION = "NEW_VERSION"  # the environment variable that names the version under test
_FAMILIARITY_TOLERANCE = 0.02  # it changes in steps, one for each validation photo
_MAX_TOP_K = 20  # the service's TOP_K_MAX, as the template sets it

Answer = Mapping[str, Any]
Ask = Callable[[dict[str, Any]], Answer]


@dataclass(frozen=True, slots=True)
class Golden:
    """One picture and the checkpoint's answer.

    Attributes:
        picture: the bytes of an image file.
        probabilities: by class, each 0..1: softmax(logits / temperature).
        tolerance: largest allowed difference of any probability.
        familiarity: the expected one; None if the model does not compute it.
    """

    name: str
    picture: bytes
    label: str
    probabilities: Mapping[str, float]
    tolerance: float
    familiarity: float | None = None

    @property
    def event(self) -> dict[str, Any]:
        """The direct invocation, which asks for as many classes as an answer may list."""
        image = base64.b64encode(self.picture).decode()
        return {"image": image, "top_k": top_k(len(self.probabilities))}


def top_k(classes: int) -> int:
    """How many predictions to ask for from a model with this many classes."""
    return min(classes, _MAX_TOP_K)


def load(folder: Path = GOLDEN) -> list[Golden]:
    """Read the golden pictures of a folder; raises OSError or ValueError when it holds none."""
    expected = json.loads((folder / EXPECTATIONS).read_text(encoding="utf-8"))
    goldens = [
        Golden(
            name=entry["file"],
            picture=(folder / entry["file"]).read_bytes(),
            label=entry["label"],
            probabilities=dict(
                zip(
                    expected["classes"],
                    softmax(entry["logits"], expected["temperature"]),
                    strict=True,
                )
            ),
            tolerance=expected["tolerance"],
            familiarity=entry.get("familiarity"),
        )
        for entry in expected["pictures"]
    ]
    if not goldens:
        raise ValueError(f"{folder / EXPECTATIONS} names no picture.")
    return goldens


def softmax(logits: Sequence[float], temperature: float) -> list[float]:
    """Logits of one picture -> its calibrated probabilities."""
    highest = max(logits)
    powers = [math.exp((logit - highest) / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def differences(golden: Golden, answer: Any) -> list[str]:
    """How an answer differs from the checkpoint's, one line each; empty when they agree."""
    if not _is_prediction(answer):
        said = None
        if isinstance(answer, dict):
            said = answer.get("detail") or answer.get("errorMessage")
        return [f"{golden.name}: not a prediction: {said or json.dumps(answer)[:200]}"]
    found = []
    if answer.get("label") != golden.label:
        found.append(f"{golden.name}: label {answer.get('label')}, expected {golden.label}")
    answered = {p["label"]: p["probability"] for p in answer["predictions"]}
    strangers = answered.keys() - golden.probabilities.keys()
    if strangers or len(answered) != golden.event["top_k"]:
        return [*found, f"{golden.name}: unexpected classes: {', '.join(answered)}"]
    label = max(answered, key=lambda name: abs(answered[name] - golden.probabilities[name]))
    off = abs(answered[label] - golden.probabilities[label])
    if not off <= golden.tolerance:  # NaN differs, too
        found.append(
            f"{golden.name}: probability of {label} {answered[label]:.6f}, expected "
            f"{golden.probabilities[label]:.6f} within {golden.tolerance:g}"
        )
    return found + _familiarity(golden, answer.get("familiarity"))


def _familiarity(golden: Golden, answered: Any) -> list[str]:
    """How the answer's familiarity differs, as at most one line."""
    wanted = golden.familiarity
    if wanted is None or (
        isinstance(answered, float | int) and abs(answered - wanted) <= _FAMILIARITY_TOLERANCE
    ):
        return []
    return [
        f"{golden.name}: familiarity {answered}, expected {wanted:g} within "
        f"{_FAMILIARITY_TOLERANCE:g}"
    ]


def _is_prediction(answer: Any) -> bool:
    predictions = answer.get("predictions") if isinstance(answer, dict) else None
    return isinstance(predictions, list) and all(
        isinstance(p, dict)
        and isinstance(p.get("label"), str)
        and isinstance(p.get("probability"), float | int)
        for p in predictions
    )


def check(goldens: Sequence[Golden], ask: Ask) -> list[str]:
    """Every difference between the expected answers and those of `ask`."""
    return [line for golden in goldens for line in differences(golden, ask(golden.event))]


def verdict(goldens_in: Path, ask: Ask) -> list[str]:
    """Like `check`; if that fails to run, a line that says so, which blocks the version, too."""
    try:
        return check(load(goldens_in), ask)
    except Exception as error:  # noqa: BLE001 - a check that did not run has not passed
        return [f"The check failed to run: {type(error).__name__}: {error}"]


def lambda_handler(event: Mapping[str, str], context: object) -> dict[str, Any]:
    """Check the version in NEW_VERSION and report to CodeDeploy."""
    import boto3
    from botocore.config import Config

    version = os.environ[NEW_VERSION]
    functions = boto3.client("lambda", config=Config(read_timeout=60))

    def ask(request: dict[str, Any]) -> Answer:
        done = functions.invoke(FunctionName=version, Payload=json.dumps(request).encode())
        answer: Answer = json.loads(done["Payload"].read())
        return answer

    problems = verdict(GOLDEN, ask)
    for line in problems or ["Every golden picture was answered as expected."]:
        print(json.dumps({"level": "ERROR" if problems else "INFO", "message": line}))
    status = "Failed" if problems else "Succeeded"
    boto3.client("codedeploy").put_lifecycle_event_hook_execution_status(
        deploymentId=event["DeploymentId"],
        lifecycleEventHookExecutionId=event["LifecycleEventHookExecutionId"],
        status=status,
    )
    return {"status": status, "problems": problems}
