"""Bytes that the function adds to the base image: packages, code and model, against the workshop's.

The contents of /var/task are built from the Dockerfile's own lines, without Docker
(benchmarks/harness/task_folders.py). The base image is the same for both and is not counted.

    python -m benchmarks.footprint
"""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.harness.results import Results, Spread, sides, table
from benchmarks.harness.task_folders import built

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Config:
    """Compare the size of our packages, code and model with the workshop's."""

    python: Path = Path(sys.executable)
    """The interpreter to install for; the image's is 3.13."""
    workshop_model: Path | None = None
    """The workshop's MobileNetV2 with a float32 input of 224; one is exported if not given."""
    quick: bool = False
    """Changes nothing here; `make bench` passes it to every benchmark."""


def sizes(folder: Path) -> Counter[str]:
    """Bytes by top-level folder or file. Does not follow links."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found[path.relative_to(folder).parts[0]] += path.stat().st_size
    return found


def results(ours: Mapping[str, int], workshop: Mapping[str, int]) -> Results:
    """The ratio of the totals, and the bytes by folder."""
    made = Results("footprint")
    mine, theirs = sum(ours.values()), sum(workshop.values())
    made.ratios["size"] = Spread.of([mine / theirs])
    made.sides["size"] = sides(mine / 1e6, theirs / 1e6, "MB", 0)
    made.measured = {"ours_bytes": dict(ours), "workshop_bytes": dict(workshop)}
    return made


def by_folder(ours: Mapping[str, int], workshop: Mapping[str, int]) -> str:
    """A table of the largest folders in megabytes."""
    names = sorted(
        ours.keys() | workshop.keys(), key=lambda n: -max(_of(ours, n), _of(workshop, n))
    )
    rows = [(name, _of(ours, name), _of(workshop, name)) for name in names[:_SHOWN]]
    rows.append(("all", sum(ours.values()), sum(workshop.values())))
    lines = [f"{'MB':<24}{'ours':>8}{'workshop':>10}"]
    lines += [f"{name:<24}{mine / 1e6:>8.1f}{theirs / 1e6:>10.1f}" for name, mine, theirs in rows]
    return "\n".join(lines)


def _of(found: Mapping[str, int], name: str) -> int:
    return found.get(name, 0)


def main() -> None:
    """Measure, print, and write footprint.json."""
    config = tyro.cli(Config, description=Config.__doc__)
    folders = built(config.python, config.workshop_model)
    ours, workshop = sizes(folders.ours), sizes(folders.workshop)
    found = results(ours, workshop)
    print(by_folder(ours, workshop))
    print("Ours divided by the workshop's:")
    print(table(found))
    print(f"The figures are in {found.write()}.")


if __name__ == "__main__":
    main()
