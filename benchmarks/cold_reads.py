"""What a process reads between its start and its first answer, by file; ours and the workshop's.

Lambda loads an image's blocks when they are first read, so a cold start waits for bytes. Three
counts, none of which is the whole truth: how large the opened files are; how much is read by calls
(strace; nothing is reported where that is not installed); and how much of each mapped library is in
the process's memory at the answer, which holds what the kernel read ahead.

    python -m benchmarks.cold_reads
"""

import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import photos
from benchmarks.results import Results, Spread, table
from benchmarks.start import photo_server, start
from benchmarks.task_folders import built

_CALL = re.compile(r"(?:read|pread64)\(\d+<(/[^>]*)>.*\) = (\d+)$")
_OPENED = re.compile(r"openat\(.*\) = \d+<(/[^>]*)>$")
_SHOWN = 12
_NOT_FILES = ("/proc/", "/sys/", "/dev/")


@dataclass(frozen=True, slots=True)
class Config:
    """Count what a cold start reads, against the workshop's."""

    python: Path = Path(sys.executable)
    """The interpreter that runs both; the image's is 3.13."""
    workshop_model: Path | None = None
    """The workshop's MobileNetV2 with a float32 input of 224; one is exported if not given."""
    quick: bool = False
    """As the other benchmarks have it; this one takes the same time with it."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Bytes by file, as far as each count goes."""

    opened: Mapping[str, int]
    read: Mapping[str, int]
    resident: Mapping[str, int]

    def sums(self) -> dict[str, int]:
        """Each count, over all files."""
        return {
            "opened files": sum(self.opened.values()),
            "read by calls": sum(self.read.values()),
            "resident of mapped files": sum(self.resident.values()),
        }


def traced(log: str) -> tuple[dict[str, int], dict[str, int]]:
    """strace's lines -> the sizes of opened files, and the bytes that were read from each."""
    read: Counter[str] = Counter()
    opened: dict[str, int] = {}
    for line in log.splitlines():
        if found := _CALL.search(line):
            if not found[1].startswith(_NOT_FILES):
                read[found[1]] += int(found[2])
        elif (found := _OPENED.search(line)) and not found[1].startswith(_NOT_FILES):
            path = Path(found[1])
            if path.is_file():
                opened[found[1]] = path.stat().st_size
    return opened, dict(read)


def told(name: str, folder: Path) -> str:
    """A file's name without where things lie on this machine: task/…, python/…, or as it is."""
    if name.startswith(f"{folder}/"):
        return f"task/{name[len(str(folder)) + 1 :]}"
    before, library, after = name.partition("/lib/")
    if library and before != "/usr":
        return f"python/{after}"
    return name if name.startswith(("/usr/", "/etc/")) else Path(name).name


def reads(python: Path, folder: Path, event: Any) -> Reads:
    """Start the function in a folder, have it answer, and see what it read."""
    _, found = start(python, folder, event, "--resident")
    resident = {told(name, folder): kb * 1024 for name, kb in found["resident_kb"].items()}
    if shutil.which("strace") is None:
        return Reads({}, {}, resident)
    with tempfile.TemporaryDirectory() as temporary:
        log = Path(temporary) / "strace"
        command = Path(temporary) / "python"
        calls = "openat,read,pread64"
        command.write_text(f'#!/bin/sh\nexec strace -f -y -e {calls} -o "{log}" "{python}" "$@"\n')
        command.chmod(0o755)
        start(command, folder, event)
        opened, read = traced(log.read_text(encoding="utf-8", errors="replace"))
    by_name = {
        what: {told(name, folder): count for name, count in each.items()}
        for what, each in (("opened", opened), ("read", read))
    }
    return Reads(**by_name, resident=resident)


def results(ours: Reads, workshop: Reads) -> Results:
    """Ratios of the sums, and the bytes by file."""
    made = Results("cold_reads")
    for row, theirs in workshop.sums().items():
        if theirs:
            made.ratios[row] = Spread.of([ours.sums()[row] / theirs])
        else:
            made.not_measured[row] = "strace is not installed"
    made.measured = {
        name: {
            "opened_bytes": found.opened,
            "read_bytes": found.read,
            "resident_bytes": found.resident,
        }
        for name, found in (("ours", ours), ("workshop", workshop))
    }
    return made


def by_file(title: str, found: Reads) -> str:
    """The files with the most bytes of either count, in megabytes."""
    names = found.opened.keys() | found.resident.keys()
    counts = (found.opened, found.read, found.resident)

    def row(name: str) -> list[float]:
        return [count.get(name, 0) / 1e6 for count in counts]

    largest = sorted(names, key=lambda name: -max(row(name)))[:_SHOWN]
    lines = [f"{title}, MB{'':<47}{'size':>8}{'read':>8}{'resident':>10}"]
    for name in largest:
        size, read, resident = row(name)
        lines.append(f"  {name[-54:]:<54}{size:>8.1f}{read:>8.1f}{resident:>10.1f}")
    size, read, resident = (value / 1e6 for value in found.sums().values())
    lines.append(f"  {f'all {len(names)}':<54}{size:>8.1f}{read:>8.1f}{resident:>10.1f}")
    return "\n".join(lines)


def main() -> None:
    """Count, print, and write benchmarks/results/cold_reads.json."""
    config = tyro.cli(Config, description=Config.__doc__)
    folders = built(config.python, config.workshop_model)
    with photo_server(photos.jpeg("400x533")) as url:
        ours = reads(config.python, folders.ours, {"url": url})
        workshop = reads(config.python, folders.workshop, {"url": url})
    found = results(ours, workshop)
    print(by_file("ours", ours))
    print(by_file("workshop", workshop))
    if not ours.opened:
        print("strace is not installed: sizes and reads are not counted (apt install strace).")
    print("Ours divided by the workshop's:")
    print(table(found))
    print(f"The figures are in {found.write()}.")


if __name__ == "__main__":
    main()
