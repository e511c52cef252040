"""The way a request came."""

from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ISSLTransport

_MOST = 4096


@attrs.frozen(kw_only=True, eq=False)
class Forwarding:
    """
    What an instance is told of the connection a request came on.

    @ivar address: the client's address.
    @ivar proto: C{http} or C{https}.
    @ivar port: where the client connected to; empty if there is none.
    @ivar trusted: whether the client may say these things itself, because it is a proxy on this machine.
    """

    address: bytes
    proto: bytes
    port: bytes
    trusted: bool


class Forwardings:
    """One L{Forwarding} for all connections of which the same is to be told, so that what is made for one serves the others."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, int | None, bool], Forwarding] = {}

    def of(self, transport: Any) -> Forwarding:
        """That of a connection."""
        peer, host = transport.getPeer(), transport.getHost()
        key = (
            peer.host if isinstance(peer, IPv4Address | IPv6Address) else None,
            host.port if isinstance(host, IPv4Address | IPv6Address) else None,
            ISSLTransport.providedBy(transport),
        )
        forwarding = self._known.get(key)
        if forwarding is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            forwarding = self._known[key] = _made(*key)
        return forwarding


def _made(peer: str | None, port: int | None, secure: bool) -> Forwarding:
    address = b"unknown" if peer is None else peer.encode()
    return Forwarding(
        address=address,
        proto=b"https" if secure else b"http",
        port=b"" if port is None else b"%d" % port,
        trusted=address.startswith(b"127.") or address in {b"::1", b"::ffff:127.0.0.1", b"unknown"},
    )
