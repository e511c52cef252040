"""What instances wrote: listings and files."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api, make_service
from waiter.admin.log_file import LogPart, byte_range
from waiter.scheduler.interface import LoggedInstance
from waiter.scheduler.local.log_place import LogPlace, LogState
from waiter.scheduler.local.log_reader import LogReader
from waiter.scheduler.local.rotation import LogRotation

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

    def test_whatIsOfOneInstanceNeedsItsName(self):
        for query, message in [
            ("host=h", "Missing instance-id parameter"),
            ("directory=work", "Missing instance-id parameter"),
            ("instance-id=&host=h", "Missing instance-id parameter"),
        ]:
            answer = self.api.ask(self, f"/apps/waiter-service-a/logs?{query}", headers={"accept": "application/json"})
            self.assertEqual((answer.code, answer.json["waiter-error"]["message"]), (400, message))
        self.assertEqual(self.api.scheduler.calls, [])

    def test_hostIsNotNeeded(self):
        stdout, directory = self.api.json(self, LISTING.partition("&")[0])
        self.assertEqual(stdout["name"], "stdout")
        self.assertEqual(directory["url"], f"http://localhost:9091{LISTING.partition('&')[0]}&directory=sub+dir")

    def test_withoutAnInstanceThoseThatHaveLogsAreListed(self):
        self.api.scheduler.logged = [
            LoggedInstance(
                id=INSTANCE,
                service_id="waiter-service-a",
                host="127.0.0.1",
                state="failed",
                started_at=1769860740.0,
                ended_at=1769860800.0,
                exit_code=3,
                message="It is broken.",
                log_directory="/logs",
            )
        ]
        self.assertEqual(
            self.api.json(self, "/apps/waiter-service-a/logs"),
            [
                {
                    "id": INSTANCE,
                    "service-id": "waiter-service-a",
                    "host": "127.0.0.1",
                    "state": "failed",
                    "started-at": "2026-01-31T11:59:00.000Z",
                    "ended-at": "2026-01-31T12:00:00.000Z",
                    "exit-code": 3,
                    "message": "It is broken.",
                    "log-directory": "/logs",
                    "log-url": f"http://localhost:9091{LISTING}",
                }
            ],
        )

    def test_aServiceWithoutLogsHasNoneAndAnUnknownOneIsNotFound(self):
        self.assertEqual(self.api.ask(self, "/apps/waiter-service-a/logs").code, 404)
        service = make_service()
        self.api.catalog[service.id] = service
        self.assertEqual(self.api.json(self, f"/apps/{service.id}/logs"), [])

    def test_whatTheSchedulerDoesNotHaveIsNotFound(self):
        self.api.scheduler.directory = None
        for path in (LISTING, f"{FILES}/stdout"):
            self.assertEqual(self.api.ask(self, path).code, 404)

    def test_whoMayNotManageSeesNothing(self):
        api = Api(may_manage=lambda *_: False)
        api.scheduler.directory = self.directory
        for path in ("/apps/waiter-service-a/logs", LISTING, f"{FILES}/stdout", f"{FILES}/stdout?follow=true"):
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
        found = self.api.scheduler.log

        def replaced(*arguments):
            (self.directory / "stdout").unlink()
            (self.directory / "stdout").symlink_to(secret)
            return found(*arguments)

        self.api.scheduler.log = replaced
        self.assertEqual(self.api.ask(self, f"{FILES}/stdout").code, 404)

    def test_whileTheFileIsBeingRotated_theAnswerWaits(self):
        place = LogPlace(self.directory / "stdout")
        place.note(LogState(removing=5, size=10))
        asked = self.api.begin("GET", f"{FILES}/stdout")
        self.api.settle()
        self.assertNoResult(asked)
        place.note(LogState(base=0))
        self.api.clock.advance(0.05)
        self.api.settle()
        self.assertEqual(self.api.read(self, asked).content, b"0123456789")


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

    @property
    def transport(self):
        return self

    def abortConnection(self):
        assert self.producer is None
        self.events.append("aborted")


class LogPartTests(WithLogs):
    def setUp(self):
        super().setUp()
        self.clock = Clock()
        self.request = Receiver()
        self.path = self.directory / "stdout"

    def part(self, length, *, offset=0):
        self.log = LogReader(str(self.path), rotated=True, complete=lambda: False)
        part = LogPart(self.clock, self.request, self.log, offset, length)
        part.start()
        return part

    def assert_all_released(self):
        self.assertEqual(self.clock.getDelayedCalls(), [])
        opened = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        self.assertNotIn(str(self.path), opened)

    def test_whenTheFileGrows_noMoreThanAnnouncedIsSent(self):
        self.part(10)
        with self.path.open("ab") as growing:
            growing.write(b"more")
        self.clock.pump([0] * 5)
        self.assertEqual((self.request.written, self.request.events), ([b"0123456789"], ["finished"]))
        self.assert_all_released()

    def test_whenTheFileIsCutOff_theConnectionIsLost(self):
        self.part(10)
        self.path.write_bytes(b"01")
        self.clock.pump([0] * 5)
        self.assertEqual((self.request.written, self.request.events), ([b"01"], ["lost"]))
        self.assert_all_released()

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
        part.resumeProducing()
        self.assert_all_released()
        self.assertEqual(self.request.events, [])

    def test_whenTheFileIsRotatedMeanwhile_whatWasAnnouncedIsSent(self):
        content = os.urandom(300_000)
        self.path.write_bytes(content)
        part = self.part(250_000, offset=1000)
        self.request.write = lambda data: (self.request.written.append(data), part.pauseProducing())
        self.clock.advance(0)
        with self.path.open("ab") as growing:
            growing.write(b"more")
        LogRotation(max_bytes=100_000, keep=5).rotate(LogPlace(self.path))
        for _ in range(5):
            part.resumeProducing()
            self.clock.advance(0)
        self.assertLess(self.path.stat().st_size, 110_000)
        self.assertEqual(b"".join(self.request.written), content[1000:251_000])
        self.assertEqual(self.request.events, ["finished"])

    def test_whenWhatWasAnnouncedIsNotKept_theConnectionIsLost(self):
        self.path.write_bytes(os.urandom(300_000))
        part = self.part(300_000)
        self.request.write = lambda data: (self.request.written.append(data), part.pauseProducing())
        self.clock.advance(0)
        LogRotation(max_bytes=100_000, keep=0).rotate(LogPlace(self.path))
        part.resumeProducing()
        self.clock.advance(0)
        self.assertEqual((len(self.request.written), self.request.events), (1, ["lost"]))
        self.assert_all_released()

    def test_whenTheClientTakesNothing_itIsCutOff(self):
        self.path.write_bytes(bytes(200_000))
        part = self.part(200_000)
        self.request.write = lambda data: (self.request.written.append(data), part.pauseProducing())
        self.clock.advance(0)
        self.clock.pump([1] * 59)
        self.assertEqual(self.request.events, [])
        self.clock.pump([1] * 20)
        self.assertEqual((len(self.request.written), self.request.events), (1, ["aborted"]))
        self.assert_all_released()


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
