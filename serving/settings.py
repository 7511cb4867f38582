"""Every limit of the service, read from environment variables once, at init.

Each field of `Settings` is one variable: the field's name in capitals. A value that cannot be read
or is out of range raises a SettingsError that names the variable, so that a mistyped setting stops
the deployment instead of weakening it. To add a setting, add a field here, its default to
template.yaml and its row to docs/settings.md.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from serving.errors import SettingsError

# Lambda gives a function one vCPU's worth of time for each 1,769 MB of memory
# (AWS Lambda developer guide, "Configure Lambda function memory").
MEMORY_MB_PER_VCPU = 1_769

_SCHEMES = frozenset({"http", "https"})
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")  # RFC 6454, ASCII form
# What `serving.fetch.urls` accepts as a host: a DNS name without a final dot, or an IP address.
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*")

# A bucket, and a prefix without what IAM would read as a wildcard or S3's console as a folder "".
_KEEP_IN = re.compile(
    r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9][A-Za-z0-9_.=-]*)*", re.ASCII
)


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"must be between {low:,} and {high:,}")
        return value

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"must be between {low:g} and {high:g} seconds")
        return value

    return parse


def _names(text: str) -> frozenset[str]:
    """A list's members, in lower case; a list of separators only is refused as a typing error."""
    names = frozenset(name.strip().lower() for name in text.split(",") if name.strip())
    if text and not names:
        raise ValueError("names nothing; leave the variable out, or leave it empty")
    return names


def _schemes(text: str) -> frozenset[str]:
    names = _names(text)
    if not names <= _SCHEMES:
        raise ValueError(f"may list only {', '.join(sorted(_SCHEMES))}, separated by commas")
    return names


def _hosts(text: str) -> frozenset[str]:
    names = _names(text)
    if not all(_HOST.fullmatch(name) for name in names):
        raise ValueError("must list host names such as photos.example.com, separated by commas")
    return names


def _path(text: str) -> Path:
    if not text.strip():
        raise ValueError("must name a file")
    return Path(text)


def _origins(text: str) -> frozenset[str]:
    origins = _names(text)
    if not all(origin == "*" or _ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError(
            "must be * or list origins such as https://example.com, separated by commas"
        )
    return origins


def _ports(text: str) -> frozenset[int]:
    ports = frozenset(int(port) for port in _names(text))
    if not all(1 <= port <= 65_535 for port in ports):
        raise ValueError("must list ports between 1 and 65535, separated by commas")
    return ports


def _keep_in(text: str) -> str:
    if text and not _KEEP_IN.fullmatch(text):
        raise ValueError("must be s3://bucket or s3://bucket/prefix, without a / at the end")
    return text


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError("must be between 0 and 1")
    return value


def _switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _setting(default: Any, parse: Callable[[str], Any], unit: str, about: str) -> Any:
    return field(default=default, metadata={"parse": parse, "unit": unit, "about": about})


@dataclass(frozen=True, slots=True)
class Settings:
    """The service's limits. Field `body_max_bytes` is the variable BODY_MAX_BYTES, and so on."""

    model_path: Path = _setting(
        Path("model/classifier.onnx"), _path, "path", "The model file, beside lambda_function.py."
    )
    body_max_bytes: int = _setting(
        # Lambda's limit is 6 MB of event, in which a binary body is base64: 4/3 of its size.
        4_500_000,
        _integer(1, 6_000_000),
        "bytes",
        "Largest request body, after decoding base64.",
    )
    fetch_schemes: frozenset[str] = _setting(
        _SCHEMES, _schemes, "list", "URL schemes that may be fetched."
    )
    fetch_ports: frozenset[int] = _setting(
        frozenset({80, 443}), _ports, "list", "Ports that may be fetched from; empty allows any."
    )
    fetch_allowed_hosts: frozenset[str] = _setting(
        frozenset(), _hosts, "list", "If set, the only hosts that may be fetched from."
    )
    fetch_max_bytes: int = _setting(
        20_000_000, _integer(1, 200_000_000), "bytes", "Largest image fetched from a URL or S3."
    )
    fetch_timeout_s: float = _setting(
        5.0, _seconds(0.1, 60), "seconds", "Deadline for one fetch, including redirects and body."
    )
    image_max_pixels: int = _setting(
        # The largest common phone sensors have 8,160 x 6,144 pixels. Formats that cannot be decoded
        # at a fraction of their size take a share (serving/images/formats.py).
        51_000_000,
        _integer(1, 200_000_000),
        "pixels",
        "Largest JPEG, checked before it is decoded; other formats take a share of it.",
    )
    batch_max_items: int = _setting(16, _integer(1, 256), "images", "Most images in one request.")
    top_k_max: int = _setting(
        20, _integer(1, 1_000), "classes", "Most predictions that a request may ask for."
    )
    cors_origins: frozenset[str] = _setting(
        frozenset(),
        _origins,
        "list",
        "Origins of pages that may call a function URL, load balancer or REST API; * allows any. "
        "An HTTP API has its own setting.",
    )
    inference_threads: int = _setting(
        0,
        _integer(0, 64),
        "threads",
        "Threads of ONNX Runtime, and images of a batch processed at once; 0 means one for each "
        "1,769 MB of the function's memory.",
    )
    label_metrics: bool = _setting(
        True,
        _switch,
        "true or false",
        "Whether each label is a CloudWatch metric, which costs money.",
    )
    keep_unsure: str = _setting(
        "",
        _keep_in,
        "S3 URI",
        "Where unsure photos are kept, s3://bucket/prefix; empty keeps none.",
    )
    keep_share: float = _setting(
        1.0, _share, "share", "Of the unsure photos that an instance meets, the most that it keeps."
    )
    keep_timeout_s: float = _setting(
        2.0,
        _seconds(0.1, 10),
        "seconds",
        "How long a request with unsure photos waits, its answer made, for S3 to keep them.",
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables.

        Args:
            environ: usually `os.environ`. Unset variables take their defaults. An empty variable
                is an empty list, and an error for settings that are not lists.

        Raises:
            SettingsError: a value cannot be read or is out of range.
        """
        values: dict[str, Any] = {}
        for setting in fields(cls):
            variable = setting.name.upper()
            if variable not in environ:
                continue
            try:
                values[setting.name] = setting.metadata["parse"](environ[variable])
            except ValueError as error:
                raise SettingsError(
                    f"The environment variable {variable} ({setting.metadata['unit']}) is "
                    f"{environ[variable]!r}: {error}."
                ) from error
        if not values.get("inference_threads"):
            memory_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
            values["inference_threads"] = threads_for_memory(memory_mb)
        return cls(**values)


def threads_for_memory(memory_mb: str) -> int:
    """Whole vCPUs that Lambda grants a function of `memory_mb` megabytes; 1 when unknown.

    More threads would only wait for each other, however many cores the sandbox shows.
    """
    return max(1, int(memory_mb) // MEMORY_MB_PER_VCPU) if memory_mb.isdigit() else 1
