"""A new sandbox under AWS's runtime emulator: INIT and the first answer, ours and the workshop's.

    python -m benchmarks.init [--rounds 20]

The emulator begins INIT when the first request comes, so that request pays for it: AWS's runtime is
started, the handler's module imported, the model loaded. INIT is the time of the first request less
that of the second. Both functions lie in folders like the image's /var/task
(benchmarks/task_folders.py); ours gets the photo in base64, the workshop's the URL of a server on
loopback. Ratios are ours divided by the workshop's: below 1 is better.
"""

import base64
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import tyro

from benchmarks import photos
from benchmarks.results import RESULTS, Results, Spread, table
from benchmarks.rounds import ONE_THREAD, on_last_cores
from benchmarks.start import photo_server
from benchmarks.task_folders import built
from local.backends import HANDLER, FunctionConfig
from local.emulator import Emulator
from local.errors import LocalError

NAME = "init"
ROWS = ("INIT", "first request")
_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Config:
    """Time new sandboxes in the emulator, against the workshop's."""

    rounds: int = 20
    """Sandboxes of each; the first round, which warms the file cache, is not counted."""
    quick: bool = False
    """A trial of 2 rounds, whose figures mean little."""
    python: Path = Path(sys.executable)
    """The interpreter that the folders are installed for."""
    workshop_model: Path | None = None
    """The workshop's MobileNetV2 with a float32 input of 224; one is exported if not given."""
    out: Path = RESULTS
    """Folder for the figures."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Seconds of a new sandbox's first two requests, from sending to the whole answer."""

    first_s: float
    second_s: float

    @property
    def init_s(self) -> float:
        """What the first request took on top."""
        return self.first_s - self.second_s


def measure(config: Config) -> Results:
    """All rounds, and the ratios within each; a row says so where there is no emulator."""
    photo = photos.jpeg("400x533")
    image = {"image": base64.b64encode(photo).decode()}
    with photo_server(photo) as url, tempfile.TemporaryFile() as log:
        try:
            folders = built(config.python, config.workshop_model)
            asked = {"ours": (folders.ours, image), "workshop": (folders.workshop, {"url": url})}
            found = _rounds(asked, 2 if config.quick else config.rounds, log)
        except LocalError as error:
            return Results(NAME, not_measured=dict.fromkeys(ROWS, str(error)))
    return results(found)


def _rounds(
    asked: Mapping[str, tuple[Path, dict[str, str]]], rounds: int, log: IO[Any]
) -> dict[str, list[Sandbox]]:
    found: dict[str, list[Sandbox]] = {name: [] for name in asked}
    for number in range(rounds + 1):
        for name in sorted(asked, reverse=number % 2 == 1):
            sandbox = new_sandbox(*asked[name], log)
            if number:
                found[name].append(sandbox)
    return found


def new_sandbox(folder: Path, event: Mapping[str, str], log: IO[Any]) -> Sandbox:
    """Start an emulator on a function's folder, on one core, and ask twice.

    Raises:
        LocalError: the emulator is not there, or the function failed.
    """
    environ = FunctionConfig({**os.environ, **ONE_THREAD}, log).lambda_environ()
    body = json.dumps(event).encode()
    with on_last_cores():
        emulator = Emulator(
            handler=HANDLER, environ=environ, timeout_s=_TIMEOUT_S, log=log, folder=folder
        )
        try:
            return Sandbox(_timed(emulator, body), _timed(emulator, body))
        finally:
            emulator.close()


def _timed(emulator: Emulator, event: bytes) -> float:
    started = time.perf_counter()
    answer = json.loads(emulator.invoke(event))
    seconds = time.perf_counter() - started
    if "code" in answer:  # a problem document
        raise LocalError(f"the function answered: {answer['detail']}")
    return seconds


def results(found: Mapping[str, Sequence[Sandbox]]) -> Results:
    """Ratios of ours to the workshop's, formed within each round."""
    pairs = list(zip(found["ours"], found["workshop"], strict=True))
    made = Results(NAME)
    made.ratios["INIT"] = Spread.of([o.init_s / w.init_s for o, w in pairs])
    made.ratios["first request"] = Spread.of([o.first_s / w.first_s for o, w in pairs])
    made.measured = {
        name: {
            part: Spread.of([asdict(sandbox)[part] for sandbox in sandboxes]).to_json()
            for part in ("first_s", "second_s")
        }
        for name, sandboxes in found.items()
    }
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    found = measure(config)
    print("Ours divided by the workshop's, in AWS's runtime emulator:")
    print(table(found))
    print(f"The figures are in {found.write(config.out)}.")


if __name__ == "__main__":
    main()
