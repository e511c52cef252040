"""Logs that are sent while they grow."""

import os
from pathlib import Path

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from tests.admin.support import Api
from tests.admin.test_log_frames import received
from tests.admin.test_logs import FILES, Receiver, WithLogs
from waiter.admin.log_follow import LOOK_SECS, SILENCE_SECS, Follower, Span
from waiter.admin.log_frames import Events, PlainText
from waiter.scheduler.local.log_place import LogPlace, LogState
from waiter.scheduler.local.log_reader import LogReader
from waiter.scheduler.local.rotation import LogRotation


class Following(WithLogs):
    def setUp(self):
        super().setUp()
        self.clock = Clock()
        self.request = Receiver()
        self.path = self.directory / "stdout"
        self.path.write_bytes(b"one\ntwo\nthree\n")
        self.complete = self.stopping = False

    def follow(self, *, frames=None, follow=True, tail=None, after=None):
        self.log = LogReader(str(self.path), rotated=True, complete=lambda: self.complete)
        follower = Follower(
            self.clock,
            self.request,
            self.log,
            frames or PlainText(),
            Span(follow=follow, tail=tail, after=after, stopping=lambda: self.stopping),
        )
        follower.start()
        self.look()
        return follower

    def look(self, times=5):
        self.clock.pump([0] * times)
        self.clock.advance(LOOK_SECS)
        self.clock.pump([0] * times)

    def append(self, data):
        with self.path.open("ab") as growing:
            growing.write(data)

    @property
    def sent(self):
        return b"".join(self.request.written)

    def assert_all_released(self):
        self.assertEqual(self.clock.getDelayedCalls(), [])
        opened = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        self.assertNotIn(str(self.path), opened)


class FollowerTests(Following):
    def test_whatIsWrittenLaterIsSent(self):
        self.follow()
        self.assertEqual(self.sent, b"one\ntwo\nthree\n")
        self.append(b"four")
        self.look()
        self.append(b"teen\n")
        self.look()
        self.assertEqual(self.sent, b"one\ntwo\nthree\nfourteen\n")
        self.assertEqual(self.request.events, [])

    def test_itBeginsWithTheLastLinesIfAsked(self):
        self.follow(tail=2)
        self.append(b"four\n")
        self.look()
        self.assertEqual(self.sent, b"two\nthree\nfour\n")

    def test_withoutFollowing_itEndsWithWhatIsThere(self):
        self.append(b"four")
        self.follow(tail=2, follow=False)
        self.assertEqual((self.sent, self.request.events), (b"three\nfour", ["finished"]))
        self.assert_all_released()

    def test_withoutLinesAndFollowing_itEndsAtOnce(self):
        self.follow(tail=0, follow=False)
        self.assertEqual((self.sent, self.request.events), (b"", ["finished"]))

    def test_whenTheInstanceHasEnded_theRestIsSentAndItEnds(self):
        self.follow(tail=0)
        self.append(b"x" * 200_000)
        self.complete = True
        self.look()
        self.assertEqual((len(self.sent), self.request.events), (200_000, ["finished"]))
        self.assert_all_released()

    def test_whenTheServerStops_itEndsWithoutAnEnd(self):
        self.follow(frames=Events())
        self.stopping = True
        self.look()
        self.assertEqual(self.request.events, ["finished"])
        self.assertNotIn(b"event: end", self.sent)
        self.assert_all_released()

    def test_whenTheServerStops_itEndsForAClientThatTakesNothingToo(self):
        self.follow().pauseProducing()
        self.stopping = True
        self.look()
        self.assertEqual(self.request.events, ["finished"])
        self.assert_all_released()

    def test_whenTheClientGoesAway_allIsReleased(self):
        self.follow()
        self.request.gone.errback(ConnectionDone())
        self.assert_all_released()
        self.look()
        self.assertEqual(self.request.events, [])

    def test_rotationIsNotNoticed(self):
        rotation = LogRotation(max_bytes=10_000, keep=100)
        follower = self.follow()
        for number in range(30):
            follower.pauseProducing()
            self.append(b"%d " % number * 3000 + b"\n")
            if number % 3:
                rotation.rotate(LogPlace(self.path))
            follower.resumeProducing()
            self.look()
        expected = b"one\ntwo\nthree\n" + b"".join(b"%d " % number * 3000 + b"\n" for number in range(30))
        self.assertEqual(self.sent, expected)
        self.assertLess(self.path.stat().st_size, 30_000)

    def test_itBeginsWithTheOldestThatIsKept(self):
        content = os.urandom(50_000)
        self.path.write_bytes(content)
        LogRotation(max_bytes=10_000, keep=100).rotate(LogPlace(self.path))
        self.follow()
        self.assertEqual(self.sent, content)

    def test_whileItIsBeingRotated_nothingIsSentAndThenAll(self):
        place = LogPlace(self.path)
        place.note(LogState(removing=4, size=14))
        self.follow()
        self.assertEqual(self.sent, b"")
        place.note(LogState())
        self.look()
        self.assertEqual(self.sent, b"one\ntwo\nthree\n")

    def test_whenTheClientIsTooSlowForWhatIsKept_plainTextBreaksOff(self):
        self.assertEqual(self.too_slow(PlainText()), ["lost"])
        self.assert_all_released()

    def test_whenTheClientIsTooSlowForWhatIsKept_eventsSaySo(self):
        self.assertEqual(self.too_slow(Events()), [])
        events = received(self.sent)
        self.assertEqual([kind for kind, _, _ in events[:5]], ["message"] * 3 + ["skipped", "message"])
        self.assertEqual(int(events[2][1]) + int(events[3][2]), LogPlace(self.path).state().base)

    def too_slow(self, frames):
        follower = self.follow(frames=frames)
        follower.pauseProducing()
        self.append(b"x" * 99 + b"\n" * 50_000)
        LogRotation(max_bytes=10_000, keep=0).rotate(LogPlace(self.path))
        follower.resumeProducing()
        self.look()
        return self.request.events

    def test_aSlowClientHoldsUpWhatIsRead(self):
        self.path.write_bytes(bytes(500_000))
        self.request.write = lambda data: (self.request.written.append(data), self.request.producer.pauseProducing())
        follower = self.follow()
        for pieces in range(1, 5):
            self.look()
            self.assertEqual(len(self.sent), pieces * 65536)
            follower.resumeProducing()

    def test_aClientThatTakesNothingIsCutOff(self):
        self.follow().pauseProducing()
        self.clock.pump([1] * 59)
        self.assertEqual(self.request.events, [])
        self.clock.pump([1] * 2)
        self.assertEqual(self.request.events, ["aborted"])
        self.assert_all_released()

    def test_eventsShowThatTheyAreAlive(self):
        self.follow(frames=Events(), tail=0)
        self.request.written.clear()
        self.clock.pump([LOOK_SECS] * int(2 * SILENCE_SECS / LOOK_SECS + 4))
        self.assertEqual(self.sent, b":\n\n" * 2)

    def test_itGoesOnAfterAnEvent(self):
        self.follow(frames=Events(), after=8)
        self.assertEqual(received(self.sent), [("message", "14", "three")])

    def test_anIdOfAnotherLogMeansTheBeginning(self):
        self.follow(frames=Events(), after=15)
        self.assertEqual([data for _, _, data in received(self.sent)], ["one", "two", "three"])

    def test_whenTheFileIsDeleted_itEnds(self):
        self.follow()
        self.path.unlink()
        self.look()
        self.assertEqual(self.request.events, ["finished"])

    def test_whenTheFileIsEmptied_itGoesOnFromItsBeginning(self):
        self.follow()
        self.path.write_bytes(b"")
        self.look()
        self.append(b"new\n")
        self.look()
        self.assertEqual(self.sent, b"one\ntwo\nthree\nnew\n")


class FollowRequestTests(WithLogs):
    def setUp(self):
        super().setUp()
        self.draining = False
        self.api = Api(is_draining=lambda: self.draining)
        self.api.scheduler.directory = self.directory
        (self.directory / "stdout").write_bytes(b"one\ntwo\n")

    def test_plainTextIsFollowed(self):
        self.api.scheduler.complete = True
        answer = self.api.ask(self, f"{FILES}/stdout?follow=true")
        self.assertEqual((answer.code, answer.content), (200, b"one\ntwo\n"))
        self.assertEqual(answer.header("content-type"), "text/plain; charset=utf-8")
        self.assertTrue(answer.header("content-security-policy").startswith("sandbox;"))

    def test_whatIsAcceptedAsEventsComesAsEvents(self):
        self.api.scheduler.complete = True
        for query in ("", "?follow=true"):
            answer = self.api.ask(self, f"{FILES}/stdout{query}", headers={"accept": "Text/Event-Stream;q=1, */*"})
            self.assertEqual(answer.header("content-type"), "text/event-stream; charset=utf-8")
            self.assertEqual(
                received(answer.content), [("message", "4", "one"), ("message", "8", "two"), ("end", "8", "")]
            )

    def test_whoHasSeenTheEndOfAnEndedInstanceNeedNotComeAgain(self):
        headers = {"accept": "text/event-stream", "last-event-id": "8"}
        self.api.scheduler.complete = True
        self.assertEqual(self.api.ask(self, f"{FILES}/stdout", headers=headers).code, 204)
        headers["last-event-id"] = "4"
        answer = self.api.ask(self, f"{FILES}/stdout", headers=headers)
        self.assertEqual(received(answer.content), [("message", "8", "two"), ("end", "8", "")])

    def test_theHeadComesBeforeAnythingIsWritten(self):
        (self.directory / "stdout").write_bytes(b"")
        asked = self.api.begin("GET", f"{FILES}/stdout?follow=TRUE")
        self.api.settle()
        response = self.successResultOf(asked)
        body = response.content()
        self.api.settle()
        self.assertEqual(response.code, 200)
        self.assertNoResult(body)
        self.draining = True
        self.api.clock.advance(LOOK_SECS)
        self.api.settle()
        self.assertEqual(self.successResultOf(body), b"")

    def test_tailAloneEnds(self):
        self.assertEqual(self.api.ask(self, f"{FILES}/stdout?tail=1").content, b"two\n")
        self.assertEqual(self.api.ask(self, f"{FILES}/stdout?tail=1&follow=false").content, b"two\n")

    def test_headHasNoBody(self):
        answer = self.api.ask(self, f"{FILES}/stdout?follow=true", method="HEAD")
        self.assertEqual((answer.code, answer.content), (200, b""))

    def test_wrongParametersAreRefusedWithWhatIsAllowed(self):
        for query, headers, message in [
            ("follow=yes", {}, "follow must be true or false"),
            ("tail=-1", {}, "tail must be a number of lines from 0 to 10000"),
            ("tail=10001", {}, "tail must be a number of lines from 0 to 10000"),
            ("tail=", {}, "tail must be a number of lines from 0 to 10000"),
            (
                "follow=true",
                {"last-event-id": "x"},
                "Last-Event-ID must be the id of an event of this stream: a number",
            ),
        ]:
            accept = "text/event-stream" if headers else "application/json"
            answer = self.api.ask(self, f"{FILES}/stdout?{query}", headers={"accept": accept, **headers})
            self.assertEqual(answer.code, 400, query)
            self.assertIn(message, answer.content.decode())

    def test_whatIsNotThereIsNotFound(self):
        for path in ("nothing", "sub%20dir"):
            self.assertEqual(self.api.ask(self, f"{FILES}/{path}?follow=true").code, 404)
