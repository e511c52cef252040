"""Under which address other routers can reach this one."""

import socket
from collections.abc import Callable, Iterable
from typing import Protocol

import psutil

_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - what endpoints say that mean all addresses


class Listening(Protocol):
    """A place where this router listens."""

    @property
    def interface(self) -> str:
        """The address."""

    @property
    def port(self) -> int:
        """0 for any free one."""


def own_address(endpoints: Iterable[Listening | None], *, addresses: Callable[[], Iterable[str]] | None = None) -> str:
    """
    The interface of the first TCP endpoint; if that is all of them, an IPv4 address of this machine.

    @param endpoints: C{None} for those that are not TCP.
    @param addresses: finds the IPv4 addresses of this machine.
    @raise ValueError: there is none.
    """
    endpoint = next((endpoint for endpoint in endpoints if endpoint is not None), None)
    if endpoint is None:
        raise ValueError("other routers cannot reach a UNIX socket: listen on a TCP endpoint, too")
    if endpoint.port == 0:
        raise ValueError("other routers must know the port: give listen.http one")
    if endpoint.interface not in _EVERYWHERE:
        return "127.0.0.1" if endpoint.interface == "localhost" else endpoint.interface
    for address in (addresses or ipv4_addresses)():
        if not address.startswith("127."):
            return address
    raise ValueError("this machine has no IPv4 address but loopback; say under which other routers reach it")


def ipv4_addresses() -> list[str]:
    """Of all interfaces of this machine, in their order."""
    return [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    ]
