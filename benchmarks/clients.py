"""Clients for what wrk does not do: long bodies, WebSockets, and requests at a constant rate."""

import contextlib
import gc
import re
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from harness import BenchmarkError

CHUNK_BYTES = 1 << 20
FRAME_BYTES = 100


def head(line: str, headers: Mapping[str, str], more: str = "") -> bytes:
    """A request without its body."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{line} HTTP/1.1\r\nHost: localhost\r\n{fields}{more}\r\n".encode()


def ask(port: int, headers: Mapping[str, str], path: str) -> str:
    """
    The body of one answer, by a connection of its own.

    @raise BenchmarkError: it is not 200.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(head(f"GET {path}", headers, "Connection: close\r\n"))
        answer = b""
        while data := client.recv(CHUNK_BYTES):
            answer += data
    begin, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in begin.partition(b"\r\n")[0]:
        raise BenchmarkError(f"a GET of {path} was answered with {answer[:1000].decode('latin-1')}")
    return body.decode("latin-1")


def download(port: int, headers: Mapping[str, str], path: str, size: int) -> float:
    """How many seconds a body of that size takes to come."""
    buffer = bytearray(CHUNK_BYTES)
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        began = time.perf_counter()
        client.sendall(head(f"GET {path}", headers))
        length, left = _answer_begins(client)
        if length != size:
            raise BenchmarkError(f"a body of {size} bytes was announced as {length}")
        while left > 0:
            came = client.recv_into(buffer)
            if not came:
                raise BenchmarkError(f"a body of {size} bytes ended {left} too early")
            left -= came
        return time.perf_counter() - began


def upload(port: int, headers: Mapping[str, str], path: str, size: int) -> float:
    """How many seconds a body of that size takes to go, until it is answered."""
    chunk = bytes(CHUNK_BYTES)
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        began = time.perf_counter()
        client.sendall(head(f"POST {path}", headers, f"Content-Length: {size}\r\n"))
        for _ in range(size // CHUNK_BYTES):
            client.sendall(chunk)
        client.sendall(chunk[: size % CHUNK_BYTES])
        _answer_begins(client)
        return time.perf_counter() - began


def echo(port: int, headers: Mapping[str, str], *, connections: int, secs: float) -> list[float]:
    """
    Send a message on each of so many WebSockets, and another one whenever it has come back.

    @return: how long each took, in seconds.
    """
    # Masked, as a client's are, with zeros, so that neither side has to calculate.
    message = bytes((0x82, 0x80 | FRAME_BYTES)) + bytes(4 + FRAME_BYTES)
    expected = 2 + FRAME_BYTES
    took: list[float] = []
    with contextlib.ExitStack() as stack:
        polled = stack.enter_context(select.epoll())
        clients: dict[int, socket.socket] = {}
        for _ in range(connections):
            client = stack.enter_context(_websocket(port, headers))
            clients[client.fileno()] = client
            polled.register(client, select.EPOLLIN)
        stack.enter_context(_no_garbage_collection())
        began = time.perf_counter()
        sent = dict.fromkeys(clients, began)
        missing = dict.fromkeys(clients, expected)
        for client in clients.values():
            client.sendall(message)
        while (now := time.perf_counter()) < began + secs:
            for number, _ in polled.poll(1):
                came = len(clients[number].recv(4096))
                missing[number] -= came
                if not came or missing[number] < 0:
                    raise BenchmarkError("a WebSocket ended, or more came than was sent")
                if not missing[number]:
                    now = time.perf_counter()
                    took.append(now - sent[number])
                    sent[number] = now
                    missing[number] = expected
                    clients[number].sendall(message)
    if not took:
        raise BenchmarkError("no message came back")
    return took


def at_rate(port: int, headers: Mapping[str, str], *, per_sec: float, secs: float, connections: int) -> list[float]:
    """
    Send requests when they are due, whatever became of those before.

    @return: how long after it was due each was answered, in seconds; also those count that had to wait for one of the
        connections.
    """
    request = head("GET /", headers)
    took: list[float] = []
    with contextlib.ExitStack() as stack:
        free = deque(
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(connections)
        )
        stack.enter_context(_no_garbage_collection())
        waiting: deque[float] = deque()
        busy: dict[socket.socket, float] = {}
        left = round(per_sec * secs)
        due = time.perf_counter()
        while left or waiting or busy:
            now = time.perf_counter()
            while left and due <= now:
                waiting.append(due)
                due += 1 / per_sec
                left -= 1
            while free and waiting:
                client = free.popleft()
                client.sendall(request)
                busy[client] = waiting.popleft()
            # A poll counts in milliseconds, which is too coarse.
            wait = max(0.0, due - time.perf_counter()) if left else 30.0
            readable, _, _ = select.select(list(busy), [], [], wait)
            for client in readable:
                _answer(client)
                took.append(time.perf_counter() - busy.pop(client))
                free.append(client)
            if not readable and not left:
                raise BenchmarkError(f"{len(busy)} requests were not answered in 30 s")
    return took


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _websocket(port: int, headers: Mapping[str, str]) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    client.sendall(head("GET /", headers, f"{upgrade}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"))
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = client.recv(4096)
        answer += data
        if not data or not answer.startswith(b"HTTP/1.1 101"[: len(answer)]):
            client.close()
            raise BenchmarkError(f"no WebSocket, but {answer[:1000].decode('latin-1')}")
    return client


def _answer_begins(client: socket.socket) -> tuple[int, int]:
    """The length of an answer, and how much of it has not come with its head."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = client.recv(4096)
        if not data:
            raise BenchmarkError("the connection was closed instead of an answer")
        answer += data
    begin, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", begin, re.IGNORECASE)
    if b" 200 " not in begin.partition(b"\r\n")[0] or length is None:
        raise BenchmarkError(f"answered with {answer[:1000].decode('latin-1')}")
    return int(length[1]), int(length[1]) - len(body)


def _answer(client: socket.socket) -> None:
    _, left = _answer_begins(client)
    while left > 0:
        came = len(client.recv(left))
        if not came:
            raise BenchmarkError("an answer ended too early")
        left -= came


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
