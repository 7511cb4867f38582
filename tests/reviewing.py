"""A review in this process: its server on loopback, as long as a test needs it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.review.log import Log
from local.review.places import Places
from local.review.server import ReviewServer
from local.review.session import Session
from local.review.source import open_source


@contextmanager
def reviewing(source: str | Path, data: Path, table: Path | None = None) -> Iterator[ReviewServer]:
    """Serve the page until the block ends."""
    with Log(data) as log:
        session = Session(open_source(str(source)), Places(data, table), log)
        server = ReviewServer(0, session, "make model DATA=photos")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
