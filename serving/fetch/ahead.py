"""Fetches many files a few before they are asked for, so that nobody waits for the network."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Fetches a list's files in order; implements `serving.http.sources.FetchUrl`.

    A file's URL is its place in the list, from 0. Threads may ask for one place each, in ascending
    order more or less. At most `at_once` files that nobody asked for yet are held.

    Args:
        fetch: from an item of the list to the file's bytes; what it raises is raised where the
            file is asked for.
    """

    def __init__(self, fetch: Callable[[T], bytes], items: Sequence[T], *, at_once: int) -> None:
        self._fetch = fetch
        self._items = items
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(at_once)
        self._begun = 0
        self._fetched: dict[int, Future[bytes]] = {}
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, url: str, *, timeout_s: float) -> bytes:
        """The bytes of the file at a place; `timeout_s` is up to `fetch`."""
        place = int(url)
        with self._lock:
            while self._begun < min(place + self._at_once, len(self._items)):
                item = self._items[self._begun]
                self._fetched[self._begun] = self._pool.submit(self._fetch, item)
                self._begun += 1
            fetched = self._fetched.pop(place)
        return fetched.result()
