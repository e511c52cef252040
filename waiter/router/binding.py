"""Opening the sockets that endpoints name: bound and listening, nothing accepted."""

import contextlib
import errno
import os
import shlex
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import attrs
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.error import BindError
from twisted.internet.interfaces import IAddress

from waiter.router.carrier import address_of
from waiter.router.endpoint import SystemdEndpoint, TCPEndpoint, UNIXEndpoint, numeric


class CannotListen(BindError):
    """An endpoint cannot be listened on. The message says which, why, and what to do."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot listen on {self.endpoint}: {self.reason}"


@attrs.frozen(kw_only=True)
class Bound:
    """
    A listening socket.

    @ivar address: where it listens, with the port that was found when any was asked for.
    @ivar release: removes what closing the socket leaves behind, a UNIX socket's file.
    """

    socket: socket.socket
    address: IAddress
    release: Callable[[], None]


def bind(endpoint: TCPEndpoint | UNIXEndpoint | SystemdEndpoint) -> Bound:
    """
    Open an endpoint's socket, synchronously.

    @raise CannotListen: it cannot be opened.
    """
    opened: socket.socket | None = None
    try:
        if isinstance(endpoint, TCPEndpoint):
            opened = _bind_tcp(endpoint)
            release = _nothing
        elif isinstance(endpoint, UNIXEndpoint):
            opened = _bind_unix(endpoint)
            release = _remover(endpoint.path)
        else:
            opened = _inherited(endpoint)
            release = _nothing
        opened.setblocking(False)
        if opened.family != socket.AF_UNIX:
            # Accepted connections inherit it.
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Bound(socket=opened, address=address_of(opened.family, opened.getsockname()), release=release)
    except OSError as error:
        if opened is not None:
            opened.close()
        raise CannotListen(endpoint.text, _reason(endpoint, error)) from error


def _bind_tcp(endpoint: TCPEndpoint) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        numeric(endpoint.interface), endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(endpoint.backlog)
    except OSError:
        opened.close()
        raise
    return opened


def _bind_unix(endpoint: UNIXEndpoint) -> socket.socket:
    in_file_system = not endpoint.path.startswith("\0")
    if in_file_system:
        _remove_abandoned(endpoint.path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.bind(endpoint.path)
        if in_file_system:
            # Before it listens, so that it is never more open than asked for.
            Path(endpoint.path).chmod(endpoint.mode)
        opened.listen(endpoint.backlog)
    except OSError:
        opened.close()
        raise
    return opened


def _remove_abandoned(path: str) -> None:
    """
    Remove the socket file of a server that is gone.

    @raise OSError: it is in use, or no socket.
    """
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            raise FileExistsError(errno.EEXIST, "a file that is no socket is in the way", path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.setblocking(False)
        try:
            visitor.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except BlockingIOError:
            # Its queue is full, so there is one.
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path) from None
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)


def _remover(path: str) -> Callable[[], None]:
    """Removes a socket's file, unless it has become another's."""
    if path.startswith("\0"):
        return _nothing
    ours = Path(path).stat()

    def remove() -> None:
        with contextlib.suppress(OSError):
            found = Path(path).stat()
            if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
                Path(path).unlink()

    return remove


def _inherited(endpoint: SystemdEndpoint) -> socket.socket:
    """
    @raise CannotListen: there is no such socket.
    """
    try:
        # Twisted has taken the list out of the environment when its endpoints were imported. No reactor is needed to ask.
        found = cast("AdoptedStreamServerEndpoint", serverFromString(cast("Any", None), endpoint.text))
    except (IndexError, KeyError):
        raise CannotListen(
            endpoint.text,
            "systemd has passed no such socket to this process. Start it by a unit that has a .socket unit beside it, "
            "and do not let it daemonise (twistd -n).",
        ) from None
    descriptor = found.fileno
    # A duplicate, so that closing it leaves systemd's for the next start; not inherited by instances.
    os.set_inheritable(descriptor, False)
    opened = socket.socket(fileno=os.dup(descriptor))
    if opened.family != getattr(socket, f"AF_{endpoint.domain}"):
        family = opened.family
        opened.close()
        raise CannotListen(endpoint.text, f"the socket is of domain {family.name.removeprefix('AF_')}.")
    return opened


def _nothing() -> None:
    """There is nothing to remove."""


def _reason(endpoint: TCPEndpoint | UNIXEndpoint | SystemdEndpoint, error: OSError) -> str:
    """Why, and what to do."""
    words = error.strerror or str(error)
    # Python raises some itself, without a number.
    number = 0 if isinstance(error, socket.gaierror) or error.errno is None else error.errno
    if isinstance(endpoint, TCPEndpoint):
        advice = {
            errno.EADDRINUSE: f"See what listens there (ss -ltnp 'sport = :{endpoint.port}') and stop it, or choose "
            f"another port: --http tcp:PORT:interface={endpoint.interface}",
            errno.EACCES: "Ports below 1024 need privileges (AmbientCapabilities=CAP_NET_BIND_SERVICE under systemd); "
            "choose a higher one or put a proxy in front",
            errno.EADDRNOTAVAIL: f"{endpoint.interface} is no address of this machine (ip addr shows which are)",
        }.get(number, f"Is {endpoint.interface!r} an address of this machine? (ip addr shows which are)")
    elif isinstance(endpoint, UNIXEndpoint):
        path = shlex.quote(endpoint.path)
        directory = shlex.quote(str(Path(endpoint.path).parent))
        advice = {
            errno.EADDRINUSE: f"Another server listens there (ss -lxp | grep {path}); stop it or choose another path",
            errno.EEXIST: f"Move {path} away or choose another path",
            errno.ENOENT: f"Make the directory first: mkdir -p {directory}",
            errno.EACCES: f"Let this user write in {directory}, or choose another path",
            0: "A socket's path has at most 107 bytes; choose a shorter one",
        }.get(number, f"Look at {path} and its directory")
    else:
        advice = "Look at the .socket unit"
    return f"{words}. {advice}."
