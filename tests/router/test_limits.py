"""What clients may send, and at what pace."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.router.test_api_channel import Echo, own
from tests.router.world import World, chunked, get, head, ok, parse, post, values
from waiter.router.door import Door
from waiter.router.limits import Limits

CHUNKED = head(b"POST / HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: chunked")
TIMED_OUT = b"HTTP/1.1 408 Request Timeout"


class BodySizeTests(SynchronousTestCase):
    def setUp(self):
        self.world = World(limits=Limits(body_bytes=1000))

    def assertTooLarge(self, client):
        first, headers, _ = parse(client.take())
        self.assertEqual(first[:12], b"HTTP/1.1 413")
        self.world.check_idle(self)
        return headers

    def test_aLengthOverTheLimitIsRefusedBeforeAnythingIsDone(self):
        client = self.world.client()
        client.deliver(post(b"x" * 1001)[:-900])
        self.assertTooLarge(client)
        self.assertEqual((self.world.instances.wires, self.world.catalogue.asked), ([], []))

    def test_aClientThatAskedBeforehandIsToldWithoutItsBody(self):
        client = self.world.client()
        client.deliver(post(b"x" * 1001, b"Expect: 100-continue")[:-1001])
        headers = self.assertTooLarge(client)
        self.assertEqual(values(headers, b"connection"), [b"close"])

    def test_theRestOfAShortOneIsReadSoThatTheConnectionCanBeUsed(self):
        client = self.world.client()
        client.deliver(post(b"x" * 1001))
        self.assertTooLarge(client)
        client, instance = self.world.ask(post(b"x" * 1000), client=client)
        self.assertTrue(instance.take().endswith(b"x" * 1000))
        instance.deliver(ok())
        self.assertTrue(client.take().endswith(b"hello"))

    def test_chunksAreCounted(self):
        client, instance = self.world.ask(CHUNKED + chunked(b"x" * 600)[:-5])
        instance.take()
        client.deliver(chunked(b"x" * 401)[:-5])
        self.assertTooLarge(client)
        self.assertEqual((instance.take(), instance.end), (b"", "aborted"))

    def test_chunksThatComeWithTheHeadAreCountedBeforeAnythingIsDone(self):
        client = self.world.client()
        client.deliver(CHUNKED + chunked(b"x" * 1001))
        self.assertTooLarge(client)
        self.assertEqual(self.world.instances.wires, [])

    def test_chunksUpToTheLimitArePassedOn(self):
        client, instance = self.world.ask(CHUNKED + chunked(b"x" * 500, b"x" * 500))
        instance.deliver(ok())
        self.assertTrue(client.take().endswith(b"hello"))

    def test_whenTheAnswerHasBegunItIsBrokenOff(self):
        client, instance = self.world.ask(CHUNKED + chunked(b"x" * 600)[:-5])
        instance.deliver(ok(b"hello")[:-1])
        client.deliver(chunked(b"x" * 401))
        self.assertEqual((client.end, instance.end), ("aborted", "aborted"))
        self.world.check_idle(self)

    def test_itIsTheClientsFault(self):
        client, _ = self.world.ask(CHUNKED + chunked(b"x" * 600)[:-5])
        client.deliver(chunked(b"x" * 401))
        self.assertEqual((self.world.numbers.client_error, self.world.numbers.instance_error), (1, 0))


class UploadPaceTests(SynchronousTestCase):
    """A slot is held while a body is waited for."""

    def upload(self, bytes_per_sec, secs, **limits):
        world = World(limits=Limits(**limits))
        client, instance = world.ask(post(b"x" * 100000)[:-100000])
        for _ in range(secs):
            if client.end is None and not client.half:
                client.deliver(b"x" * bytes_per_sec)
            world.wait(1)
        return world, client, instance

    def test_aByteASecondIsTooSlow(self):
        world, client, instance = self.upload(1, 62)
        first, headers, body = parse(client.take())
        self.assertEqual((first, values(headers, b"connection")), (TIMED_OUT, [b"close"]))
        self.assertIn(b"too slowly", body)
        self.assertEqual(instance.end, "aborted")
        self.assertEqual(world.numbers.client_error, 1)
        world.check_idle(self)

    def test_itHasAMinute(self):
        _, client, _ = self.upload(1, 58)
        self.assertEqual(client.take(), b"")

    def test_aLittleMoreIsNot(self):
        _, client, instance = self.upload(17, 200)
        self.assertEqual((client.take(), instance.end), (b"", None))

    def test_itIsNoticedAlsoIfSomethingComesAllTheTime(self):
        """Looks that find something new do not ask for the pace; what comes does."""
        world = World()
        client, _ = world.ask(post(b"x" * 100000)[:-100000])
        for _ in range(61 * 8):
            world.clock.advance(0.125)
            client.deliver(b"x")
        self.assertEqual(parse(client.take())[0], TIMED_OUT)

    def test_zeroAllowsAnyPace(self):
        _, client, instance = self.upload(1, 300, client_bytes_per_sec=0)
        self.assertEqual((client.take(), instance.end), (b"", None))

    def test_whileTheInstanceTakesNothingTheClientIsNotToBlame(self):
        world = World(timeouts={"streaming": 1000.0})
        client, instance = world.ask(post(b"x" * 100000)[:-100000])
        world.wait(30)
        client.deliver(b"x")
        instance.fill()
        world.wait(100)
        instance.drain()
        client.deliver(b"x")
        world.wait(50)
        self.assertEqual((client.take(), instance.end), (b"", None))
        client.deliver(b"x")
        world.wait(12)
        self.assertEqual(parse(client.take())[0], TIMED_OUT)

    def test_whenTheAnswerHasBegunTheClientMayTakeItsTime(self):
        """Both sides talk to each other; only silence ends that."""
        world = World()
        client, instance = world.ask(post(b"x" * 1000)[:-1000])
        instance.deliver(ok(b"hello")[:-1])
        for _ in range(10):
            client.deliver(b"x")
            world.wait(30)
        self.assertEqual((client.end, instance.end), (None, None))

    def test_aBodyNobodyWantsHasAMinuteInAll(self):
        world = World()
        client = world.client()
        client.deliver(post(b"x" * 1000)[:-1000].replace(b"app", b"other"))
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 400 Bad Request")
        for _ in range(62):
            client.deliver(b"x")
            world.wait(1)
        self.assertEqual(client.end, "aborted")

    def test_aBodyForWaiterItselfHasAPaceToo(self):
        world = World(api=Echo())
        client = world.client()
        client.deliver(own(method=b"POST", body=b"x" * 1000)[:-1000])
        for _ in range(62):
            client.deliver(b"x")
            world.wait(1)
        self.assertEqual(parse(client.take())[0], TIMED_OUT)


class DownloadPaceTests(SynchronousTestCase):
    def read(self, bytes_per_sec, secs, **limits):
        world = World(limits=Limits(**limits))
        client, instance = world.ask()
        instance.deliver(ok(b"x" * 100000)[:-1])
        client.unsent_bytes = 90000
        client.fill()
        for _ in range(secs):
            client.unsent_bytes -= bytes_per_sec
            world.wait(1)
        return world, client, instance

    def test_aByteASecondIsTooSlow(self):
        world, client, instance = self.read(1, 63)
        self.assertEqual((client.end, instance.end), ("aborted", "aborted"))
        self.assertEqual(world.numbers.client_error, 1)
        world.check_idle(self)

    def test_aLittleMoreIsNot(self):
        _, client, instance = self.read(17, 200)
        self.assertEqual((client.end, instance.end), (None, None))

    def test_zeroAllowsAnyPace(self):
        _, client, instance = self.read(1, 200, client_bytes_per_sec=0)
        self.assertEqual((client.end, instance.end), (None, None))

    def test_whoHasCaughtUpBeginsAnew(self):
        world, client, instance = self.read(1, 50)
        client.drain()
        world.step()
        client.fill()
        for _ in range(55):
            client.unsent_bytes -= 1
            world.wait(1)
        self.assertEqual((client.end, instance.end), (None, None))


class Endless(Resource):
    """Begins an answer and does not end it."""

    isLeaf = True

    def render(self, request):
        self.request = request
        self.gone = request.notifyFinish()
        self.gone.addErrback(lambda _: None)
        request.write(b"x")
        return NOT_DONE_YET


class ApiReaderTests(SynchronousTestCase):
    def setUp(self):
        self.api = Endless()
        self.world = World(api=self.api)
        self.client = self.world.client()
        self.client.deliver(own())

    def test_aClientThatDoesNotReadIsCutOffAndTheResourceToldSo(self):
        self.client.unsent_bytes = 1000
        self.world.wait(19)
        self.assertEqual(self.client.end, None)
        self.world.wait(3)
        self.assertEqual(self.client.end, "aborted")
        self.assertTrue(self.api.gone.called)

    def trickle(self, bytes_per_sec, secs):
        for _ in range(secs):
            self.client.unsent_bytes -= bytes_per_sec
            self.world.wait(1)

    def test_oneThatReadsAByteASecondIsCutOff(self):
        self.client.unsent_bytes = 10_000
        self.trickle(1, 58)
        self.assertEqual(self.client.end, None)
        self.trickle(1, 5)
        self.assertEqual(self.client.end, "aborted")
        self.assertTrue(self.api.gone.called)

    def test_oneThatReadsALittleFasterIsNot(self):
        self.client.unsent_bytes = 10_000
        self.trickle(17, 200)
        self.assertEqual(self.client.end, None)

    def test_whatIsWrittenMeanwhileIsNotHeldAgainstIt(self):
        """A client's pace is what it takes, not by how much less there is to take."""
        self.client.unsent_bytes = 10_000
        for _ in range(200):
            self.api.request.write(b"x" * 1000)
            self.client.unsent_bytes += 1000 - 17
            self.world.wait(1)
        self.assertEqual(self.client.end, None)

    def test_oneThatReadsAndHasNothingToReadIsNot(self):
        for unsent in range(6000, 0, -300):
            self.client.unsent_bytes = unsent
            self.world.wait(15)
        self.client.unsent_bytes = 0
        self.world.wait(300)
        self.assertEqual(self.client.end, None)


class ConnectionTests(SynchronousTestCase):
    def test_theLastRequestOfAConnectionIsToldSo(self):
        world = World(limits=Limits(requests=3))
        client, instance = world.ask()
        ends = []
        for n in range(3):
            if n:
                world.ask(client=client)
            instance.deliver(ok())
            ends.append(values(parse(client.take())[1], b"connection"))
        self.assertEqual(ends, [[], [], [b"close"]])
        self.assertEqual(client.end, "closed")

    def test_whatWasSentBehindItIsNotAnswered(self):
        world = World(limits=Limits(requests=2), api=Echo())
        client = world.client()
        client.deliver(own(b"/1") + own(b"/2") + own(b"/3"))
        world.step()
        self.assertEqual(client.take().count(b"HTTP/1.1 200 OK"), 2)
        self.assertTrue(client.half or client.end)

    def test_whenThereAreTooManyIdleOnesAreClosedEarly(self):
        door = Door(most=2)
        world = World(door=door)
        idle, instance = world.ask()
        instance.deliver(ok())
        busy, instance = world.ask()
        self.assertTrue(door.full)
        world.wait(3)
        self.assertEqual((idle.end, busy.end), ("closed", None))
        self.assertFalse(door.full)
        idle = world.client()
        self.assertTrue(door.full)
        idle.reset()
        instance.deliver(ok())
        world.wait(60)
        self.assertEqual(busy.end, None)

    def test_connectionsAreCountedUntilTheyAreGone(self):
        door = Door(most=10, most_per_address=10)
        world = World(door=door)
        clients = [world.client() for _ in range(4)]
        self.assertEqual(door.open, 4)
        for client in clients:
            client.reset()
        self.assertEqual(door.open, 0)

    def test_manySmallRequestsAheadAreBounded(self):
        """What one read brings is looked at in small pieces, so few requests wait for their turn."""
        world = World(instances=0)
        client = world.client()
        for _ in range(100):
            client.deliver(get() * 100)
        self.assertTrue(client.paused)
        self.assertLess(len(client.protocol._queue), 100)


class SlowClock(Clock):
    """One by which it takes time to refuse: each look at it costs."""

    cost = 0.0
    turns = 0

    def seconds(self):
        self.rightNow += self.cost
        return self.rightNow

    def callLater(self, secs, call, *arguments):
        self.turns += not secs
        return super().callLater(secs, call, *arguments)


class ManyTests(SynchronousTestCase):
    def turns(self, cost):
        """How often others have their turn while a hundred clients are told that they took too long."""
        world = World(instances=0, clock=SlowClock())
        clients = [world.client() for _ in range(100)]
        for client in clients:
            client.deliver(b"GET")
        world.wait(1)
        world.clock.advance(29)
        before = world.clock.turns
        world.clock.cost = cost
        world.clock.advance(1)
        world.clock.cost = 0
        turns = world.clock.turns - before
        world.wait(1)
        self.assertEqual([client.half for client in clients], [True] * 100)
        return turns

    def test_whenManyTakeTooLongOthersHaveTheirTurnInBetween(self):
        self.assertGreater(self.turns(0.01), 3)

    def test_whereThatTakesNoTimeItIsDoneAtOneGo(self):
        self.assertEqual(self.turns(0), 0)
