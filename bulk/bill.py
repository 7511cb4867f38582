"""What many photos cost and how fast they go: measured times and list prices in.

`python -m bulk.bill` prints the table of docs/bulk.md.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bulk.jobs import SHARD_PHOTOS
from ops.bill import FIGURES, MEMORIES_MB, PRICES, compute_dollars
from serving.settings import MEMORY_MB_PER_VCPU

CONCURRENT = (100, 1_000)
# The child's start and its one state (AWS Step Functions pricing, standard workflows).
TRANSITIONS_PER_SHARD = 2
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Machine:
    """What a child runs on."""

    memory_mb: int
    architecture: str = "x86_64"


def shard_dollars(shards: int, seconds: float, machine: Machine) -> float:
    """What children cost that took these seconds together: Lambda and Step Functions."""
    if not shards:
        return 0.0
    ms = math.ceil(seconds * 1000 / shards)
    lambda_dollars = compute_dollars(shards, ms, machine.memory_mb, machine.architecture)
    return lambda_dollars + transition_dollars(shards)


def transition_dollars(shards: int) -> float:
    """Step Functions' share."""
    price: float = PRICES["states"]["million_transitions"]
    return shards * TRANSITIONS_PER_SHARD / 1e6 * price


def measured(figures: Path = FIGURES) -> dict[str, dict[str, float]]:
    """Photos a second of one function by a photo's size, then by vCPUs (benchmarks/bulk.py)."""
    content = json.loads((figures / "bulk.json").read_text())
    rates: dict[str, dict[str, float]] = content["measured"]["photos_per_s"]
    return rates


def photos_per_s(rates: Mapping[str, float], memory_mb: int) -> float:
    """One function's; with less than a vCPU that share of it."""
    vcpus = memory_mb / MEMORY_MB_PER_VCPU
    return rates["1"] * vcpus if vcpus < 1 else rates[str(int(vcpus))]


def million_dollars(per_s: float, memory_mb: int, architecture: str = "x86_64") -> float:
    """A million photos: Lambda, Step Functions, and S3's requests for photos and shards."""
    shards = _MILLION // SHARD_PHOTOS
    rates = PRICES["s3"]
    # For each shard its list and its answers are looked for; the list and the answers are written.
    s3 = (_MILLION + 2 * shards) / 1e6 * rates["million_gets"]
    s3 += 2 * shards / 1e6 * rates["million_puts"]
    machine = Machine(memory_mb, architecture)
    return float(shard_dollars(shards, _MILLION / per_s, machine) + s3)


def table(figures: Path = FIGURES) -> str:
    """A row for each size of photo and of memory."""
    lines = [
        "| photo | memory, MB | photos/s, one | photos/s, 100 at once | photos/s, 1,000 at once |"
        " million, $ |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, rates in measured(figures).items():
        for memory_mb in MEMORIES_MB:
            one = photos_per_s(rates, memory_mb)
            speeds = " | ".join(f"{one * count:,.0f}" for count in (1, *CONCURRENT))
            dollars = million_dollars(one, memory_mb)
            lines.append(f"| {name} | {memory_mb:,} | {speeds} | {dollars:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
