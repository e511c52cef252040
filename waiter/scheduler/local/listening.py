"""On which addresses the processes of an instance listen."""

import contextlib
import os
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import attrs

_REACHED = frozenset({"127.0.0.1", "0.0.0.0", "::"})  # noqa: S104 - compared only
_LISTENS = "0A"
_SOCKET = "socket:["


@attrs.frozen(kw_only=True)
class ListeningSocket:
    """
    A TCP socket that takes connections.

    @ivar address: as numbers; C{0.0.0.0} is every address of IPv4, C{::} every address of IPv6 and mostly of IPv4 too.
    """

    address: str
    port: int

    @property
    def reachable(self) -> bool:
        """Whether connections to 127.0.0.1 may arrive here; certain unless the address is C{::}."""
        return self.address in _REACHED

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host} port {self.port}"


def parse_listeners(table: str) -> dict[int, ListeningSocket]:
    """
    The listening sockets in the kernel's table of TCP sockets, by inode.

    @param table: the text of C{/proc/net/tcp} or C{/proc/net/tcp6}.
    """
    found = {}
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTENS:
            address, _, port = fields[1].partition(":")
            found[int(fields[9])] = ListeningSocket(address=_address(address), port=int(port, 16))
    return found


def listeners_of(pids: Iterable[int]) -> tuple[ListeningSocket, ...]:
    """
    Where these processes listen, by port. Reads all sockets of the machine: for a thread. What has ended, or belongs to
    another user and may not be looked at, is left out.
    """
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    if not inodes:
        return ()
    found: set[ListeningSocket] = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            table = parse_listeners(Path("/proc/net", name).read_text(encoding="ascii"))
            found.update(listener for inode, listener in table.items() if inode in inodes)
    return tuple(sorted(found, key=lambda listener: (listener.port, listener.address)))


def _address(text: str) -> str:
    """Four bytes or sixteen, in hexadecimal, in words of the machine's byte order."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    if len(packed) == 4:
        return str(IPv4Address(packed))
    address = IPv6Address(packed)
    # What is bound to such an address talks IPv4.
    return str(address.ipv4_mapped or address)


def _sockets(pid: int) -> Iterable[int]:
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)  # noqa: PTH208 - one of many
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError, ValueError):
            target = os.readlink(f"{directory}/{name}")  # noqa: PTH115 - one of many
            if target.startswith(_SOCKET):
                yield int(target[len(_SOCKET) : -1])
