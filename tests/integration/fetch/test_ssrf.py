"""URLs that try to reach private addresses, in every known spelling: none of them connects.

Each is tried as the request's URL and as a redirect of an allowed server, with any port allowed;
connections are counted where they would arrive.
"""

import json
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest

from serving.app import App
from serving.fetch.addresses import is_public
from serving.fetch.fetcher import Fetcher
from serving.settings import Settings
from tests.invocations import answer, event
from tests.loopback import Server, response, serving

SECRET = b"the inner service's secret"
REFUSED = {400, 403}

# Hosts of URLs; {} stands where the inner service's port goes.
ADDRESSES = """
    127.0.0.1 127.0.0.2 127.1.2.3 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255
    100.64.0.1 100.100.100.200 100.127.255.255 169.254.169.254 169.254.170.2 169.254.169.253
    169.254.0.1 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.8 192.0.0.170 192.0.0.192 192.0.2.1
    192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1 192.168.255.255 192.175.48.1 198.18.0.1
    198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    168.63.129.16
    [::] [::1] [::2] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::0:1]
    [::127.0.0.1] [::7f00:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::FFFF:7F00:0001]
    [0:0:0:0:0:ffff:7f00:1] [::ffff:0:127.0.0.1] [::ffff:0:7f00:1] [::ffff:169.254.169.254]
    [::ffff:10.0.0.1] [::ffff:0.0.0.0] [::ffff:8.8.8.8] [::8.8.8.8]
    [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::7f00:1]
    [64:ff9b::8.8.8.8] [2002:7f00:1::] [2002:a9fe:a9fe::1] [2002:808:808::1] [2001::1]
    [2001:0:7f00:1::] [2001:0:4136:e378:8000:63bf:80ff:fffe] [2001:db8::1] [2001:2::1]
    [2001:10::1] [2001:20::1] [3fff::1] [5f00::1] [100::1] [fc00::1] [fd00::1] [fd00:ec2::254]
    [fe80::1] [febf::1] [fec0::1] [feff::1] [ff00::1] [ff02::1] [ff05::1:3] [4000::1] [e000::1]
    [::1%25lo] [fe80::1%25eth0] [fe80::1%eth0] [2606:4700::1111%25eth0]
""".split()

SPELLINGS = """
    2130706433 4294967295 0 1 017700000001 0x7f000001 0X7F000001 0x7f.0.0.1 0x7f.0x0.0x0.0x1
    0x7f.1 0x7f.0.1 0177.0.0.1 0177.0000.0000.0001 0177.1 127.1 127.0.1 127.0.0.01 127.00.0.1
    127.0.0.0x1 00000177.0.0.1 0x000000007f.1 1.0x7f 2852039166 0xa9fea9fe 0251.0376.0251.0376
    025177524776 169.254.43518 169.16689662 127.0.0.1. 127.0.0.1.. 127.0.0.256 256.0.0.1
    127.0.0.1.1 127.0.0 .127.0.0.1 127..0.1 127.0.0.-1 127.0.0.1%00 127.0.0.1%2e %31%32%37.0.0.1
    127%2e0%2e0%2e1 １２７.０.０.１ 127。0。0。1 127．0．0．1 ①②⑦.⓪.⓪.① 𝟏𝟐𝟕.𝟎.𝟎.𝟏 ١٢٧.٠.٠.١
    ⓛⓞⓒⓐⓛⓗⓞⓢⓣ ｌｏｃａｌｈｏｓｔ localhoſt localhost. LOCALHOST. ʟocalhost
    [127.0.0.1] [0x7f000001] [2130706433] [::1 ::1] ::1 [[::1]] [::1].example.com [::ffff:127.1]
    [::ffff:0x7f.0.0.1] [v1.127.0.0.1]
""".split()

# Names whose DNS answers are in NAMES.
NAMED = """
    localhost LOCALHOST loopback.example lOoPbAcK.eXaMpLe mixed.example mixed-six.example
    metadata.example metadata6.example mapped.example nat64.example sixtofour.example
    private.example unspecified.example cgnat.example multicast.example ula.example
    linklocal6.example many.example
""".split()

NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "loopback.example": ["127.0.0.1"],
    "mixed.example": ["93.184.216.34", "127.0.0.1"],
    "mixed-six.example": ["93.184.216.34", "::1"],
    "metadata.example": ["169.254.169.254"],
    "metadata6.example": ["fd00:ec2::254"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "sixtofour.example": ["2002:7f00:1::"],
    "private.example": ["10.0.0.1"],
    "unspecified.example": ["0.0.0.0"],
    "cgnat.example": ["100.64.0.1"],
    "multicast.example": ["224.0.0.1"],
    "ula.example": ["fc00::1"],
    "linklocal6.example": ["fe80::1%2"],
    "many.example": ["93.184.216.34"] * 3 + ["1.1.1.1", "8.8.8.8", "9.9.9.9", "127.0.0.1"],
}

# Whole URLs.
WHOLE = [
    "http://user@127.0.0.1:{}/",
    "http://user:password@loopback.example:{}/",
    "http://photos.example@127.0.0.1:{}/",
    "http://photos.example:80@127.0.0.1:{}/",
    "http://127.0.0.1:{}@photos.example/",
    "http://photos.example#@127.0.0.1:{}/",
    "http://photos.example?@127.0.0.1:{}/",
    "http://photos.example\\@127.0.0.1:{}/",
    "http://127.0.0.1:{}\\@photos.example/",
    "http:\\\\127.0.0.1:{}/",
    "http:/127.0.0.1:{}/",
    "http:127.0.0.1:{}/",
    "http:///127.0.0.1:{}/",
    "http://\t127.0.0.1:{}/",
    "http://127.0.0.1:{}\t/",
    "ht\ntp://127.0.0.1:{}/",
    "http://127.0.0.1\n:{}/",
    " http://127.0.0.1:{}/",
    "http://127.0.0.1:{}/\r\nHost: photos.example",
    "http://127.0.0.1%20:{}/",
    "http://127.0.0.1%0d%0a:{}/",
    "http://127.0.0.1:+{}/",
    "http://127.0.0.1:0{}/",
    "http://127.0.0.1:{}:80/",
    "//127.0.0.1:{}/",
    "127.0.0.1:{}/",
    "HTTP://127.0.0.1:{}/",
    "https://127.0.0.1:{}/",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "file:///proc/self/environ",
    "ftp://127.0.0.1:{}/",
    "gopher://127.0.0.1:{}/_GET%20/",
    "dict://127.0.0.1:{}/info",
    "ldap://127.0.0.1:{}/",
    "tftp://127.0.0.1:{}/",
    "jar:http://127.0.0.1:{}!/",
    "netdoc:///etc/passwd",
    "url:http://127.0.0.1:{}/",
    "view-source:http://127.0.0.1:{}/",
    "unix:/var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "data:text/plain,secret",
    "javascript:fetch('http://127.0.0.1:{}/')",
    "http://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
    "http://169.254.170.2/v2/credentials/",
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://[fd00:ec2::254]/latest/meta-data/",
]

CORPUS = [
    *(f"http://{host}:{{}}/" for host in (*ADDRESSES, *SPELLINGS, *NAMED)),
    *WHOLE,
]


def resolve(host: str, port: int) -> list[str]:
    """A name server that knows NAMES, and the one allowed server; all else goes to loopback."""
    return NAMES.get(host, ["127.0.0.9"] if host == "start.example" else ["127.0.0.1"])


def test_the_corpus_is_large_and_without_repetition():
    assert len(CORPUS) == len(set(CORPUS)) >= 150


@dataclass
class Inner:
    """What must not be reached: one port on the loopback of IPv4 and, where there is one, IPv6."""

    port: int
    servers: list[Server]

    @property
    def accepted(self) -> int:
        return sum(server.accepted for server in self.servers)


@pytest.fixture(scope="module")
def inner():
    with ExitStack() as stack:
        first = stack.enter_context(serving(response(SECRET)))
        servers = [first]
        if socket.has_ipv6:
            with suppress(OSError):  # built in, but not there
                server = serving(response(SECRET), at=("::1", first.port))
                servers.append(stack.enter_context(server))
        yield Inner(first.port, servers)


@pytest.mark.parametrize("template", CORPUS)
def test_no_url_reaches_the_inside(classifier, inner, template):
    fetcher = Fetcher(Settings(fetch_ports=frozenset()), resolve=resolve)
    app = App(classifier, Settings(), fetcher)
    made = event("alb", body=json.dumps({"url": template.format(inner.port)}).encode())
    answered = answer(made, app.handle(made, "request-1"))
    assert answered.status in REFUSED
    assert SECRET.decode() not in answered.body
    assert inner.accepted == 0


@pytest.mark.parametrize("template", [url for url in CORPUS if url.isascii() and url.isprintable()])
def test_no_redirect_reaches_the_inside(classifier, inner, template):
    def policy(address):
        return str(address) == "127.0.0.9" or is_public(address)

    start = response(status="302 Found", location=template.format(inner.port).strip())
    with serving(start, at=("127.0.0.9", 0)) as server:
        fetcher = Fetcher(Settings(fetch_ports=frozenset()), policy=policy, resolve=resolve)
        app = App(classifier, Settings(), fetcher)
        url = f"http://start.example:{server.port}/"
        made = event("alb", body=json.dumps({"url": url}).encode())
        answered = answer(made, app.handle(made, "request-1"))
        # A Location may be relative: what is no absolute URL leads back to the start, in a loop.
        assert answered.status in {*REFUSED, 502}
        assert SECRET.decode() not in answered.body
        assert inner.accepted == 0


def test_the_count_would_see_a_connection(inner):
    """The other side of the tests above: the inner service can be reached by who may reach it."""
    before = inner.accepted
    fetcher = Fetcher(Settings(fetch_ports=frozenset()), policy=lambda address: True)
    assert fetcher(f"http://127.0.0.1:{inner.port}/", timeout_s=5) == SECRET
    assert inner.accepted == before + 1
    for server in inner.servers:
        server.accepted = 0
