"""What predictions cost: measured times and list prices in, a table in Markdown out.

`python -m ops.bill` prints the table of docs/deploy.md, and the parts of its worst month. A
prediction is a photo of 12 megapixels and 2.5 MB in the request's body.
"""

import json
import math
import tomllib
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
PRICES: dict[str, Any] = tomllib.loads((_HERE / "prices.toml").read_text(encoding="utf-8"))
FIGURES = _HERE.parent / "benchmarks" / "figures"
MEMORIES_MB = (1_024, 1_769, 3_538)
_MB_PER_VCPU = 1_769
_PHOTO_BYTES = 2_500_000
_LOG_BYTES = 1_200  # a request's line, with what CloudWatch makes metrics of

# The worst month: 31 days at the template's throttle and with five instances reserved.
_MONTH_S, _REQUESTS_PER_S, _INSTANCES = 31 * 86_400, 10, 5
_LARGEST_BODY_BYTES = 10_485_760  # what the HTTP API takes
_LARGEST_ANSWER_BYTES = 13_000  # the demo page; a full batch logs as much


def times_ms(figures: Path = FIGURES) -> tuple[float, float]:
    """The handler's time for the photo, and that of a cold start, each on one vCPU."""
    stages = json.loads((figures / "breakdown.json").read_text())["measured"]["stages_ms"]
    start = json.loads((figures / "start.json").read_text())["measured"]["time_ms"]
    return stages["12mp"]["handler"], start["ours"]["median"]


def billed_ms(time_ms: float, memory_mb: int) -> int:
    """What Lambda bills for one photo: whole milliseconds, longer with less than one vCPU.

    More than one vCPU makes one photo no faster: decoding it takes one.
    """
    return math.ceil(time_ms * max(1.0, _MB_PER_VCPU / memory_mb))


def compute_dollars(count: int, ms: int, memory_mb: int, architecture: str) -> float:
    """Lambda's share: GB-seconds and requests."""
    rates = PRICES["lambda"]
    gb_seconds = count * ms / 1_000 * memory_mb / 1_024
    requests = count / 1e6 * rates["million_requests"]
    return float(gb_seconds * rates["gb_second"][architecture] + requests)


def around_dollars(count: int) -> float:
    """The API's, the log's and X-Ray's share, the same for every size; each request is traced."""
    units = count * math.ceil(_PHOTO_BYTES / PRICES["api"]["unit_bytes"])
    return float(
        units / 1e6 * PRICES["api"]["million_units"]
        + count * _LOG_BYTES / 1e9 * PRICES["logs"]["gb"]
        + count / 1e6 * PRICES["traces"]["million"]
    )


def table() -> str:
    """A row for each memory and architecture: a thousand cold and a million warm predictions."""
    warm, start = times_ms()
    lines = [
        "| memory, MB | architecture | ms warm / cold | thousand, Lambda $ | million, Lambda $ | "
        "million, all $ |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for memory_mb in MEMORIES_MB:
        ms, cold_ms = billed_ms(warm, memory_mb), billed_ms(warm + start, memory_mb)
        for architecture in PRICES["lambda"]["gb_second"]:
            thousand = compute_dollars(1_000, cold_ms, memory_mb, architecture)
            million = compute_dollars(1_000_000, ms, memory_mb, architecture)
            total = million + around_dollars(1_000_000)
            lines.append(
                f"| {memory_mb:,} | {architecture} | {ms} / {cold_ms} | {thousand:.4f} | "
                f"{million:.2f} | {total:.2f} |"
            )
    return "\n".join(lines)


def worst_month() -> dict[str, float]:
    """Dollars for a month in which someone keeps the throttle and all instances at their limits."""
    requests = _MONTH_S * _REQUESTS_PER_S
    units = requests * math.ceil(_LARGEST_BODY_BYTES / PRICES["api"]["unit_bytes"])
    gb_out = requests * _LARGEST_ANSWER_BYTES / 1e9
    traces = _MONTH_S + 0.05 * (
        requests - _MONTH_S
    )  # X-Ray's default: one a second, 5 % of the rest
    gb_seconds = _INSTANCES * _MONTH_S * _MB_PER_VCPU / 1_024
    return {
        "the API": units / 1e6 * PRICES["api"]["million_units"],
        "Lambda": gb_seconds * PRICES["lambda"]["gb_second"]["x86_64"]
        + requests / 1e6 * PRICES["lambda"]["million_requests"],
        "logs": gb_out * PRICES["logs"]["gb"],
        "transfer": gb_out * PRICES["transfer"]["gb"],
        "traces": traces / 1e6 * PRICES["traces"]["million"],
    }


if __name__ == "__main__":
    print(f"Prices of {PRICES['date']}.\n\n{table()}\n")
    for what, dollars in worst_month().items():
        print(f"the worst month, {what}: ${dollars:,.0f}")
