"""Asks a Mesos agent for the files of tasks."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlencode

import treq.client
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.web.client import Agent, ResponseFailed
from twisted.web.iweb import IAgent
from zope.interface import implementer

from waiter.errors import NotFound, ServiceUnavailable
from waiter.scheduler.interface import ILog, LogEntry, LogExtent
from waiter.scheduler.marathon.body import answer_within, read_body
from waiter.scheduler.marathon.errors import MarathonUnreachable
from waiter.scheduler.marathon.pool import quiet_pool

_PATIENCE_SECS = 5.0
_MOST_BYTES = 16 * 1024 * 1024
#: How much is asked for at a time.
_BLOCK = 256 * 1024
#: How long what was learnt of the size of a log counts.
_FRESH_SECS = 0.5


def inside(directory: str, path: str) -> str:
    """
    A path below a directory.

    @raise NotFound: it is not below it.
    """
    if "\0" in path or path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise NotFound("There is no such file or directory.")
    return str(PurePosixPath(directory) / path)


class AgentFiles:
    """The files of tasks, on whatever agent they are. Cancelling a call drops its connection."""

    def __init__(self, reactor: Any, *, port: int, agent: IAgent | None = None) -> None:
        """
        @param port: where agents listen.
        @param agent: what sends requests; for tests.
        """
        self.reactor = reactor
        self._port = port
        self._client = treq.client.HTTPClient(
            agent or Agent(reactor, connectTimeout=_PATIENCE_SECS, pool=quiet_pool(reactor, persistent=False))
        )

    async def entries(self, host: str, directory: str, path: str) -> tuple[LogEntry, ...]:
        """
        What is in a directory.

        @param directory: of the task; what is told is relative to it.
        @raise NotFound: there is none.
        @raise ServiceUnavailable: the agent cannot be asked, or answers what nobody understands.
        """
        answer = await self._get(host, "browse", path=inside(directory, path))
        with _meaning(host):
            entries = [_entry(each, path) for each in json.loads(answer)]
        return tuple(sorted(entries, key=lambda entry: entry.name))

    async def size(self, host: str, path: str) -> int:
        """How long a file is."""
        answer = await self._get(host, "read", path=path, offset="-1")
        with _meaning(host):
            return int(json.loads(answer)["offset"])

    async def read(self, host: str, path: str, offset: int, most: int) -> bytes:
        """Some bytes of a file; fewer than asked for, or none, at its end."""
        answer = await self._get(host, "read", path=path, offset=str(offset), length=str(most))
        with _meaning(host):
            # What is no UTF-8 came through JSON as it was.
            data: bytes = json.loads(answer)["data"].encode("utf-8", "surrogateescape")
        return data

    async def tail(self, host: str, path: str, most: int) -> bytes:
        """The last bytes of a file."""
        size = await self.size(host, path)
        return await self.read(host, path, max(0, size - most), most) if size else b""

    async def _get(self, host: str, what: str, **arguments: str) -> str:
        url = f"http://{host}:{self._port}/files/{what}?{urlencode(arguments)}"
        try:
            return await Deferred.fromCoroutine(self._ask(url)).addTimeout(_PATIENCE_SECS, self.reactor)
        except (ConnectError, DNSLookupError, ResponseFailed, TookTooLong, MarathonUnreachable) as error:
            raise ServiceUnavailable(f"The files are on {host}, whose Mesos agent does not answer: {error}") from None

    async def _ask(self, url: str) -> str:
        asking = self._client.get(url, allow_redirects=False, unbuffered=True)
        response = await answer_within(self.reactor, asking, _PATIENCE_SECS)
        parts: list[bytes] = []
        size = 0

        def received(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > _MOST_BYTES:
                raise MarathonUnreachable(f"the answer is longer than {_MOST_BYTES} bytes")
            parts.append(data)

        await read_body(self.reactor, response, received, silence_secs=_PATIENCE_SECS)
        if response.code == 404:
            raise NotFound("There is no such file or directory.")
        if response.code != 200:
            raise MarathonUnreachable(f"it answered with {response.code}")
        return b"".join(parts).decode("utf-8", "surrogateescape")


def _entry(found: Mapping[str, Any], path: str) -> LogEntry:
    place = PurePosixPath(found["path"])
    is_directory = str(found.get("mode", "")).startswith("d")
    return LogEntry(
        name=place.name,
        type="directory" if is_directory else "file",
        size=None if is_directory else int(found["size"]),
        path=str(PurePosixPath(path) / place.name),
    )


@contextmanager
def _meaning(host: str) -> Iterator[None]:
    """Whatever an answer says that cannot be understood, it is the agent's."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ServiceUnavailable(
            f"The files are on {host}, whose Mesos agent answers what cannot be understood: {error!r}"
        ) from None


@implementer(ILog)
class AgentLog:
    """A file on an agent, of which pieces are fetched when they are asked for."""

    def __init__(self, files: AgentFiles, host: str, path: str, *, size: int, complete: Callable[[], bool]) -> None:
        """
        @param size: of the file now.
        @param complete: whether nothing more will be written.
        """
        self._files = files
        self._host = host
        self._path = path
        self._size = size
        self._known_at = files.reactor.seconds()
        self._complete = complete
        self._block: tuple[int, bytes] = (0, b"")
        self._fetching: Deferred[None] | None = None
        self._trouble: Exception | None = None

    def extent(self) -> LogExtent | None:
        """See L{ILog}."""
        self._raise_trouble()
        if not self._is_fresh():
            self._fetch(self._measure())
            return None
        return LogExtent(oldest=0, first=0, end=self._size)

    def read(self, offset: int, most: int) -> tuple[int, bytes] | None:
        """See L{ILog}."""
        self._raise_trouble()
        start, block = self._block
        if start <= offset < start + len(block):
            return offset, block[offset - start :][:most]
        if offset > self._size:
            offset = 0
        if offset == self._size:
            if self._is_fresh():
                return offset, b""
            self._fetch(self._measure())
            return None
        self._fetch(self._read(offset, max(most, _BLOCK)))
        return None

    def complete(self) -> bool:
        """See L{ILog}."""
        return self._complete()

    def close(self) -> None:
        """See L{ILog}."""
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching.cancel()

    def _is_fresh(self) -> bool:
        return bool(self._files.reactor.seconds() - self._known_at < _FRESH_SECS)

    def _raise_trouble(self) -> None:
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise NotFound(str(trouble)) from trouble

    async def _measure(self) -> None:
        self._size = await self._files.size(self._host, self._path)
        self._known_at = self._files.reactor.seconds()

    async def _read(self, offset: int, most: int) -> None:
        self._block = (offset, await self._files.read(self._host, self._path, offset, most))
        if not self._block[1]:
            await self._measure()

    def _fetch(self, work: Any) -> None:
        if self._fetching is not None:
            work.close()
            return
        fetching = self._fetching = Deferred.fromCoroutine(work)
        fetching.addCallbacks(self._fetched, self._not_fetched)

    def _fetched(self, _: None) -> None:
        self._fetching = None

    def _not_fetched(self, failure: Any) -> None:
        self._fetching = None
        if not failure.check(CancelledError):
            self._trouble = failure.value
