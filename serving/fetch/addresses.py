"""Which IP addresses may be connected to: only those that are clearly on the public internet.

`ipaddress.is_global` is not enough: in Python 3.11 it is true for multicast, for site-local
addresses and for every form of IPv6 address that contains a private IPv4 address. So IPv6 is
limited to the one block assigned as global unicast, and the exceptions are listed here.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Protocol

Address = IPv4Address | IPv6Address

# IANA IPv4 Special-Purpose Address Registry (RFC 6890 and its updates), and RFC 5771 for multicast.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network, and the unspecified address
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback: Lambda's runtime API is here
        "168.63.129.16/32",  # a cloud's metadata service on an address that looks public
        "169.254.0.0/16",  # link-local: the metadata services of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; NAT64 discovery, a cloud's metadata at .192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
    )
)

# RFC 4291 and the IANA registry: all other IPv6 space is loopback, local, multicast, reserved, or
# an IPv4 address in disguise (mapped, compatible, translated, NAT64).
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking, AMT, AS112
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)


class AddressPolicy(Protocol):
    """Decides which addresses may be connected to. No setting changes it; tests pass their own."""

    def __call__(self, address: Address, /) -> bool: ...


def is_public(address: Address) -> bool:
    """Whether an address is clearly public: the policy of every fetch outside the tests."""
    if not address.is_global:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _NOT_PUBLIC_V4)
    if address.scope_id is not None or address not in _GLOBAL_UNICAST_V6:
        return False
    return not any(address in block for block in _NOT_PUBLIC_V6)
