"""
The hostile requests and answers, over real sockets through a real Waiter, judged by the bytes that a real instance
recorded.
"""

import contextlib
import json
import socket
import sys
import time
from collections import Counter
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.python import log
from twisted.trial.unittest import TestCase

from tests.hostile import judge
from tests.hostile.answers import REPLIES
from tests.hostile.corpus import CASES
from tests.integration.harness import RunningWaiter, service_headers

HERE = Path(__file__).parent.absolute()
PATIENCE_SECS = 60


def talk(port, pieces):
    """Send the pieces on a connection of their own; returns all that comes until it ends."""
    got = []
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECS) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # To be reset is one way to end, also while there is still something to send; what was answered before is there.
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                client.sendall(piece)
        with contextlib.suppress(ConnectionError):
            while data := client.recv(65536):
                got.append(data)
    return b"".join(got)


class Instance:
    """What the recording instance has got; each time only what is new."""

    def __init__(self, control):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(control))
        self._file = self._socket.makefile("rwb")
        self._seen = {}

    def close(self):
        self._file.close()
        self._socket.close()

    def got(self):
        """The whole requests of each connection since the last time. A part of one is none if its connection is cut."""
        deadline = time.monotonic() + PATIENCE_SECS
        while True:
            self._file.write(b"forget\n")
            self._file.flush()
            told = json.loads(self._file.readline())
            new = [(number, bytes.fromhex(text), ended) for number, text, ended in told]
            found, waiting = self._judge(new)
            if not waiting:
                self._seen = {number: len(data) for number, data, ended in new}
                return found
            judge.check(time.monotonic() < deadline, "a part of a request on a connection that is not closed", waiting)
            time.sleep(0.01)

    def _judge(self, told):
        found, waiting = [], []
        for number, data, ended in told:
            requests, rest = judge.requests(data[self._seen.get(number, 0) :])
            short = [(method, target, body) for method, target, _, body in requests]
            judge.check(short == judge.read_by_h11(data[self._seen.get(number, 0) :]), "h11 reads it otherwise", data)
            found += short
            if rest and not ended:
                waiting.append(rest)
        return found, waiting


class HostileTests(TestCase):
    timeout = 300

    async def start(self):
        """A Waiter, with the header lines of a service whose instance records, and that instance's socket."""
        waiter = await RunningWaiter(self).start()
        # The path of a UNIX socket must be short.
        control = waiter.state / "r"
        headers = self.service(control, version="v1")
        await waiter.request("/first", headers=headers)
        instance = Instance(control)
        self.addCleanup(instance.close)
        return waiter, lines(headers), instance

    def service(self, control, **parameters):
        return service_headers(
            f"exec {sys.executable} {HERE}/recorder.py $PORT0 {control}",
            health_check_url="/health",
            concurrency_level=20,
            **parameters,
        )

    async def test_requests(self):
        """No request, whole or byte by byte, reaches the instance in a form that could be read in two ways."""
        waiter, service, instance = await self.start()
        wrong, counts = await deferToThread(self.send_all, waiter.port, service, instance)
        self.assertEqual(wrong, [])
        self.assertEqual(sum(sum(count) for count in counts.values()), len(CASES))
        report("requests", counts)

    def send_all(self, port, service, instance):
        """What went wrong, and for each family how many were refused and how many served."""
        instance.got()
        wrong, counts = [], {}
        for number, case in enumerate(CASES):
            stream = case.for_service(b"localhost", service)
            small = len(stream) < 2000 and number % 10 == 0
            for pieces in ([stream], [bytes([byte]) for byte in stream]) if small else ([stream],):
                try:
                    self.check(case, talk(port, pieces), instance.got())
                except Exception as problem:  # noqa: BLE001 - all of them are wanted at once
                    wrong.append((case.family, case.stream[:300], len(pieces), repr(problem)[:500]))
                    break
            else:
                count = counts.setdefault(case.family, [0, 0])
                count[not case.refusals] += 1
        return wrong, counts

    def check(self, case, stream, found):
        self.assertEqual(found, list(case.requests))
        for method, _, _ in case.requests:
            (status, _, _), stream = judge.answer(stream, method)
            self.assertEqual(status, 204)
        if case.refusals:
            (status, headers, _), stream = judge.answer(stream, b"GET")
            self.assertIn(b"%d" % status, case.refusals)
            self.assertEqual(judge.values(headers, b"connection"), [b"close"])
        self.assertEqual(stream, b"")

    async def test_answers(self):
        """No answer reaches a client in a form that could be read in two ways. A sample, as each sets the instance aside."""
        waiter, _, _ = await self.start()
        counts = Counter()
        for number in range(0, len(REPLIES), 9):
            reply = REPLIES[number]
            # A service of its own for each.
            headers = lines(self.service(waiter.state / "r2", version=f"n{number}", mem=32))
            stream = b"POST /reply/%d HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: 0\r\n\r\n" % (number, headers)
            got = await deferToThread(talk_once, waiter.port, stream, ends=bool(reply.bodies))
            counts[reply.family] += 1
            try:
                (status, _, body), rest = judge.answer(got, b"POST")
            except judge.Unfinished:
                self.assertEqual(reply.bodies, (), reply)
                continue
            self.assertEqual(rest, b"", reply)
            if body in reply.bodies:
                self.assertIn(status, (200, 204, 304), reply)
            else:
                self.assertEqual(status, 502, (reply, got))
        report("answers", {name: (count,) for name, count in counts.items()})


def lines(headers):
    return "".join(f"{name}: {value[0]}\r\n" for name, value in headers.items()).encode()


def talk_once(port, stream, *, ends):
    """
    Ask for one thing, and wait for the answer and for whatever else comes in a moment.

    @param ends: whether there is an end of the answer to wait for, whatever it is; else its beginning will do.
    """
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECS) as client:
        client.sendall(stream)
        try:
            while data := client.recv(65536):
                got += data
                if not ends or is_whole(got):
                    client.settimeout(0.2)
        except (TimeoutError, ConnectionError):
            pass
    return got


def is_whole(got):
    """Whether what a client got has a whole answer to a POST in it."""
    try:
        judge.answer(got, b"POST")
    except judge.Unfinished:
        return False
    return True


def report(what, counts):
    """One line for the log of the tests."""
    told = ", ".join(f"{name} {'+'.join(map(str, count))}" for name, count in sorted(counts.items()))
    total = sum(sum(count) for count in counts.values())
    log.msg(f"hostile {what}: {total} in {len(counts)} families, 0 ambiguous ({told})")
