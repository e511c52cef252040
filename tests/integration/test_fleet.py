"""Routers that meet in a real ZooKeeper and share what a Marathon runs."""

import signal
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.integration.harness import HTTP_SERVER, RunningWaiter, service_headers, until
from tests.integration.marathon import RunningMarathon, waiter_on
from tests.integration.zookeeper_server import LONGEST_SESSION_SECS, MISSING, own_server

CROWDED = (Path(__file__).parent / "crowded.py").absolute()
SESSION_MS = 2000


def with_zookeeper(server, *, session_ms=SESSION_MS, **more):
    """The environment of a router that uses it."""
    return {
        "WAITER_ZOOKEEPER_CONNECT_STRING": server.hosts,
        "WAITER_ZOOKEEPER_SESSION_TIMEOUT_MS": str(session_ms),
        "WAITER_STORE_KIND": "zookeeper",
        **more,
    }


def crowded(**parameters):
    """The headers of a service whose instance counts the requests it has at a time."""
    return service_headers(
        f"exec {sys.executable} {CROWDED} $PORT0", **{"idle_timeout_mins": 30, "max_instances": 5, **parameters}
    )


class Load:
    """
    Clients of a service that ask one after the other until they are told to stop.

    @ivar failures: what was not answered with 200.
    """

    def __init__(self, waiters, headers, *, clients=2, hold_secs=0.05):
        self.answered = 0
        self.failures = []
        self._going = True
        self._clients = gatherResults(
            [
                Deferred.fromCoroutine(self._ask(waiter, headers, f"/hold/{hold_secs}"))
                for waiter in waiters
                for _ in range(clients)
            ],
            consumeErrors=True,
        )

    async def _ask(self, waiter, headers, path):
        while self._going:
            try:
                answer = await waiter.request(path, headers=headers)
            except Exception as error:  # noqa: BLE001 - whatever it is counts
                self.failures.append(repr(error))
            else:
                if answer.code == 200:
                    self.answered += 1
                else:
                    self.failures.append((answer.code, answer.body[:300]))
            await deferLater(reactor, 0.02)

    async def stop(self):
        self._going = False
        await self._clients


class FleetTestCase(TestCase):
    skip = MISSING
    timeout = 300

    async def setUp(self):
        self.server = await own_server(self)

    async def fleet(self, waiter):
        return (await waiter.api("/state/fleet"))["state"]

    async def slots(self, waiter, service_id):
        """The slots that a router has, over all instances."""
        state = (await waiter.api("/state/maintainer"))["state"]
        return sum(state["service-id->my-instance->slots"].get(service_id, {}).values())

    async def all_slots(self, waiters, service_id):
        return [await self.slots(waiter, service_id) for waiter in waiters]

    async def leaders(self, waiters):
        return [waiter for waiter in waiters if (await self.fleet(waiter))["leader?"]]

    async def loaded(self, waiters, headers, **arguments):
        """A load that has got its first answers."""
        load = Load(waiters, headers, **arguments)
        self.addCleanup(load.stop)

        await until(self.now(lambda: load.answered), lambda count: count > 10)
        return load

    def now(self, describe):
        """The same, to be waited on."""

        async def described():
            return describe()

        return described


class OneRouterTests(FleetTestCase):
    async def test_aRouterIsListedLeadsAndKeepsItsServicesInZooKeeper(self):
        waiter = await RunningWaiter(self, environment=with_zookeeper(self.server)).start()
        state = await until(lambda: self.fleet(waiter), lambda state: state["leader?"])
        self.assertEqual(list(state["routers"].values()), [f"http://127.0.0.1:{waiter.port}/"])
        self.assertEqual(state["zookeeper"]["connection"], "connected")
        headers = service_headers()
        self.assertEqual((await waiter.request("/", headers=headers)).code, 200)
        service_id = await waiter.service_id(headers)
        await waiter.stop()

        again = await RunningWaiter(self, environment=with_zookeeper(self.server)).start()
        self.assertEqual((await again.service(service_id))["service-description"]["cmd"], HTTP_SERVER)
        metrics = (await again.request("/metrics")).body.decode()
        self.assertIn("waiter_zookeeper_connected 1.0", metrics)

    async def test_whenThereIsNoZooKeeper_itEndsAndSaysWhatToDo(self):
        self.server.kill()
        waiter = RunningWaiter(self, environment=with_zookeeper(self.server, WAITER_ZOOKEEPER_CONNECT_TIMEOUT_MS="500"))
        with self.assertRaisesRegex(AssertionError, "no connection to ZooKeeper at .* within 0.5 s: see that it runs"):
            await waiter.start()

    async def test_withoutALeaderNothingIsScaledAndWithOneItIsAgain(self):
        marathon = await RunningMarathon(self).start()
        waiter = await waiter_on(self, marathon, environment=with_zookeeper(self.server)).start()
        headers = crowded(scale_up_factor=0.9)
        load = await self.loaded([waiter], headers, clients=1)
        await until(lambda: self.leaders([waiter]), bool)
        self.server.freeze()
        await until(lambda: self.leaders([waiter]), lambda leaders: not leaders)
        service_id = await waiter.service_id(headers)
        before = marathon.changes()
        more = await self.loaded([waiter], headers, clients=4, hold_secs=0.2)
        # Some turns of the autoscaler.
        await deferLater(reactor, 4)
        self.assertEqual(marathon.changes(), before)
        self.server.thaw()
        await until(lambda: waiter.active_instances(service_id), lambda instances: len(instances) > 1, within_secs=60)
        self.assertEqual((load.failures, more.failures), ([], []))


class TwoRoutersTests(FleetTestCase):
    async def routers(self, **arguments):
        """Two that know each other, and a service with one instance whose four slots they share."""
        self.marathon = await RunningMarathon(self).start()
        environment = with_zookeeper(self.server, **arguments)
        a = await waiter_on(self, self.marathon, environment=environment).start()
        b = await waiter_on(self, self.marathon, environment=environment).start()
        for waiter in (a, b):
            await until(lambda waiter=waiter: self.fleet(waiter), lambda state: len(state["routers"]) == 2)
        headers = crowded(concurrency_level=4)
        # The other one learns of the service by the store.
        self.assertEqual((await a.request("/hold/0", headers=headers)).code, 200)
        self.service_id = await a.service_id(headers)
        await until(lambda: self.all_slots([a, b], self.service_id), lambda slots: slots == [2, 2])
        return a, b, headers

    async def most(self, waiter, headers):
        return int((await waiter.request("/most", headers=headers)).body)

    async def test_theyShareTheSlotsOfAServiceAndNeverExceedThem(self):
        a, b, headers = await self.routers()
        load = await self.loaded([a, b], headers, clients=15, hold_secs=0.1)

        async def most():
            return await self.most(a, headers)

        # On a slow machine it takes a while until all slots are used at the same moment.
        await until(most, lambda number: number >= 4)
        answered = load.answered
        await until(self.now(lambda: load.answered), lambda number: number > answered + 60)
        await load.stop()
        self.assertEqual((load.failures, await most()), ([], 4))
        await until(lambda: self.leaders([a, b]), lambda leaders: len(leaders) == 1)

    async def test_whenOneIsKilled_theOtherTakesItsSlotsAndLeads(self):
        a, b, headers = await self.routers()
        (leader,) = await until(lambda: self.leaders([a, b]), lambda leaders: len(leaders) == 1)
        other = b if leader is a else a
        await leader.stop(signal.SIGKILL)
        await until(lambda: self.slots(other, self.service_id), lambda slots: slots == 4)
        await until(lambda: self.leaders([other]), bool)
        answers = await gatherResults(
            [Deferred.fromCoroutine(other.request("/hold/0.1", headers=headers)) for _ in range(20)]
        )
        self.assertEqual({answer.code for answer in answers}, {200})
        self.assertLessEqual(await self.most(other, headers), 4)

    async def test_whenOneStops_theOtherTakesItsSlotsLongBeforeASessionIsOver(self):
        a, b, _ = await self.routers(session_ms=LONGEST_SESSION_SECS * 1000)
        began = reactor.seconds()
        stopping = Deferred.fromCoroutine(a.stop())
        await until(lambda: self.slots(b, self.service_id), lambda slots: slots == 4)
        await until(lambda: self.leaders([b]), bool)
        # It was heard from a third of a session ago at the earliest.
        self.assertLess(reactor.seconds() - began, LONGEST_SESSION_SECS * 2 / 3)
        await stopping

    async def outage(self, a, b, headers, *, secs, begin, end):
        """
        Have ZooKeeper away while both routers are busy: nothing fails and nothing moves.

        @param begin: what is done to it, and then C{end}.
        """
        load = await self.loaded([a, b], headers)
        routers = (await self.fleet(a))["routers"]
        changes = self.marathon.changes()
        sessions = [(await self.fleet(waiter))["zookeeper"]["session-id"] for waiter in (a, b)]
        begin()
        until_secs = reactor.seconds() + secs
        answered = load.answered
        while reactor.seconds() < until_secs:
            self.assertEqual(await self.all_slots([a, b], self.service_id), [2, 2])
            self.assertEqual((await self.fleet(b))["routers"], routers)
            await deferLater(reactor, 0.5)
        self.assertGreater(load.answered, answered)
        self.assertEqual(await self.leaders([a, b]), [])
        ended = end()
        if ended is not None:
            await ended

        async def recovered():
            self.assertEqual(await self.all_slots([a, b], self.service_id), [2, 2])
            return [await self.fleet(waiter) for waiter in (a, b)]

        states = await until(
            recovered,
            lambda states: (
                sum(state["leader?"] for state in states) == 1
                and all(state["registered?"] and not state["in-doubt?"] for state in states)
            ),
            within_secs=60,
        )
        self.assertEqual([state["routers"] for state in states], [routers, routers])
        await load.stop()
        self.assertEqual(load.failures, [])
        self.assertLessEqual(await self.most(a, headers), 4)
        self.assertEqual(self.marathon.changes(), changes)
        return sessions, [state["zookeeper"]["session-id"] for state in states]

    async def test_whenZooKeeperHangsForAMinute_nothingFailsNothingMovesAndAllIsWellAfterwards(self):
        a, b, headers = await self.routers()
        await self.outage(a, b, headers, secs=60, begin=self.server.freeze, end=self.server.thaw)

    async def test_whenZooKeeperIsKilledAndStartedAgain_nothingFailsAndNothingMoves(self):
        a, b, headers = await self.routers()
        await self.outage(
            a, b, headers, secs=6, begin=self.server.kill, end=lambda: Deferred.fromCoroutine(self.server.start())
        )

    async def test_whenZooKeeperLosesItsData_nothingFailsAndNothingMoves(self):
        a, b, headers = await self.routers()
        before, after = await self.outage(a, b, headers, secs=4, begin=self.server.kill, end=self.begin_anew)
        # All sessions were over, so that both had to register again.
        self.assertFalse(set(before) & set(after))
        # There is a place for what is new, too, and the other one hears of it.
        other = crowded(version="another")
        self.assertEqual((await a.request("/hold/0", headers=other)).code, 200)
        service_id = await a.service_id(other)
        await until(lambda: self.slots(b, service_id), lambda slots: slots > 0)

    def begin_anew(self):
        self.server.forget()
        return Deferred.fromCoroutine(self.server.start())

    async def test_whenZooKeeperAndMarathonHangForAMinute_nothingFailsAndAllIsWellAfterwards(self):
        a, b, headers = await self.routers()

        def begin():
            self.server.freeze()
            self.marathon.pause()

        def end():
            self.server.thaw()
            self.marathon.resume()

        changes = self.marathon.changes
        kept = changes()
        self.marathon.changes = lambda: kept
        await self.outage(a, b, headers, secs=60, begin=begin, end=end)
        self.assertEqual(changes(), kept)
