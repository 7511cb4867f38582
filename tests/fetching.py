"""Fetch in tests: only from servers on loopback, which have their own host name."""

from serving.fetch.fetcher import Fetcher
from serving.settings import Settings
from tests.loopback import response

HOST = "photos.example"
ANY_PORT = Settings(fetch_ports=frozenset(), fetch_max_bytes=100_000)


def only_loopback(address):
    """The tests' policy: the one address that their servers listen on."""
    return str(address) == "127.0.0.1"


def fetch(port, path="/a.jpg", *, scheme="http", host=HOST, timeout_s=8.0, addresses=(), **changes):
    options = {
        "policy": only_loopback,
        "resolve": lambda host, port: list(addresses) or ["127.0.0.1"],
        **changes,
    }
    settings = options.pop("settings", ANY_PORT)
    fetcher = Fetcher(settings, **options)
    return fetcher(f"{scheme}://{host}:{port}{path}", timeout_s=timeout_s)


def redirect(location, status="302 Found"):
    return response(status=status, location=location)
