"""How many photos a second the bulk handler does on one and two vCPUs, from S3 to their rows.

    python -m benchmarks.bulk [--quick]

S3 is a server on loopback, which answers at once and without encryption; on two vCPUs it shares
them. `bulk.bill` makes the table of docs/bulk.md from the figures.
"""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar

import boto3
import numpy as np
import tyro
from botocore.config import Config as ClientConfig

from benchmarks.harness import photos
from benchmarks.harness.results import FIGURES, Results
from benchmarks.harness.rounds import on_last_cores
from bulk.handler import Bulk, Photo
from local.backends import ROOT
from serving.model.classifier import Classifier
from serving.settings import Settings

NAME = "bulk"
_PHOTOS = {"400x533": 200, "12mp": 40}  # in a round
_VCPUS = ("1", "2")


@dataclass(frozen=True, slots=True)
class Config:
    """Measure the bulk handler."""

    rounds: int = 7
    """Lists of photos of each size."""
    quick: bool = False
    """A trial of one round, whose figures mean little."""
    out: Path = FIGURES
    """Folder for the figures."""


class _Objects(BaseHTTPRequestHandler):
    """Answers each key SIZE/… with the photo of that size, as S3 would."""

    protocol_version = "HTTP/1.1"
    files: ClassVar[dict[str, bytes]] = {}  # filled once, in the server's process

    def do_GET(self) -> None:
        """One photo."""
        content = self.files[self.path.split("/")[2]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Say nothing."""


def _serve(port: Connection) -> None:
    _Objects.files = {size: photos.jpeg(size) for size in photos.SIZES_PX}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Objects)
    port.send(server.server_port)
    server.serve_forever()


@contextmanager
def objects() -> Iterator[str]:
    """An S3 in a process of its own; its address."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,))
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def photos_per_s(rounds: int) -> dict[str, dict[str, float]]:
    """The median over the rounds by size, then by vCPUs."""
    found: dict[str, dict[str, list[float]]] = {
        size: {vcpus: [] for vcpus in _VCPUS} for size in _PHOTOS
    }
    classifier = Classifier.load(ROOT / Settings().model_path)
    with objects() as address:
        s3 = boto3.client(
            "s3",
            endpoint_url=address,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",  # noqa: S106 - nobody asks for it
            config=ClientConfig(s3={"addressing_style": "path"}, max_pool_connections=16),
        )
        for round_ in range(rounds + 1):
            for vcpus in _VCPUS:
                settings = Settings(inference_threads=int(vcpus))
                bulk = Bulk(classifier, settings, s3, "work")
                with on_last_cores(int(vcpus)):
                    for size in _PHOTOS:
                        rate = _rate(bulk, size)
                        if round_:  # the first one imports modules late
                            found[size][vcpus].append(rate)
    return {
        size: {vcpus: float(np.median(rates)) for vcpus, rates in of.items()}
        for size, of in found.items()
    }


def _rate(bulk: Bulk, size: str) -> float:
    listed = [Photo("photos", f"{size}/{number}") for number in range(_PHOTOS[size])]
    started = time.perf_counter()
    rows = list(bulk.rows(listed, "request-1", float("inf")))
    duration_s = time.perf_counter() - started
    if not all(row and "label" in row for row in rows):
        raise RuntimeError("a photo was not classified")
    return len(listed) / duration_s


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    measured = photos_per_s(1 if config.quick else config.rounds)
    for size, rates in measured.items():
        shown = ", ".join(f"{rate:.0f} on {vcpus} vCPU" for vcpus, rate in rates.items())
        print(f"{size:<10}photos/s: {shown}")
    results = Results(NAME, measured={"photos_per_s": measured})
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
