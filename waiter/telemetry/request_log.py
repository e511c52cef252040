"""Keeps the lines of requests and writes them in batches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from waiter.telemetry.log_file import LogFile

InThread = Callable[[Callable[[], object]], "Deferred[Any]"]


class RequestLog(Service):
    """
    A file with one line for every request.

    Lines are gathered and written some time later, by one write at a time; the file is created by the first. What
    cannot be written is lost and counted; that is logged when it begins and when it ends, and disturbs nothing else.

    @ivar wanted: whether there is a log at all.
    @ivar lost: how many lines could not be written.
    """

    _log = Logger()

    def __init__(
        self,
        path: Path | None,
        clock: IReactorTime,
        *,
        in_thread: InThread = maybeDeferred,
        interval_secs: float = 1.0,
        batch: int = 256,
        max_waiting_bytes: int = 8 * 1024 * 1024,
        max_bytes: int = 64 * 1024 * 1024,
        keep: int = 3,
    ) -> None:
        """
        @param path: C{None} for no log.
        @param in_thread: calls a function where waiting for a disk holds nobody up, such as C{deferToThreadPool} bound to
            the reactor and its pool; by default it is called right away.
        @param interval_secs: how long a line waits at most before it is written.
        @param batch: how many lines wait at most.
        @param max_waiting_bytes: how much may wait for a slow disk before lines are lost.
        @param max_bytes: the size from which on a new file is begun.
        @param keep: how many older files are kept.
        """
        self.setName("request-log")
        self.lost = 0
        self._clock = clock
        self._in_thread = in_thread
        self._interval_secs = interval_secs
        self._batch = batch
        self._max_waiting_bytes = max_waiting_bytes
        self._file = None if path is None else LogFile(path, max_bytes=max_bytes, keep=keep)
        self.wanted = self._file is not None
        self._lines: list[str] = []
        self._chunks: list[bytes] = []
        self._chunks_bytes = 0
        self._chunks_lines = 0
        self._timer: IDelayedCall | None = None
        self._writing: Deferred[object] | None = None
        self._failing = False

    def write(self, line: str) -> None:
        """
        Take one line, its end included, in ASCII. Lines may come before C{startService}, and in C{stopService} until its
        Deferred fires.
        """
        if not self.wanted:
            return
        lines = self._lines
        lines.append(line)
        if len(lines) >= self._batch:
            self._flush()
        elif self._timer is None:
            self._timer = self._clock.callLater(self._interval_secs, self._due)

    def stopService(self) -> Deferred[None]:
        """Write what is left. Fires when that is done; never fails. Cancelling it ends the waiting, not the write."""
        super().stopService()
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        self._flush()
        while self._writing is not None:
            await self._write_ended(self._writing)
            # What came meanwhile.
            self._flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._file is not None:
            self._file.close()

    @staticmethod
    def _write_ended(writing: Deferred[object]) -> Deferred[None]:
        ended: Deferred[None] = Deferred()

        def tell(result: object) -> object:
            ended.callback(None)
            return result

        writing.addBoth(tell)
        return ended

    def _due(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if self._chunks_bytes >= self._max_waiting_bytes:
            self._lose(len(lines), "the disk does not keep up")
        elif lines:
            chunk = "".join(lines).encode("ascii")
            self._chunks.append(chunk)
            self._chunks_bytes += len(chunk)
            self._chunks_lines += len(lines)
        if self._writing is None:
            self._write_chunks()

    def _write_chunks(self) -> None:
        if self._file is None or not self._chunks:
            return
        data = b"".join(self._chunks)
        lines = self._chunks_lines
        self._chunks = []
        self._chunks_bytes = self._chunks_lines = 0
        file = self._file
        self._writing = writing = self._in_thread(lambda: file.append(data))
        writing.addCallbacks(self._written, self._not_written, errbackArgs=(lines,))
        writing.addBoth(self._ended)

    def _written(self, _: object) -> None:
        if self._failing:
            self._failing = False
            self._log.info("The request log is written again; {lost} lines were lost so far", lost=self.lost)

    def _not_written(self, failure: Failure, lines: int) -> None:
        self._lose(lines, failure.getErrorMessage())

    def _lose(self, lines: int, reason: str) -> None:
        self.lost += lines
        if not self._failing:
            self._failing = True
            self._log.error("The request log cannot be written: {reason}", reason=reason)

    def _ended(self, _: object) -> None:
        self._writing = None
        self._write_chunks()
