"""HTTP as it is on the wire, for tests that compare what is sent, byte by byte."""

import re
import socket

import attrs

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([0-9]{3}) ?(.*)")
PATIENCE_SECS = 60


@attrs.frozen
class Reply:
    """
    An answer.

    @ivar headers: names as they were written, in order.
    @ivar framing: C{"none"}, C{"length"}, C{"chunks"} or C{"end"}: what says where the body ends.
    """

    minor: int
    status: int
    reason: bytes
    headers: tuple
    body: bytes
    trailers: tuple
    framing: str

    def values(self, name):
        return [value for known, value in self.headers if known.lower() == name]


class Connection:
    """A client's connection."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._file.close()
        self._socket.close()

    def ask(self, method, head, body=b"", *, wait=False):
        """
        Send a request and read the answer to its end.

        @param wait: send the body only when told to go on, or not at all if there is an answer before.
        """
        self._socket.sendall(head if wait else head + body)
        reply = self._read(method)
        while reply.status < 200:
            if reply.status == 100 and wait:
                wait = False
                self._socket.sendall(body)
            reply = self._read(method)
        return reply

    def _read(self, method):
        line = self._file.readline()
        match = STATUS_LINE.fullmatch(line.rstrip(b"\r\n"))
        if match is None:
            raise ConnectionError(f"no answer but {line!r}")
        minor, status = int(match[1]), int(match[2])
        headers = self._fields()
        trailers = ()
        lengths = [value for name, value in headers if name.lower() == b"content-length"]
        if method == b"HEAD" or status < 200 or status in {204, 304}:
            framing, body = "none", b""
        elif any(name.lower() == b"transfer-encoding" for name, _ in headers):
            framing, (body, trailers) = "chunks", self._chunks()
        elif lengths:
            framing, body = "length", self._exactly(int(lengths[0]))
        else:
            framing, body = "end", self._file.read()
        return Reply(minor, status, match[3], headers, body, trailers, framing)

    def _fields(self):
        found = []
        while (line := self._file.readline()) != b"\r\n":
            if not line.endswith(b"\r\n"):
                raise ConnectionError(f"broken off in {line!r}")
            name, _, value = line[:-2].partition(b":")
            found.append((name, value.strip(b" \t")))
        return tuple(found)

    def _exactly(self, size):
        data = self._file.read(size)
        if len(data) != size:
            raise ConnectionError(f"{len(data)} bytes instead of {size}")
        return data

    def _chunks(self):
        pieces = []
        while size := int(self._file.readline().partition(b";")[0], 16):
            pieces.append(self._exactly(size))
            self._exactly(2)
        return b"".join(pieces), self._fields()
