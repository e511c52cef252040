"""Listening to Marathon's events."""

import json

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import ResponseDone

from tests.scheduler.marathon.world import World
from waiter.scheduler.marathon.client import MarathonClient
from waiter.scheduler.marathon.errors import MarathonUnreachable
from waiter.scheduler.marathon.events import EventStream


class Stream:
    """An answer without an end."""

    def __init__(self):
        self.body = None
        self.transport = StringTransport()

    def deliverBody(self, body):
        self.body = body
        body.makeConnection(self.transport)

    def say(self, kind, **data):
        self.body.dataReceived(f"event: {kind}\r\ndata: {json.dumps(data)}\r\n\r\n".encode())

    def end(self, reason=connectionDone):
        self.body.connectionLost(reason)


class FakeClient:
    """Answers with what the test gives it."""

    def __init__(self):
        self.asked = []

    def events(self, types):
        self.asked.append(Deferred())
        return self.asked[-1]

    def answer(self):
        stream = Stream()
        self.asked[-1].callback(stream)
        return stream


class EventStreamTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.client = FakeClient()
        self.heard = []
        self.events = EventStream(self.clock, self.client, self.note)
        self.events.startService()

    def note(self, kind, data):
        self.heard.append((kind, data))

    def stop(self):
        self.successResultOf(self.events.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whatIsSaidIsTold(self):
        stream = self.client.answer()
        self.assertTrue(self.events.connected)
        stream.say("status_update_event", taskId="a.1")
        stream.say("deployment_success", plan="large")
        stream.say("group_change_success")
        self.assertEqual(
            self.heard, [("connected", {}), ("status_update_event", {"taskId": "a.1"}), ("deployment_success", {})]
        )
        self.stop()
        self.assertTrue(stream.transport.disconnecting or stream.transport.aborting)

    def test_whenItEndsItIsOpenedAgain(self):
        self.client.answer().end(Failure(ResponseDone()))
        self.assertFalse(self.events.connected)
        self.assertEqual(len(self.client.asked), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.client.asked), 2)
        self.client.answer()
        self.assertEqual([kind for kind, _ in self.heard], ["connected", "connected"])
        self.stop()

    def test_whileThereIsNoneThePausesGrow(self):
        for pause in (1, 2, 4, 8, 16, 30, 30):
            count = len(self.client.asked)
            self.client.asked[-1].errback(MarathonUnreachable("away"))
            self.clock.advance(pause - 0.1)
            self.assertEqual(len(self.client.asked), count)
            self.clock.advance(0.1)
            self.assertEqual(len(self.client.asked), count + 1)
        self.client.answer().end()
        self.clock.advance(1)
        self.assertEqual(len(self.client.asked), count + 2)
        self.stop()

    def test_aStreamThatIsSilentIsGivenUp(self):
        stream = self.client.answer()
        self.clock.advance(59)
        stream.body.dataReceived(b"\r\n")
        self.clock.advance(59)
        self.assertTrue(self.events.connected)
        self.clock.advance(1)
        self.assertFalse(self.events.connected)
        self.clock.advance(1)
        self.assertEqual(len(self.client.asked), 2)
        self.stop()

    def test_nothingUnexpectedEndsIt(self):
        self.client.asked[-1].errback(ZeroDivisionError("?"))
        self.clock.advance(1)
        stream = self.client.answer()
        stream.body.dataReceived(b"event: status_update_event\ndata: no JSON\n\n")
        stream.body.dataReceived(b"event: status_update_event\ndata: [7]\n\n")
        self.assertEqual(self.heard[1:], [("status_update_event", {})] * 2)
        self.note = lambda kind, data: 1 / 0
        self.events._heard = self.note
        stream.say("status_update_event")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.events.connected)
        self.stop()

    def test_stoppingWhileItConnectsEndsThat(self):
        self.stop()
        self.assertEqual(self.heard, [])


class RealStreamTests(World, TestCase):
    timeout = 120

    async def test_theDoubleIsHeard(self):
        self.start_double()
        client = MarathonClient(reactor, [self.double.url])
        client.open()
        self.addCleanup(client.close)
        heard = {}
        running = Deferred()

        def note(kind, data):
            heard.setdefault(kind, []).append(data)
            if data.get("taskStatus") == "TASK_RUNNING" and not running.called:
                running.callback(None)

        events = EventStream(reactor, client, note)
        events.startService()
        self.addCleanup(events.stopService)
        while not events.connected:
            pause = Deferred()
            reactor.callLater(0.01, pause.callback, None)
            await pause
        await client.create({"id": "/waiter-service-a", "cmd": "sleep 60", "cpus": 0.1, "mem": 16})
        await running
        states = [event["taskStatus"] for event in heard["status_update_event"]]
        self.assertEqual(states[:2], ["TASK_STAGING", "TASK_RUNNING"])
