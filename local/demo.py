"""The main requests over real HTTP: health, a raw photo, base64 in JSON, and one error.

Each request is printed as a curl line that can be copied while `make serve` runs on port 8080.
"""

import base64
import http.client
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.backends import ROOT
from local.gateway import Gateway

SAMPLE = ROOT / "samples" / "pants.jpg"
_SERVE_URL = "http://127.0.0.1:8080"
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the demo, and the status that it must get."""

    title: str
    curl: str
    method: str
    path: str
    status: int
    body: bytes = b""
    content_type: str = "application/octet-stream"


def steps(image: Path) -> list[Step]:
    """The demo's requests for one image file."""
    data = image.read_bytes()
    shown = os.path.relpath(image)
    in_json = json.dumps({"image": base64.b64encode(data).decode()}).encode()
    return [
        Step("Is it up?", f"curl {_SERVE_URL}/health", "GET", "/health", 200),
        Step(
            "A photo as the request's body",
            f"curl --data-binary @{shown} {_SERVE_URL}/predict",
            "POST",
            "/predict",
            200,
            data,
        ),
        Step(
            "The same photo as base64 in JSON",
            f"{{ printf '{{\"image\":\"'; base64 < {shown} | tr -d '\\n'; printf '\"}}'; }} | "
            f"curl --json @- {_SERVE_URL}/predict",
            "POST",
            "/predict",
            200,
            in_json,
            "application/json",
        ),
        Step(
            "A file that is not a photo is refused",
            f"echo 'not a photo' | curl --data-binary @- {_SERVE_URL}/predict",
            "POST",
            "/predict",
            415,
            b"not a photo\n",
        ),
    ]


def run(gateway: Gateway, image: Path | None) -> int:
    """Send the demo's requests to a gateway; returns 0 if each got the expected status."""
    server = threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.1})
    server.start()
    try:
        good = [_show(step, gateway.server_port) for step in steps(image or SAMPLE)]
    finally:
        gateway.shutdown()
        server.join()
    if all(good):
        print(
            "`make serve` keeps it running; `make demo IMAGE=photo.jpg` classifies your own photo."
        )
        return 0
    print("The demo failed: see the statuses above.")
    return 1


def _show(step: Step, port: int) -> bool:
    print(f"{step.title}\n  $ {step.curl}")
    started = time.perf_counter()
    status, answer = _send(step, port)
    duration_ms = (time.perf_counter() - started) * 1000
    print(f"  {status} in {duration_ms:.0f} ms")
    for line in readable(answer):
        print(f"  {line}")
    print()
    if status != step.status:
        print(f"  expected status: {step.status}\n")
    return status == step.status


def _send(step: Step, port: int) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        headers = {"content-type": step.content_type} if step.body else {}
        connection.request(step.method, step.path, step.body or None, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def readable(answer: Any) -> list[str]:
    """An answer in lines for people: bars for predictions, else its JSON."""
    if not isinstance(answer, dict) or "predictions" not in answer:
        return json.dumps(answer, indent=2, ensure_ascii=False).splitlines()
    predictions = answer["predictions"]
    width = max(len(p["label"]) for p in predictions)
    lines = [
        f"{p['label']:<{width}}  {p['probability']:6.1%}  {'█' * round(p['probability'] * 30)}"
        for p in predictions
    ]
    stages = ", ".join(f"{name} {ms:g}" for name, ms in answer["timings_ms"].items())
    return [*lines, f"({'not sure; ' if answer['unsure'] else ''}ms: {stages})"]
