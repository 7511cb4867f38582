"""Figures: ratios with their spread, a benchmark's JSON file, its table for the terminal.

Each benchmark writes `benchmarks/figures/NAME.json`:

    {"machine": {…}, "ratios": {ROW: {"median": …, "p10": …, "p90": …, "rounds": N}},
     "sides": {ROW: "OURS / BASELINE UNIT"}, "measured": {…}, "not_measured": {ROW: REASON}}

`benchmarks.figures.report` lists the goals. Each names a file and a row, and says what is divided
by what. `measured` is for people.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.rounds import ROOT
from train.files import read_json, write_json

FIGURES = ROOT / "benchmarks" / "figures"
_PACKAGES = (
    *("onnxruntime", "numpy", "pillow", "keras-image-helper", "torch", "torchvision"),
    "openvino",
)
# The flags that matter for int8 and float32 arithmetic on x86-64 and arm64.
_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimd", "asimddp", "i8mm")


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over rounds: the median, and the 10th and 90th percentile."""

    median: float
    p10: float
    p90: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of `values`, one for each round."""
        p10, median, p90 = np.percentile(values, (10, 50, 90))
        return cls(float(median), float(p10), float(p90), len(values))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Spread":
        """The spread that `to_json` wrote."""
        return cls(value["median"], value["p10"], value["p90"], value["rounds"])

    def to_json(self) -> dict[str, Any]:
        """The spread as JSON values."""
        return {"median": self.median, "p10": self.p10, "p90": self.p90, "rounds": self.rounds}

    def __str__(self) -> str:
        if self.rounds == 1:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.p10:.2f} to {self.p90:.2f})"


@dataclass(slots=True)
class Results:
    """What one benchmark found.

    Attributes:
        name: the name of its file.
        ratios: the ratio of each row.
        sides: for each row, our figure and the baseline's with their unit.
        measured: what else a reader may want to know.
        not_measured: for each row that is missing, the reason.
    """

    name: str
    ratios: dict[str, Spread] = field(default_factory=dict)
    sides: dict[str, str] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path = FIGURES) -> Path:
        """Write NAME.json with the machine that measured it; returns its path."""
        path = folder / f"{self.name}.json"
        ratios = {row: spread.to_json() for row, spread in self.ratios.items()}
        content = {
            "machine": machine(),
            "ratios": ratios,
            "sides": self.sides,
            "measured": self.measured,
            "not_measured": self.not_measured,
        }
        write_json(path, content)
        return path


def read(name: str, folder: Path = FIGURES) -> dict[str, Any] | None:
    """A benchmark's file, or None if it has not run."""
    path = folder / f"{name}.json"
    return read_json(path) if path.is_file() else None


def read_ratio(name: str, row: str, folder: Path = FIGURES) -> Spread | str:
    """A row's ratio from a benchmark's file, or the reason why there is none."""
    content = read(name, folder)
    if content is None:
        return "its benchmark has not run"
    if row in content["ratios"]:
        return Spread.from_json(content["ratios"][row])
    reason: str = content["not_measured"].get(row, "the benchmark has no such row")
    return reason


def sides(ours: float, baseline: float, unit: str, digits: int = 1) -> str:
    """Our figure and the baseline's: "4.0 / 8.4 ms"."""
    return f"{ours:,.{digits}f} / {baseline:,.{digits}f} {unit}"


def has_vnni(machine: Mapping[str, Any]) -> bool:
    """Whether the processor multiplies int8 directly: VNNI, AMX, or arm64's dot product."""
    return bool({"avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}.intersection(machine["flags"]))


def processor(machine: Mapping[str, Any]) -> str:
    """A processor's name and its instructions for int8."""
    names = {
        "amx_int8": "AMX",
        "avx512_vnni": "VNNI",
        "avx_vnni": "VNNI",
        "asimddp": "dot product",
        "avx2": "AVX2 only",
    }
    kind = next((name for flag, name in names.items() if flag in machine["flags"]), "no AVX2")
    return f"{machine['processor']}, {kind}"


def surroundings(machine: Mapping[str, Any]) -> str:
    """Cores, system, versions and date in one line."""
    packages = ", ".join(f"{package} {known}" for package, known in machine["packages"].items())
    return (
        f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}, {packages}, "
        f"{machine['date']}"
    )


def ratio_of_medians(other: Sequence[Sequence[float]], ours: Sequence[Sequence[float]]) -> Spread:
    """How many times slower `other` is than `ours`: the ratio of the medians of each round.

    Args:
        other, ours: seconds of each request, by round; the same rounds in both.
    """
    pairs = zip(other, ours, strict=True)
    return Spread.of([float(np.median(theirs) / np.median(mine)) for theirs, mine in pairs])


def latency_ms(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """p50 and p99 in milliseconds over all requests, and their number."""
    seconds = np.concatenate([np.asarray(one) for one in rounds])
    p50, p99 = np.percentile(seconds * 1000, (50, 99))
    return {"p50_ms": float(p50), "p99_ms": float(p99), "requests": len(seconds)}


def machine() -> dict[str, Any]:
    """What the figures depend on: processor and its flags, cores, load, versions, date."""
    processor, flags = _processor()
    return {
        "processor": processor,
        "flags": [flag for flag in _FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": _versions(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> tuple[str, frozenset[str]]:
    """Its name and flags from /proc/cpuinfo; elsewhere the name that Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    facts = {name.strip(): value.strip() for name, _, value in (s.partition(":") for s in lines)}
    name = facts.get("model name", platform.machine())
    if {"cpu family", "model"} <= facts.keys():
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return name, frozenset((facts.get("flags") or facts.get("Features", "")).split())


def _versions() -> dict[str, str]:
    """The versions of the installed ones of _PACKAGES."""
    found = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def table(results: Results) -> str:
    """The ratios with their spread, for the terminal."""
    width = max([len(row) for row in (*results.ratios, *results.not_measured)], default=0)
    lines = [f"{row:<{width}}  {spread}" for row, spread in results.ratios.items()]
    lines += [f"{row:<{width}}  not measured: {why}" for row, why in results.not_measured.items()]
    return "\n".join(lines)
