"""`make smoke URL=…`: checks that a deployed endpoint is healthy, correct and strict.

It asks for its health, compares the golden pictures' answers with the checkpoint's, and makes a few
mistakes that must be refused with the right status. Prints one line for each check. Exit 0: all
passed; 1: some failed; 2: wrong usage.
"""

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from ops import aws
from ops.hook import pretraffic

_MISTAKES = (
    ("text instead of a photo", "POST", "/predict", b"not a photo", 415),
    ("an empty body", "POST", "/predict", b"", 400),
    ("an unknown path", "GET", "/nowhere", None, 404),
    ("a wrong method", "GET", "/predict", None, 405),
    ("a private address", "POST", "/predict", b'{"url": "http://169.254.169.254/"}', 403),
)


# (method, URL, body, headers) -> the headers that say who asks
Authorise = Callable[[str, str, bytes | None, Mapping[str, str]], Mapping[str, str]]


def with_token(token: str | None) -> Authorise:
    """For ApiAuth=JWT; without a token requests say nothing of who asks."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return lambda method, url, body, sent: headers


def signed(session: Any) -> Authorise:
    """For ApiAuth=IAM: requests signed with a boto3 session's credentials (SigV4)."""
    signer = SigV4Auth(session.get_credentials(), "execute-api", session.region_name)

    def authorise(
        method: str, url: str, body: bytes | None, sent: Mapping[str, str]
    ) -> Mapping[str, str]:
        request = AWSRequest(method, url, data=body, headers=dict(sent))
        signer.add_auth(request)
        return dict(request.headers.items())

    return authorise


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to send requests, who asks, and how long to wait for an answer."""

    url: str
    authorise: Authorise
    timeout_s: float = 35

    def send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """The status and the JSON of one answer; None if the body is not JSON.

        Raises:
            OSError: nothing answers.
        """
        kind = "application/json" if (body or b"").startswith(b"{") else "image/jpeg"
        url, sent = self.url.rstrip("/") + path, {"content-type": kind}
        sent.update(self.authorise(method, url, body, sent))
        request = urllib.request.Request(  # noqa: S310 - main refuses other schemes
            url, body, sent, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as response:  # noqa: S310
                return response.status, _json(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _json(error.read())


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def problems(endpoint: Endpoint, goldens: Path) -> Iterator[tuple[str, list[str]]]:
    """The name of each check and what is wrong; an empty list means that it passed."""
    status, health = endpoint.send("GET", "/health")
    is_well = status == 200 and isinstance(health, dict) and health.get("status") == "ok"
    yield "health", [] if is_well else [f"status {status}, {health}"]
    for golden in pretraffic.load(goldens):
        top_k = golden.event["top_k"]
        status, answer = endpoint.send("POST", f"/predict?top_k={top_k}", golden.picture)
        wrong = pretraffic.differences(golden, answer) if status == 200 else [f"{status}"]
        yield f"golden picture {golden.name}", wrong
    for name, method, path, body, wanted in _MISTAKES:
        status, problem = endpoint.send(method, path, body)
        is_told = status == wanted and isinstance(problem, dict) and problem.get("status") == wanted
        yield name, [] if is_told else [f"status {status}, expected a problem with status {wanted}"]


def smoke(endpoint: Endpoint, goldens: Path = pretraffic.GOLDEN) -> int:
    """Make the checks and print them; the exit status."""
    failed = 0
    try:
        for name, wrong in problems(endpoint, goldens):
            print(f"FAIL {name}: {'; '.join(wrong)}" if wrong else f"ok   {name}")
            failed += bool(wrong)
    except (OSError, ValueError) as error:
        print(f"FAIL {endpoint.url}: {error}", file=sys.stderr)
        return 1
    except HTTPException as error:
        print(f"FAIL {endpoint.url}: not a valid HTTP answer: {error!r}", file=sys.stderr)
        return 1
    print(f"{failed} checks failed." if failed else "All checks passed.")
    return 1 if failed else 0


def main(words: Sequence[str] | None = None) -> int:
    """Check an endpoint, print, and return the exit status."""
    parser = argparse.ArgumentParser("ops.smoke", description=__doc__)
    parser.add_argument("url", help="the stack's output Endpoint")
    parser.add_argument("--token", help="sent as Authorization: Bearer, for ApiAuth=JWT")
    parser.add_argument("--iam", action="store_true", help="sign the requests, for ApiAuth=IAM")
    parser.add_argument("--timeout-s", type=float, default=35, help="for one answer")
    parser.add_argument("--goldens", type=Path, default=pretraffic.GOLDEN)
    arguments = parser.parse_args(words)
    if not arguments.url.startswith(("https://", "http://")):
        parser.error("the URL must start with https:// or http://")
    authorise = signed(aws.session()) if arguments.iam else with_token(arguments.token)
    return smoke(Endpoint(arguments.url, authorise, arguments.timeout_s), arguments.goldens)


if __name__ == "__main__":
    sys.exit(main())
