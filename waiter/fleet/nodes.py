"""ZooKeeper's words as values: nodes, events, states of the connection, and what can go wrong."""

from collections.abc import Callable
from enum import Enum
from typing import Any

import attrs

#: What a server takes in one request unless it is told otherwise (C{jute.maxbuffer}), the names around the data included.
LARGEST_REQUEST = 1024 * 1024 - 1

# What a request has beside its path and data, a transaction of several parts included.
_OVERHEAD = 512


class ZooKeeperError(Exception):
    """
    ZooKeeper refused, or could not be asked.

    @ivar operation: which part of a transaction it is about, if it is about one.
    """

    operation: "Operation | None" = None


class ConnectionLost(ZooKeeperError):
    """There is no connection, or it broke before the answer came: a write may or may not have happened."""


class NoNode(ZooKeeperError):
    """There is no such node, or, when one is created, no such parent."""


class NodeExists(ZooKeeperError):
    """There is such a node already."""


class BadVersion(ZooKeeperError):
    """The node is at another version."""


class NotEmpty(ZooKeeperError):
    """The node has children."""


class NodeTooLarge(ZooKeeperError, ValueError):
    """More than ZooKeeper keeps in one node."""


class ZooKeeperUnavailable(Exception):
    """No connection came about when the router started; the text says to where and what to do."""


class State(Enum):
    """
    How the connection is.

    C{CONNECTED}: all is well. C{SUSPENDED}: the connection broke, the session may still be alive: whoever leads must stop to,
    what was read stays good enough to serve with, nothing can be written. C{LOST}: the session is over, or was silent
    for so long that it must be taken for that: ephemeral nodes are gone and must be made again once it is C{CONNECTED}.
    """

    CONNECTED = "CONNECTED"
    SUSPENDED = "SUSPENDED"
    LOST = "LOST"


@attrs.frozen(kw_only=True)
class NodeStat:
    """
    What ZooKeeper knows of a node.

    @ivar version: how often its data was set; begins anew when the node is deleted and made again.
    @ivar modified: the number of the transaction that set its data last; grows through the whole of ZooKeeper for ever.
    @ivar owner: the session that an ephemeral node belongs to; 0 for others.
    """

    version: int
    modified: int
    owner: int


@attrs.frozen(kw_only=True)
class WatchEvent:
    """
    Why a watch fired.

    @ivar type: C{CREATED}, C{DELETED}, C{CHANGED}, C{CHILD}, or C{NONE} when the watch ended because the connection did.
    """

    type: str
    path: str | None


@attrs.frozen(kw_only=True)
class Operation:
    """
    One part of a transaction; made by L{creating}, L{setting}, L{deleting} and L{checking}.

    @ivar add_to: adds it to a transaction of kazoo's.
    """

    path: str
    data: bytes = b""
    add_to: Callable[[Any], object]


def creating(path: str, data: bytes = b"", *, sequence: bool = False) -> Operation:
    """Make a node."""
    return Operation(path=path, data=data, add_to=lambda transaction: transaction.create(path, data, sequence=sequence))


def setting(path: str, data: bytes, version: int = -1) -> Operation:
    """Set a node's data."""
    return Operation(path=path, data=data, add_to=lambda transaction: transaction.set_data(path, data, version))


def deleting(path: str, version: int = -1) -> Operation:
    """Delete a node."""
    return Operation(path=path, add_to=lambda transaction: transaction.delete(path, version))


def checking(path: str, version: int) -> Operation:
    """Refuse the whole unless the node is there and at this version."""
    return Operation(path=path, add_to=lambda transaction: transaction.check(path, version))


def check_size(path: str, size: int) -> None:
    """
    @param size: of the data.
    @raise NodeTooLarge: no server with its usual bound would take this.
    """
    whole = len(path.encode()) + size + _OVERHEAD
    if whole > LARGEST_REQUEST:
        raise NodeTooLarge(
            f"{path} with its data of {size} bytes needs {whole} bytes in one request, and ZooKeeper takes at most "
            f"{LARGEST_REQUEST}: keep something smaller there"
        )


def parse_connect_string(text: str) -> tuple[str, str]:
    """
    Take C{host:port,host:port/root} apart.

    @return: the hosts, and the path below which everything is, empty or beginning with a slash.
    @raise ValueError: it is none.
    """
    hosts, slash, root = text.strip().partition("/")
    parts = [host.strip() for host in hosts.split(",")]
    for host in parts:
        name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        bare = name if colon else host
        if not bare or " " in bare or (colon and not port.isdecimal()) or (colon and not 0 < int(port) < 65536):
            raise ValueError(f"{text!r} is not of the form host:port,host:port/path: {host!r} is no host and port")
    path = f"/{root.strip('/')}" if slash and root.strip("/") else ""
    if "//" in path:
        raise ValueError(f"{text!r} has an empty name in its path")
    return ",".join(parts), path
