"""
Many clients that are in no hurry, in a process of their own. Whoever ends is replaced, so that there are always as many.

C{python crowd.py PORT HEADERS KIND=NUMBER...}, with the headers of the service as a JSON object, and these kinds:

  - C{idle}: has one request answered, and then keeps the connection;
  - C{head}: sends the head of a request a byte a second;
  - C{body}: sends a body a byte a second;
  - C{reader}: asks for C{/large} and reads a byte a second.

Prints a line of JSON every second, until it is ended: how many are connected, and how many of those before ended in which
way.
"""

import contextlib
import errno
import json
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import harness

SLICES = 20
BODY_BYTES = 1_000_000
RESET = struct.pack("ii", 1, 0)


class Client:
    """One of them."""

    def __init__(self, kind: str, port: int, headers: Mapping[str, str]) -> None:
        self.kind = kind
        described = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        line, more = {
            "idle": ("GET / HTTP/1.1", ""),
            "head": ("GET / HTTP/1.1", f"X-Filler: {'x' * 4000}\r\n"),
            "body": ("POST / HTTP/1.1", f"Content-Length: {BODY_BYTES}\r\n"),
            "reader": ("GET /large HTTP/1.1", ""),
        }[kind]
        head = f"{line}\r\nHost: localhost\r\n{described}{more}\r\n".encode()
        self._socket = socket.socket()
        if kind == "reader":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(30)
        self._socket.connect(("127.0.0.1", port))
        at_once = 1 if kind == "head" else len(head)
        self._socket.sendall(head[:at_once])
        self._socket.setblocking(False)
        self._left = memoryview(head[at_once:] + (b"x" * BODY_BYTES if kind == "body" else b""))
        self.received = b""

    def turn(self) -> str | None:
        """A second has passed: send or read a byte. Answers how it ended, if it did."""
        if self.kind == "reader" and self._is_broken():
            # It would not notice before it has read all that has come, which takes an hour.
            return "broken off"
        try:
            if self._left:
                self._left = self._left[self._socket.send(self._left[:1]) :]
            came = self._socket.recv(1 if self.kind == "reader" else 4096)
        except BlockingIOError:
            return None
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, "error").lower()
        if not came:
            return "closed"
        self.received = (self.received + came)[:12]
        if self.kind in {"idle", "reader"}:
            return None
        return self.received[9:12].decode() or "closed"

    def _is_broken(self) -> bool:
        asked = select.poll()
        asked.register(self._socket, select.POLLRDHUP)
        return bool(asked.poll(0))

    def close(self) -> None:
        """Leave without a trace: the ports of this machine are few."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._socket.close()


class Crowd:
    """All of them."""

    def __init__(self, port: int, headers: Mapping[str, str], numbers: Mapping[str, int]) -> None:
        self._port = port
        self._headers = headers
        self._wanted = [kind for kind, number in numbers.items() for _ in range(number)]
        self._clients: list[Client | None] = [None] * len(self._wanted)
        self.ended: Counter[str] = Counter()

    def run(self) -> None:
        """Go on until somebody ends this process."""
        began = time.monotonic()
        turns = 0
        while True:
            for at in range(turns % SLICES, len(self._wanted), SLICES):
                self._turn(at)
            turns += 1
            if turns % SLICES == 0:
                connected = sum(client is not None for client in self._clients)
                print(json.dumps({"connected": connected, "ended": dict(self.ended)}), flush=True)
            time.sleep(max(0.0, began + turns / SLICES - time.monotonic()))

    def _turn(self, at: int) -> None:
        kind, client = self._wanted[at], self._clients[at]
        try:
            if client is None:
                self._clients[at] = Client(kind, self._port, self._headers)
                return
            end = client.turn()
        except OSError as error:
            end = f"not connected: {error.strerror or error}"
        if end is not None:
            self.ended[f"{kind} {end}"] += 1
            if client is not None:
                client.close()
            self._clients[at] = None


@contextlib.contextmanager
def crowd(
    directory: Path, port: int, headers: Mapping[str, str], *, within_secs: float = 60, **numbers: int
) -> Iterator[harness.Program]:
    """
    So many clients of each kind, for as long as this lasts: C{crowd(directory, port, headers, idle=10000)}. They are all
    connected when it begins.
    """
    log = directory / f"crowd-{time.monotonic_ns()}.log"
    command = [sys.executable, Path(__file__), port, json.dumps(dict(headers))]
    command += [f"{kind}={number}" for kind, number in numbers.items()]
    with harness.running(command, log=log) as program:
        program.wait_until_said(f'"connected": {sum(numbers.values())}', within_secs=within_secs)
        yield program


def report_of(program: harness.Program) -> dict[str, Any]:
    """What a crowd said last."""
    lines = program.log.read_text().splitlines()
    result: dict[str, Any] = json.loads(lines[-1])
    return result


if __name__ == "__main__":
    Crowd(
        int(sys.argv[1]),
        json.loads(sys.argv[2]),
        {kind: int(number) for kind, _, number in (argument.partition("=") for argument in sys.argv[3:])},
    ).run()
