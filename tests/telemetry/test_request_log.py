"""The log of requests: batches, slow disks, full disks."""

import json
from pathlib import Path

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from waiter.telemetry.request_log import RequestLog


class Thread:
    """A thread that does its work when the test says so."""

    def __init__(self):
        self.work = []

    def __call__(self, function):
        done = Deferred()
        self.work.append((function, done))
        return done

    def run(self):
        """Do the first of what there is to do."""
        function, done = self.work.pop(0)
        maybeDeferred(function).chainDeferred(done)


class RequestLogTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.path = Path(self.mktemp()) / "request.log"
        self.logged = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event):
        if event.get("log_namespace", "").startswith("waiter."):
            self.logged.append(event["log_format"])

    def log(self, path=None, **options):
        made = RequestLog(path or self.path, self.clock, **options)
        made.startService()
        return made

    def write(self, log, *statuses):
        for status in statuses:
            log.write(f'{{"status":{status}}}\n')

    def written(self):
        if not self.path.exists():
            return []
        return [json.loads(line)["status"] for line in self.path.read_text().splitlines()]

    def test_recordsAreWrittenTogetherAfterASecond(self):
        log = self.log()
        self.write(log, 1)
        self.clock.advance(0.5)
        self.write(log, 2)
        self.clock.advance(0.4)
        self.assertEqual(self.written(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.written(), [1, 2])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fullBatchIsWrittenAtOnce(self):
        log = self.log(batch=3)
        self.write(log, 1, 2, 3, 4)
        self.assertEqual(self.written(), [1, 2, 3])
        self.clock.advance(1)
        self.assertEqual(self.written(), [1, 2, 3, 4])

    def test_stoppingWritesTheRest(self):
        log = self.log()
        self.write(log, 1)
        self.successResultOf(log.stopService())
        self.assertEqual(self.written(), [1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_withoutAPathNothingHappens(self):
        log = RequestLog(None, self.clock)
        log.startService()
        self.write(log, *range(1000))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(log.stopService())

    def test_whileTheDiskIsSlow_recordsWaitInOrder(self):
        thread = Thread()
        log = self.log(in_thread=thread, batch=2)
        self.write(log, 1, 2, 3, 4, 5, 6)
        self.assertEqual(len(thread.work), 1)
        thread.run()
        self.assertEqual(self.written(), [1, 2])
        self.assertEqual(len(thread.work), 1)
        thread.run()
        self.assertEqual(self.written(), [1, 2, 3, 4, 5, 6])
        self.assertEqual(thread.work, [])

    def test_stoppingWaitsForASlowDisk(self):
        thread = Thread()
        log = self.log(in_thread=thread, batch=2)
        self.write(log, 1, 2, 3)
        stopped = log.stopService()
        self.assertNoResult(stopped)
        thread.run()
        self.assertNoResult(stopped)
        self.write(log, 4)
        thread.run()
        self.assertNoResult(stopped)
        thread.run()
        self.successResultOf(stopped)
        self.assertEqual(self.written(), [1, 2, 3, 4])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whenTheStopTakesTooLong_waitingCanBeEnded(self):
        thread = Thread()
        log = self.log(in_thread=thread)
        self.write(log, 1)
        stopped = log.stopService()
        stopped.cancel()
        self.failureResultOf(stopped)
        thread.run()
        self.assertEqual(self.written(), [1])

    def test_whenTheDiskDoesNotKeepUp_recordsAreLostAndCounted(self):
        thread = Thread()
        log = self.log(in_thread=thread, batch=1, max_waiting_bytes=30)
        self.write(log, *range(100, 110))
        thread.run()
        thread.run()
        self.assertEqual(thread.work, [])
        self.assertEqual(len(self.written()) + log.lost, 10)
        self.assertEqual(self.written()[:3], [100, 101, 102])
        self.assertGreater(log.lost, 3)

    def test_diskThatIsFullIsLoggedOnceAndNothingElseHappens(self):
        directory = self.path.parent
        directory.mkdir(parents=True)
        self.path.mkdir()
        log = self.log(batch=1)
        self.write(log, 1, 2, 3)
        self.assertEqual(log.lost, 3)
        self.assertEqual(self.logged, ["The request log cannot be written: {reason}"])
        self.path.rmdir()
        self.write(log, 4, 5)
        self.assertEqual(self.written(), [4, 5])
        self.assertEqual(log.lost, 3)
        self.assertEqual(len(self.logged), 2)
        self.assertIn("written again", self.logged[1])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_largeFileIsPutAside(self):
        log = self.log(batch=1, max_bytes=5, keep=1)
        self.write(log, 1, 2, 3)
        self.assertEqual(self.written(), [3])
        self.assertEqual(json.loads(self.path.with_name("request.log.1").read_text()), {"status": 2})
