"""`python -m local serve` runs the bundle on this machine until Ctrl-C; `demo` tries it once;
`classify` answers for every photo below a folder, `review` shows a page to label photos on.

Exit status: 0 done, 1 it failed, 2 wrong usage.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import IO, Any

from local import backends, classify, demo
from local.backends import ROOT, Backend, FunctionConfig
from local.errors import BackendError, LocalError
from local.gateway import Gateway, HttpRequest, HttpResponse, answer
from serving.settings import Settings

_SHOWN_RESULTS = 5  # of a batch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _interrupt)  # a background job of a shell starts with SIGINT ignored
    try:
        if options.command == "classify":
            classify.run(options.folder, options.out, options.sort_into)
            return 0
        if options.command == "review":
            return _review(options)
        return _serve(options) if options.command == "serve" else _demo(options)
    except LocalError as error:
        print(f"local: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # as in `… demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        if options.command == "classify":
            print("Stopped; the same command goes on from here.", file=sys.stderr)
        return 0 if options.command in ("serve", "review") else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve until Ctrl-C")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on")
    serve.add_argument("--port", type=_port, default=8080, help="0 means any free one")
    serve.add_argument(
        "--verbose", action="store_true", help="the function's own log, lines of JSON"
    )
    show = commands.add_parser("demo", help="classify a picture over HTTP, print the answer")
    show.add_argument("--image", type=Path, help="your photo, instead of the drawn sample")
    review = commands.add_parser("review", help="label photos, one after another, until Ctrl-C")
    review.add_argument("source", help="s3://bucket/prefix or a folder, as KeepUnsure fills it")
    review.add_argument("data", type=_path, help="the folder of your training photos")
    review.add_argument("--table", type=_path, help="the table with their labels, if there is one")
    review.add_argument("--port", type=_port, default=8081, help="0 means any free one")
    for command in (serve, show):
        command.add_argument("--backend", choices=("auto", *backends.NAMES), default="auto")
        command.add_argument(
            "--timeout-s", type=_timeout_s, default=30, help="the function's timeout"
        )
        command.add_argument("--handler", default=backends.HANDLER, help=argparse.SUPPRESS)
    many = commands.add_parser("classify", help="classify every photo below a folder")
    many.add_argument("folder", type=_path, metavar="DIR")
    many.add_argument(
        "--out", type=_path, default=Path("answers.csv"), help="a row a photo; .csv or .jsonl"
    )
    many.add_argument(
        "--sort-into", type=_path, metavar="DIR", help="link the photos into DIR/LABEL/"
    )
    return parser


def _path(text: str) -> Path:
    if not text:  # which would be the current folder
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError("must be between 0 and 65535")
    return port


def _timeout_s(text: str) -> int:
    timeout_s = int(text)
    if not 1 <= timeout_s <= 900:  # Lambda's range
        raise argparse.ArgumentTypeError("must be between 1 and 900 seconds")
    return timeout_s


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _serve(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("a+") as log:
        try:
            with _gateway(
                options, options.host, options.port, sys.stderr if options.verbose else log
            ) as gateway:
                if not options.verbose:
                    gateway.report = _Reporter(log)
                print(f"Serving on {gateway.url}; press Ctrl-C to stop.")
                print(f"  The function runs in {gateway.backend.title}.")
                print(f"  curl --data-binary @photo.jpg {gateway.url}/predict", flush=True)
                gateway.serve_forever(poll_interval=0.1)
        except LocalError:
            _show_end(log)
            raise
    return 0


def _review(options: argparse.Namespace) -> int:
    from local.review import verb  # reads folders as training does

    verb.review(options.source, options.data, options.table, options.port)
    return 0


class _Reporter:
    """Prints a line a request, and the function's own log of one that failed."""

    def __init__(self, log: IO[str]) -> None:
        self._log = log
        self._out = sys.stdout  # which the process backend replaces during each request
        self._lock = threading.Lock()

    def __call__(self, method: str, path: str, response: HttpResponse, duration_ms: float) -> None:
        with self._lock:
            print(line(method, path, response, duration_ms), file=self._out, flush=True)
            if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                _show_end(self._log)
            self._log.truncate(0)  # it is appended to, so the function goes on at its start


def line(method: str, path: str, response: HttpResponse, duration_ms: float) -> str:
    """Such as `POST /predict 200 pants 99.2% 8 ms`; of an error its code in place of the label."""
    try:
        said = _said(json.loads(response.body))
    except ValueError:  # the page, or nothing
        said = ""
    shown = (text.encode("unicode_escape").decode() for text in (method[:20], path[:200]))
    words = [*shown, str(response.status), said, f"{duration_ms:.0f} ms"]
    return " ".join(word for word in words if word)


def _said(answer: Any) -> str:
    if not isinstance(answer, dict):
        return ""
    if isinstance(answer.get("results"), list):
        results = answer["results"]
        more = ["…"] if len(results) > _SHOWN_RESULTS else []
        return ", ".join([*map(_said, results[:_SHOWN_RESULTS]), *more])
    if answer.get("predictions"):
        unsure = " (unsure)" if answer.get("unsure") else ""
        return f"{answer['label']} {answer['predictions'][0]['probability']:.1%}{unsure}"
    return str(answer.get("code") or answer.get("message") or "")


def _show_end(log: IO[str]) -> None:
    log.seek(0)
    sys.stderr.writelines(log.readlines()[-15:])


def _demo(options: argparse.Namespace) -> int:
    image = options.image
    if image is not None and not image.is_file():
        raise LocalError(f"There is no file {image}.")
    with tempfile.TemporaryFile("w+") as log:
        try:
            with _gateway(options, "127.0.0.1", 0, log) as gateway:
                print(f"The function runs in {gateway.backend.title}.\n")
                return demo.run(gateway, image)
        except LocalError:
            _show_end(log)
            raise


@contextlib.contextmanager
def _gateway(options: argparse.Namespace, host: str, port: int, log: IO[Any]) -> Iterator[Gateway]:
    """The HTTP API with its function, checked once; both stop when the block ends."""
    try:
        gateway = Gateway(host, port, _NOT_STARTED)
    except OSError as error:
        raise LocalError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port."
        ) from error
    try:
        gateway.backend = _started(options, log)
        try:
            _check_health(gateway.backend)
            yield gateway
        finally:
            gateway.backend.close()
    finally:
        gateway.server_close()


class _NotStarted:
    title = "nothing"

    def invoke(self, event: bytes) -> bytes:
        raise BackendError("The function has not started yet.")

    def close(self) -> None:
        """Nothing to stop."""


_NOT_STARTED = _NotStarted()


def _started(options: argparse.Namespace, log: IO[Any]) -> Backend:
    name = options.backend
    if name == "auto":
        name = backends.choose()
        if name != "emulator":
            print(f"Backend {name}: {backends.reason(name)}.", flush=True)
    model = ROOT / os.environ.get("MODEL_PATH", Settings().model_path)
    if not model.is_file():
        raise LocalError(f"There is no model file {model}. `python -m train bundle` writes one.")
    config = FunctionConfig(
        environ=dict(os.environ), log=log, handler=options.handler, timeout_s=options.timeout_s
    )
    return backends.start(name, config)


def _check_health(backend: Backend) -> None:
    response = answer(HttpRequest("GET", "/health"), backend)
    if response.status != 200:
        raise LocalError("The function does not start; its output above says why.")


if __name__ == "__main__":
    sys.exit(main())
