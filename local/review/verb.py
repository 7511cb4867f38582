"""The verb `review`: checks the two folders, serves the page until Ctrl-C, says what is left."""

import shlex
from pathlib import Path

from local.errors import LocalError, ReviewError
from local.review.log import Log
from local.review.places import Places
from local.review.server import HOST, ReviewServer
from local.review.session import Session
from local.review.source import open_source
from train.errors import TrainError


def review(source: str, data: Path, table: Path | None, port: int) -> None:
    """Label a source's photos until Ctrl-C.

    Raises:
        LocalError: the source, the data or the port cannot be used.
    """
    if not source:
        raise ReviewError("Give SOURCE=s3://bucket/prefix, or a folder.")
    try:
        _refuse_overlap(source, data)
        opened, places = open_source(source), Places(data, table)
        with Log(data) as log:
            _serve(Session(opened, places, log), port, _next_step(data, table), source)
    except TrainError as error:
        raise ReviewError(str(error)) from error


def _serve(session: Session, port: int, next_step: str, source: str) -> None:
    try:
        server = ReviewServer(port, session, next_step)
    except OSError as error:
        raise LocalError(
            f"Cannot listen on {HOST}:{port}: {error.strerror}. Choose another --port."
        ) from error
    with server:
        done, total = session.progress()
        print(f"{done} of {total} photos of {source} are reviewed.")
        print(f"  Open {server.url} and press Ctrl-C to stop.", flush=True)
        try:
            server.serve_forever(poll_interval=0.1)
        finally:
            done, total = session.progress()
            print(f"\n{done} of {total} are reviewed. Then: {next_step}")


def _refuse_overlap(source: str, data: Path) -> None:
    """Photos to review would be listed as training photos, or the other way round."""
    if source.lower().startswith("s3://"):
        return
    one, other = Path(source).resolve(), data.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise ReviewError(f"SOURCE {source} and DATA {data} may not lie in each other.")


def _next_step(data: Path, table: Path | None) -> str:
    words = [f"DATA={data}", *([f"TABLE={table}"] if table else [])]
    return f"make model {shlex.join(words)}"
