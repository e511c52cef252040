"""What may not come behind a body, with real connections on both sides."""

import json
import sys
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers
from tests.integration.raw_http import Connection
from tests.router.test_headers import FORBIDDEN_TRAILERS

HERE = Path(__file__).parent.absolute()
# Whoever sends these is refused, for it is not clear what he means.
REFUSED = {b"Transfer-Encoding", b"Content-Length"}
SIZE = b"3\r\nabc\r\n0\r\n"


class TrailerTests(TestCase):
    timeout = 120

    async def start(self):
        waiter = await RunningWaiter(self).start()
        headers = service_headers(f"exec {sys.executable} {HERE}/trailing.py $PORT0", health_check_url="/health")
        self.assertEqual((await waiter.request("/", headers=headers)).code, 200)
        self.port = waiter.port
        self.lines = [f"{name}: {value}".encode() for name, values in headers.items() for value in values]
        self.lines.append(b"Host: localhost")

    def ask(self, *lines, trailers=b"", minor=1):
        """An answer, and what the instance was sent."""
        head = [b"POST / HTTP/1.%d" % minor, *self.lines, *lines]
        head.append(b"Transfer-Encoding: chunked" if minor else b"Content-Length: 3")
        body = SIZE + trailers + b"\r\n" if minor else b"abc"
        with Connection(self.port) as connection:
            reply = connection.ask(b"POST", b"\r\n".join([*head, b"", b""]), body)
        return reply, json.loads(reply.body) if reply.status == 200 else None

    async def test_whatIsForbiddenDoesNotReachTheInstance(self):
        await self.start()

        def check():
            for name in FORBIDDEN_TRAILERS:
                reply, told = self.ask(b"TE: trailers", b"Trailer: " + name, trailers=name + b": x\r\nX-Sum: 1\r\n")
                if name in REFUSED:
                    self.assertEqual(reply.status, 400, name)
                else:
                    self.assertEqual(told, {"trailers": [["x-sum", "1"]], "te": [], "size": 3}, name)

        await deferToThread(check)

    async def test_whatIsForbiddenDoesNotReachTheClient(self):
        await self.start()

        def check():
            for name in FORBIDDEN_TRAILERS:
                lines = (b"TE: trailers", b"Please: " + name + b": x", b"Please: X-Sum: 1")
                try:
                    reply, _ = self.ask(*lines)
                except ConnectionError:
                    self.assertIn(name, REFUSED)
                else:
                    self.assertIn((reply.status, reply.trailers), {(200, ((b"X-Sum", b"1"),)), (502, ())}, name)

        await deferToThread(check)

    async def test_whoSpeaksHTTP10GetsNone(self):
        """There is no place for them."""
        await self.start()
        reply, told = await deferToThread(self.ask, b"Please: X-Sum: 1", minor=0)
        self.assertEqual((reply.framing, reply.trailers, told["size"]), ("end", (), 3))
