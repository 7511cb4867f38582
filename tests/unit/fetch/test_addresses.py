"""Which addresses count as public."""

from ipaddress import IPv4Address, ip_address

import pytest

from serving.fetch.addresses import is_public

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:80b::200e"]

NOT_PUBLIC = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254
    169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.8 192.0.0.170 192.0.0.192 192.0.2.1 192.168.1.1
    192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1
    255.255.255.255 168.63.129.16
    :: ::1 ::7f00:1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1
    64:ff9b::8.8.8.8 64:ff9b:1::1 100::1 2001::1 2001:0:7f00:1:: 2001:2::1 2001:10::1 2001:20::1
    2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1
    ff02::1 fe80::1%eth0 2606:4700::1111%eth0
""".split()


@pytest.mark.parametrize("text", PUBLIC)
def test_a_clearly_public_address_is_public(text):
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_an_address_of_any_special_purpose_is_not_public(text):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "text", ["64:ff9b::7f00:1", "::7f00:1", "2002:7f00:1::", "fec0::1", "224.0.0.1", "192.0.0.192"]
)
def test_our_lists_refuse_it_even_if_python_calls_it_global(text):
    address = ip_address(text)

    class CalledGlobal(type(address)):  # type: ignore[misc]
        is_global = True

    assert not is_public(CalledGlobal(text))


def test_an_address_that_python_calls_not_global_is_refused():
    class CalledPrivate(IPv4Address):
        is_global = False

    assert is_public(IPv4Address("8.8.8.8"))
    assert not is_public(CalledPrivate("8.8.8.8"))
