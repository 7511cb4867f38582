"""Fetching over TLS: which certificates are trusted."""

import ssl

import pytest
import trustme

from serving.errors import RemoteFailedError
from tests.fetching import HOST, fetch
from tests.loopback import response, serving


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def tls_for(authority, name):
    server, client = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    authority.issue_cert(name).configure_cert(server)
    authority.configure_trust(client)
    return server, client


def test_https_is_verified_against_the_hosts_name(authority):
    server_tls, client_tls = tls_for(authority, HOST)
    with serving(response(b"picture"), tls=server_tls) as server:
        assert fetch(server.port, scheme="https", tls=client_tls) == b"picture"
        assert f"Host: {HOST}:{server.port}".encode() in server.heads[0]


def test_a_certificate_for_another_name_is_refused(authority):
    server_tls, client_tls = tls_for(authority, "other.example")
    with serving(response(b"picture"), tls=server_tls) as server:
        with pytest.raises(RemoteFailedError, match="certificate"):
            fetch(server.port, scheme="https", tls=client_tls)
        assert server.heads == []


def test_an_untrusted_certificate_is_refused(authority):
    server_tls, _ = tls_for(authority, HOST)
    with serving(response(b"picture"), tls=server_tls) as server:
        with pytest.raises(RemoteFailedError, match="certificate"):
            fetch(server.port, scheme="https")


def test_a_server_without_tls_on_an_https_url_is_a_failed_remote():
    with serving(response(b"picture")) as server, pytest.raises(RemoteFailedError, match="TLS"):
        fetch(server.port, scheme="https")
