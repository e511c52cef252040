"""What instances wrote: listings and files."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api
from waiter.admin.log_file import FilePart, byte_range, open_regular
from waiter.errors import NotFound

INSTANCE = "waiter-service-a.1"
LISTING = f"/apps/waiter-service-a/logs?instance-id={INSTANCE}&host=127.0.0.1"
FILES = f"/apps/waiter-service-a/logs/{INSTANCE}"


class WithLogs(SynchronousTestCase):
    def setUp(self):
        self.directory = Path(self.mktemp()).resolve()
        (self.directory / "sub dir").mkdir(parents=True)
        (self.directory / "stdout").write_bytes(bytes(range(48, 58)))
        (self.directory / "sub dir" / "page.html").write_text("<script>alert(1)</script>")
        self.api = Api()
        self.api.scheduler.directory = self.directory


class ListingTests(WithLogs):
    def test_directoryIsListedWithUrls(self):
        self.assertEqual(
            self.api.json(self, LISTING),
            [
                {
                    "name": "stdout",
                    "type": "file",
                    "size": 10,
                    "url": f"http://localhost:9091{FILES}/stdout",
                },
                {
                    "name": "sub dir",
                    "type": "directory",
                    "url": f"http://localhost:9091{LISTING}&directory=sub+dir",
                },
            ],
        )

    def test_urlsLeadToWhatTheyName(self):
        _, directory = self.api.json(self, LISTING)
        (page,) = self.api.json(self, directory["url"].removeprefix("http://localhost:9091"))
        answer = self.api.ask(self, page["url"].removeprefix("http://localhost:9091"))
        self.assertEqual(answer.content, b"<script>alert(1)</script>")

    def test_instanceAndHostMustBeNamed(self):
        for query, message in [
            ("host=h", "Missing instance-id parameter"),
            ("instance-id=&host=h", "Missing instance-id parameter"),
            ("instance-id=i", "Missing host parameter"),
        ]:
            answer = self.api.ask(self, f"/apps/waiter-service-a/logs?{query}", headers={"accept": "application/json"})
            self.assertEqual((answer.code, answer.json["waiter-error"]["message"]), (400, message))
        self.assertEqual(self.api.scheduler.calls, [])

    def test_whatTheSchedulerDoesNotHaveIsNotFound(self):
        self.api.scheduler.directory = None
        for path in (LISTING, f"{FILES}/stdout"):
            self.assertEqual(self.api.ask(self, path).code, 404)

    def test_whoMayNotManageSeesNothing(self):
        api = Api(may_manage=lambda *_: False)
        api.scheduler.directory = self.directory
        for path in (LISTING, f"{FILES}/stdout"):
            answer = api.ask(self, path, headers={"accept": "application/json"})
            self.assertEqual((answer.code, answer.json["waiter-error"]["message"]), (401, "Unauthorized user alice"))
        self.assertEqual(api.scheduler.calls, [])


class FileTests(WithLogs):
    def test_fileIsServedAsTextThatCannotDoAnything(self):
        answer = self.api.ask(self, f"{FILES}/sub%20dir/page.html")
        self.assertEqual((answer.code, answer.content), (200, b"<script>alert(1)</script>"))
        self.assertEqual(answer.header("content-type"), "text/plain; charset=utf-8")
        self.assertEqual(answer.header("x-content-type-options"), "nosniff")
        self.assertTrue(answer.header("content-security-policy").startswith("sandbox;"))
        self.assertEqual(answer.header("x-cid") is None, False)

    def test_partsOfAFileAreServed(self):
        for asked, code, content, described in [
            ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
            ("bytes=7-", 206, b"789", "bytes 7-9/10"),
            ("bytes=-3", 206, b"789", "bytes 7-9/10"),
            ("bytes=-100", 206, b"0123456789", "bytes 0-9/10"),
            ("bytes=8-100", 206, b"89", "bytes 8-9/10"),
            ("bytes=10-", 416, b"", "bytes */10"),
            ("bytes=-0", 416, b"", "bytes */10"),
            ("bytes=4-2", 200, b"0123456789", None),
            ("bytes=0-1,3-4", 200, b"0123456789", None),
            ("lines=1-2", 200, b"0123456789", None),
            ("bytes=-", 200, b"0123456789", None),
        ]:
            answer = self.api.ask(self, f"{FILES}/stdout", headers={"range": asked})
            self.assertEqual((answer.code, answer.content), (code, content), asked)
            self.assertEqual(answer.header("content-range"), described, asked)
            self.assertEqual(answer.response.length, len(content), asked)

    def test_headOfAFileHasNoBody(self):
        answer = self.api.ask(self, f"{FILES}/stdout", method="HEAD")
        self.assertEqual((answer.code, answer.content), (200, b""))
        self.assertEqual(answer.header("accept-ranges"), "bytes")

    def test_emptyFileIsServed(self):
        (self.directory / "stderr").write_bytes(b"")
        answer = self.api.ask(self, f"{FILES}/stderr")
        self.assertEqual((answer.code, answer.content), (200, b""))

    def test_largeFileIsServedWhole(self):
        content = os.urandom(300_000)
        (self.directory / "big").write_bytes(content)
        asked = self.api.begin("GET", f"{FILES}/big")
        self.api.settle()
        self.api.settle()
        self.assertEqual(self.api.read(self, asked).content, content)

    def test_onlyTheSchedulerSaysWhichFilesThereAre(self):
        for path in ("../secret", "%2e%2e/secret", "..%2fsecret", "/etc/passwd"):
            self.api.scheduler.calls.clear()
            self.api.scheduler.directory = None
            self.assertEqual(self.api.ask(self, f"{FILES}/{path}").code, 404, path)

    def test_whatIsNoRegularFileIsNotFound(self):
        secret = self.directory.parent / f"{self.directory.name}-secret"
        secret.write_text("secret")
        (self.directory / "link").symlink_to(secret)
        (self.directory / "linked").symlink_to(self.directory.parent)
        os.mkfifo(self.directory / "pipe")
        for path in ("link", f"linked/{secret.name}", "pipe", "sub dir", "nothing", "stdout/x"):
            answer = self.api.ask(self, f"{FILES}/{path}", headers={"accept": "application/json"})
            self.assertEqual(answer.code, 404, path)
            self.assertEqual(answer.header("content-type"), "application/json")
            self.assertIsNone(answer.header("content-disposition"))

    def test_whenTheSchedulersPathIsReplaced_theReplacementIsNotServed(self):
        # The scheduler has looked, then the instance is quick.
        secret = self.directory.parent / f"{self.directory.name}-other"
        secret.write_text("secret")

        def replaced(*_):
            (self.directory / "stdout").unlink()
            (self.directory / "stdout").symlink_to(secret)
            return succeed(str(self.directory / "stdout"))

        self.api.scheduler.log_path = replaced
        self.assertEqual(self.api.ask(self, f"{FILES}/stdout").code, 404)


class OpenTests(WithLogs):
    def test_regularFileIsOpenedForReading(self):
        with open_regular(str(self.directory / "stdout")) as file:
            self.assertEqual(file.read(3), b"012")

    def test_failureLeavesNothingOpen(self):
        before = len(list(Path("/proc/self/fd").iterdir()))
        for name in ("sub dir", "nothing"):
            self.assertRaises(NotFound, open_regular, str(self.directory / name))
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)


class Receiver:
    """A request whose client takes what the test lets it take."""

    def __init__(self):
        self.written = []
        self.events = []
        self.gone = Deferred()
        self.producer = None

    def notifyFinish(self):
        return self.gone

    def registerProducer(self, producer, streaming):
        assert streaming
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def write(self, data):
        self.written.append(data)

    def finish(self):
        assert self.producer is None
        self.events.append("finished")

    def loseConnection(self):
        assert self.producer is None
        self.events.append("lost")


class FilePartTests(WithLogs):
    def setUp(self):
        super().setUp()
        self.clock = Clock()
        self.request = Receiver()
        self.path = self.directory / "stdout"

    def part(self, length):
        self.file = open_regular(str(self.path))
        part = FilePart(self.clock, self.request, self.file, length)
        part.start()
        return part

    def test_whenTheFileGrows_noMoreThanAnnouncedIsSent(self):
        self.part(10)
        with self.path.open("ab") as growing:
            growing.write(b"more")
        self.clock.pump([0] * 5)
        self.assertEqual((self.request.written, self.request.events), ([b"0123456789"], ["finished"]))
        self.assertTrue(self.file.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whenTheFileIsCutOff_theConnectionIsLost(self):
        self.part(10)
        self.path.write_bytes(b"01")
        self.clock.pump([0] * 5)
        self.assertEqual((self.request.written, self.request.events), ([b"01"], ["lost"]))
        self.assertTrue(self.file.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whenTheClientIsSlow_nothingIsReadAhead(self):
        self.path.write_bytes(bytes(200_000))
        part = self.part(200_000)
        self.request.write = lambda data: (self.request.written.append(data), part.pauseProducing())
        sizes = []
        for _ in range(4):
            self.clock.pump([0] * 5)
            sizes.append(sum(map(len, self.request.written)))
            part.resumeProducing()
        self.assertEqual(sizes, [65536, 131072, 196608, 200000])
        self.assertEqual(self.request.events, ["finished"])

    def test_whenTheClientGoesAway_theFileIsClosed(self):
        self.path.write_bytes(bytes(200_000))
        part = self.part(200_000)
        self.request.write = lambda _: self.request.gone.errback(ConnectionDone())
        self.clock.advance(0)
        self.assertTrue(self.file.closed)
        part.resumeProducing()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.request.events, [])


class ByteRangeTests(SynchronousTestCase):
    @given(
        st.binary(max_size=20) | st.from_regex(rb"bytes=[0-9]{0,25}-[0-9]{0,25}", fullmatch=True), st.integers(0, 20)
    )
    def test_partIsAlwaysInsideTheFile(self, header, size):
        wanted = byte_range(header, size)
        if wanted is not None:
            start, end = wanted
            self.assertTrue(0 <= start <= end <= size)

    @given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
    def test_firstToLastAreTheBytesNamed(self, first, last, size):
        wanted = byte_range(b"bytes=%d-%d" % (first, last), size)
        if last < first:
            self.assertIsNone(wanted)
        else:
            content = bytes(range(size))
            self.assertEqual(content[slice(*wanted)], content[first : last + 1])
