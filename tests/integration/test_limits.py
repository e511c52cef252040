"""The limits on clients, as they are set."""

import socket
import sys
import time
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers

HERE = Path(__file__).parent.absolute()
PATIENCE_SECS = 60


class LimitsTests(TestCase):
    """Each with a value that is not the default."""

    timeout = 120

    async def start(self, **environment):
        waiter = await RunningWaiter(self, environment=environment).start()
        self.headers = service_headers(f"exec {sys.executable} {HERE}/trailing.py $PORT0", health_check_url="/health")
        lines = [f"{name}: {value}\r\n".encode() for name, values in self.headers.items() for value in values]
        self.service = b"Host: localhost\r\n" + b"".join(lines)
        self.port = waiter.port
        return waiter

    def said(self, *pieces):
        """What is answered until the connection ends, and how long that took."""
        began = time.monotonic()
        got = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECS) as client:
            for piece in pieces:
                client.sendall(piece)
            while data := client.recv(65536):
                got += data
        return got, time.monotonic() - began

    async def refused(self, *pieces):
        """The status of the first answer, after which the connection ends."""
        got, _ = await deferToThread(self.said, *pieces)
        return got[9:12]

    async def test_ofRequests(self):
        waiter = await self.start(
            WAITER_LISTEN_MAX_HEAD_BYTES="5000",
            WAITER_LISTEN_MAX_HEADERS="30",
            WAITER_LISTEN_MAX_REQUESTS_PER_CONNECTION="3",
            WAITER_REQUEST_MAX_BODY_BYTES="2000",
        )
        self.assertEqual((await waiter.request("/", headers=self.headers)).code, 200)
        request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
        close = b"Connection: close\r\n\r\n"
        for filler, status in (
            (b"X: " + b"x" * 4000 + b"\r\n", b"200"),
            (b"X: " + b"x" * 6000 + b"\r\n", b"431"),
            (b"X: x\r\n" * 28, b"200"),
            (b"X: x\r\n" * 31, b"431"),
        ):
            self.assertEqual(await self.refused(request, filler, close), status, filler[:10])
        for size, status in ((2000, b"200"), (2001, b"413")):
            head = b"POST / HTTP/1.1\r\n%bContent-Length: %d\r\n" % (self.service, size)
            self.assertEqual(await self.refused(head, close, b"x" * size), status)
        got, _ = await deferToThread(self.said, (request + b"\r\n") * 5)
        self.assertEqual(got.count(b"HTTP/1.1 200 OK"), 3)

    async def test_ofTime(self):
        waiter = await self.start(
            WAITER_LISTEN_IDLE_TIMEOUT_SECS="1",
            WAITER_LISTEN_HEAD_TIMEOUT_SECS="2",
            WAITER_LISTEN_BODY_TIMEOUT_SECS="3",
        )
        self.assertEqual((await waiter.request("/", headers=self.headers)).code, 200)
        whole = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        body = b"POST / HTTP/1.1\r\n" + self.service + b"Content-Length: 5\r\n\r\nx"
        for pieces, status, secs in (
            ((whole,), b"200", 1),
            ((), b"", 2),
            ((whole[:-2],), b"408", 2),
            ((body,), b"408", 3),
        ):
            got, took = await deferToThread(self.said, *pieces)
            self.assertEqual(got[9:12], status, pieces)
            self.assertGreater(took, secs - 0.1, pieces)
            # The defaults are half a minute and more.
            self.assertLess(took, 25, pieces)

    async def test_ofPace(self):
        """A body that never stops coming, but is slower than it may be."""
        waiter = await self.start(WAITER_LISTEN_BODY_TIMEOUT_SECS="1", WAITER_REQUEST_MIN_CLIENT_BYTES_PER_SEC="100000")
        self.assertEqual((await waiter.request("/", headers=self.headers)).code, 200)

        def drip():
            head = b"POST / HTTP/1.1\r\n" + self.service + b"Content-Length: 100000\r\n\r\n"
            with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECS) as client:
                client.sendall(head)
                client.settimeout(0.2)
                for _ in range(100):
                    client.sendall(b"x")
                    try:
                        return client.recv(65536)
                    except TimeoutError:
                        continue
            return b""

        self.assertEqual((await deferToThread(drip))[9:12], b"408")
