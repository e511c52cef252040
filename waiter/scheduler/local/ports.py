"""Gives instances ports that nobody else on the machine uses."""

import contextlib
import errno
import fcntl
import os
import random
import socket
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs

#: The machine has no more of something, so that no file can be opened or made.
_LACKING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT})


class OutOfPorts(Exception):
    """There are not enough free ports in the range now."""


def lock_directory() -> Path:
    """Where every Waiter of this machine keeps the locks of ports, whoever runs it."""
    shared = Path("/run/lock")
    return (shared if os.access(shared, os.W_OK) else Path("/tmp")) / "waiter-ports"  # noqa: S108 - see PortPool


def port_is_free(port: int) -> bool:
    """
    Whether any program could listen on the port now, on any address.

    @raise OSError: it cannot be tried, for want of descriptors for example.
    """
    return _can_bind(port, reuse=False)


def port_is_used(port: int) -> bool:
    """
    Whether some program listens on the port now, on any address.

    A port of which only closed connections linger is neither free, because a program may be as strict as the kernel is by
    default, nor used.

    @raise OSError: it cannot be tried, for want of descriptors for example.
    """
    return not _can_bind(port, reuse=True)


def _can_bind(port: int, *, reuse: bool) -> bool:
    # Bound for a moment, never listened on. The dual-stack wildcard collides with a listener on any address.
    for family, wildcard in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):  # noqa: S104
        try:
            with socket.socket(family, socket.SOCK_STREAM) as attempt:
                if reuse:
                    attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    attempt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                attempt.bind((wildcard, port))
                return True
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            if error.errno in _LACKING:
                raise
            # There is no IPv6 here.
    return False


@attrs.define(kw_only=True)
class PortLease:
    """
    The ports of one instance.

    @ivar locks: descriptors whose locks keep the ports reserved. Handed on to the instance, so that the reservation lives
        as long as anything of the instance, whatever becomes of Waiter. Empty for an instance taken over from an earlier
        server: there only the instance holds them.
    """

    ports: tuple[int, ...]
    locks: tuple[int, ...]


class PortPool:
    """
    Reserves ports of a range by locking a file each, in a directory that all Waiters of the machine share.

    A reserved port has an exclusive C{flock}; the file's text is the time when it was last given back, from which on it
    rests. The files belong to everybody, so nothing in them is trusted beyond that: a port is also tried by binding it.
    """

    def __init__(
        self,
        directory: Path,
        port_range: tuple[int, int],
        *,
        wall: Callable[[], float],
        rest_secs: float = 120.0,
        is_free: Callable[[int], bool] = port_is_free,
        is_used: Callable[[int], bool] = port_is_used,
    ) -> None:
        """
        @param port_range: first and last port.
        @param rest_secs: how long a port is not used again.
        """
        self._directory = directory
        self._first, self._last = port_range
        self._wall = wall
        self._rest_secs = rest_secs
        self._is_free = is_free
        self._is_used = is_used
        self._held: set[int] = set()
        # Several servers that begin at different places seldom meet.
        self._next = random.randint(self._first, self._last)  # noqa: S311 - spread, not secrecy

    def take(self, count: int) -> PortLease:
        """
        Reserve C{count} ports.

        @raise OutOfPorts: there are not so many.
        @raise OSError: the directory of the locks cannot be used.
        """
        self._prepare()
        taken: list[tuple[int, int]] = []
        try:
            for _ in range(self._last - self._first + 1):
                if len(taken) == count:
                    break
                port = self._next
                self._next = port + 1 if port < self._last else self._first
                lock = None if port in self._held else self._reserve(port)
                if lock is not None:
                    taken.append((port, lock))
        except OSError:
            _close(taken)
            raise
        if len(taken) < count:
            _close(taken)
            what = "1 port and none is" if count == 1 else f"{count} ports and not so many are"
            raise OutOfPorts(f"an instance needs {what} free between {self._first} and {self._last} (port-range)")
        self._held.update(port for port, _ in taken)
        return PortLease(ports=tuple(port for port, _ in taken), locks=tuple(lock for _, lock in taken))

    def adopt(self, ports: Sequence[int]) -> PortLease:
        """Note that a running instance, which holds the locks itself, uses C{ports}."""
        self._held.update(ports)
        return PortLease(ports=tuple(ports), locks=())

    def give_back(self, lease: PortLease) -> None:
        """The instance is gone: its ports rest, then they are free."""
        for lock in lease.locks:
            self._stamp(lock)
            os.close(lock)
        if not lease.locks:
            for port in lease.ports:
                self._rest(port)
        self.forget(lease)

    def abandon(self, lease: PortLease) -> None:
        """Leave the reservation to the running instance alone."""
        for lock in lease.locks:
            os.close(lock)
        self.forget(lease)

    def forget(self, lease: PortLease) -> None:
        """Drop what is remembered here; the locks stay what they are."""
        self._held.difference_update(lease.ports)
        lease.locks = ()

    def in_use(self, ports: Sequence[int]) -> int | None:
        """The first of the ports that some program listens on now; C{None} if none does, or if that cannot be tried."""
        try:
            return next((port for port in ports if self._is_used(port)), None)
        except OSError:
            return None

    def _prepare(self) -> None:
        try:
            self._directory.mkdir(parents=True, mode=0o777)
        except FileExistsError:
            if not stat.S_ISDIR(self._directory.lstat().st_mode):
                # A link would lead to where its maker wants files to be.
                raise NotADirectoryError(
                    errno.ENOTDIR, f"{self._directory}, where ports are locked, is not a directory: remove it"
                ) from None
            return
        # Against the umask: other users' servers keep their locks here too, and nobody deletes another's.
        self._directory.chmod(stat.S_ISVTX | 0o777)

    def _reserve(self, port: int) -> int | None:
        lock = self._lock(port)
        if lock is None:
            return None
        usable = False
        try:
            usable = not self._rests(lock) and self._is_free(port)
        finally:
            if not usable:
                os.close(lock)
        return lock if usable else None

    def _lock(self, port: int) -> int | None:
        directory = lock = None
        try:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            lock = _open(str(port), directory)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(lock)
            named = os.stat(str(port), dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and named.st_ino == found.st_ino:
                taken, lock = lock, None
                return taken
        except OSError as error:
            if error.errno in _LACKING:
                # The next port would not fare better.
                raise
            # Locked by another, just deleted by somebody who tidies up, or somebody made something else of it.
        finally:
            for descriptor in (directory, lock):
                if descriptor is not None:
                    os.close(descriptor)
        return None

    def _rest(self, port: int) -> None:
        try:
            lock = self._lock(port)
        except OSError:
            # Then it is used again without a rest.
            return
        if lock is not None:
            self._stamp(lock)
            os.close(lock)

    def _stamp(self, lock: int) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{self._wall():.0f}\n".encode(), 0)

    def _rests(self, lock: int) -> bool:
        try:
            age = self._wall() - float(os.pread(lock, 32, 0))
        except (OSError, ValueError):
            return False
        # A time to come is that of a clock that was set back.
        return 0 <= age < self._rest_secs


def _close(taken: Iterable[tuple[int, int]]) -> None:
    for _, lock in taken:
        os.close(lock)


def _open(name: str, directory: int) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # Never O_CREAT on another user's file: kernels refuse that in directories that everybody may write to.
        return os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        lock = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=directory)
        os.fchmod(lock, 0o666)
        return lock
