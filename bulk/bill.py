"""What many photos cost and how fast they go: measured times and list prices in.

`python -m bulk.bill` prints the table of docs/bulk.md.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from ops.bill import FIGURES, PRICES, compute_dollars

MEMORIES_MB = (1_769, 3_538, 7_076)  # one, two and four vCPUs
CONCURRENT = (100, 1_000)
SHARD_PHOTOS = 500
_MB_PER_VCPU = 1_769
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


def cpu_ms(figures: Path = FIGURES) -> dict[str, float]:
    """A photo's time on one vCPU by its size, from S3 to its row (benchmarks/bulk.py)."""
    measured: dict[str, float] = json.loads((figures / "bulk.json").read_text())["measured"][
        "cpu_ms"
    ]
    return measured


def photos_per_s(ms: float, memory_mb: int, concurrent: int) -> float:
    """All children together, each of its vCPUs with a photo of its own."""
    return concurrent * (memory_mb // _MB_PER_VCPU) * 1000 / ms


def million_dollars(ms: float, memory_mb: int, architecture: str = "x86_64") -> float:
    """A million photos: Lambda, Step Functions, and S3's requests for photos and shards."""
    shards = _MILLION // SHARD_PHOTOS
    seconds = _MILLION * ms / 1000 / (memory_mb // _MB_PER_VCPU)
    rates = PRICES["s3"]
    # For each shard its list and its answers are looked for; the list and the answers are written.
    s3 = (_MILLION + 2 * shards) / 1e6 * rates["million_gets"]
    s3 += 2 * shards / 1e6 * rates["million_puts"]
    return shard_dollars(shards, seconds, Machine(memory_mb, architecture)) + s3


def table(figures: Path = FIGURES) -> str:
    """A row for each size of photo and of memory."""
    lines = [
        "| photo | memory, MB | vCPUs | ms each | photos/s, 100 at once | photos/s, 1,000 at once |"
        " million, $ |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, ms in cpu_ms(figures).items():
        for memory_mb in MEMORIES_MB:
            rates = [f"{photos_per_s(ms, memory_mb, count):,.0f}" for count in CONCURRENT]
            cells = [name, f"{memory_mb:,}", str(memory_mb // _MB_PER_VCPU), f"{ms:.1f}", *rates]
            lines.append(f"| {' | '.join(cells)} | {million_dollars(ms, memory_mb):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
