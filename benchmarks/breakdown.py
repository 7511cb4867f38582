"""Where our handler spends its time, by stage of a request.

    python -m benchmarks.breakdown [--quick]

The stages are those of an answer's `timings_ms`. The rest is reading the event, decoding base64,
checking limits and writing the answer. One core, one thread.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks.harness import photos
from benchmarks.harness.results import FIGURES, Results
from benchmarks.harness.rounds import on_last_cores
from benchmarks.peers.contestants import Ours

NAME = "breakdown"
STAGES = ("decode", "preprocess", "inference")
REST, WHOLE = "all else", "handler"


@dataclass(frozen=True, slots=True)
class Config:
    """Show where the handler spends its time."""

    rounds: int = 100
    """Requests with each photo."""
    quick: bool = False
    """A trial of 3 requests, whose figures mean little."""
    out: Path = FIGURES
    """Folder for the figures."""


def stages(rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds by photo, then by stage; with the rest and the total."""
    ours = Ours({})
    requests = {kind: ours.request_of(photos.jpeg(kind)) for kind in photos.SIZES_PX}
    found: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in requests}
    for request in requests.values():
        ours.answer(request)  # the first request imports modules late
    for _ in range(rounds):
        for kind, request in requests.items():
            started = time.perf_counter()
            answer = ours.answer(request)
            whole_ms = (time.perf_counter() - started) * 1000
            timings_ms = json.loads(answer["body"])["timings_ms"]
            row = {stage: timings_ms[stage] for stage in STAGES}
            row |= {REST: whole_ms - sum(row.values()), WHOLE: whole_ms}
            for stage, duration_ms in row.items():
                found[kind][stage].append(duration_ms)
    return {
        kind: {stage: float(np.median(all_)) for stage, all_ in of.items()}
        for kind, of in found.items()
    }


def stage_table(by_photo: Mapping[str, Mapping[str, float]]) -> str:
    """A column for each photo, a line for each stage."""
    lines = [f"{'milliseconds':<14}" + "".join(f"{kind:>10}" for kind in by_photo)]
    lines += [
        f"{row:<14}" + "".join(f"{of[row]:>10.1f}" for of in by_photo.values())
        for row in (*STAGES, REST, WHOLE)
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    with (
        on_last_cores(),
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),  # the function logs to stdout
    ):
        by_photo = stages(3 if config.quick else config.rounds)
    print(stage_table(by_photo))
    results = Results(NAME, measured={"stages_ms": by_photo})
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
