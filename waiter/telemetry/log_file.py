"""A file that is only ever appended to and does not grow for ever."""

import os
from pathlib import Path


class LogFile:
    """
    Appends whole batches, each with as few system calls as possible.

    When the file has reached its size it is renamed to C{<path>.1}, what had that name to C{<path>.2} and so on. A file
    that somebody else moved away or removed is begun anew. Not safe for use by two threads at once.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        """
        @param max_bytes: the size from which on a new file is begun; one batch may exceed it.
        @param keep: how many older files are kept.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor: int | None = None

    def append(self, data: bytes) -> None:
        """
        Write all of C{data}, or none of it.

        @raise OSError: it could not be written.
        """
        descriptor = self._ready()
        size = os.fstat(descriptor).st_size
        if size >= self._max_bytes:
            self._rotate()
            descriptor = self._ready()
            size = 0
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            # Half a line would make the next one unreadable too.
            os.ftruncate(descriptor, size)
            raise

    def close(self) -> None:
        """Let go of the file. A later C{append} opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _ready(self) -> int:
        if self._descriptor is not None:
            try:
                same = os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
            except FileNotFoundError:
                same = False
            if not same:
                self.close()
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Paths, queries and names of people are in it.
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return self._descriptor

    def _rotate(self) -> None:
        self.close()
        if self._keep == 0:
            self._path.unlink()
            return
        for age in range(self._keep - 1, 0, -1):
            older = self._aged(age)
            if older.exists():
                older.replace(self._aged(age + 1))
        self._path.replace(self._aged(1))

    def _aged(self, age: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{age}")
