"""The router is killed again and again, and nothing is lost."""

import json
import os
import random
import signal
import sys
import traceback
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseFailed

from tests.integration.facts import look, zombies_of
from tests.integration.harness import RunningWaiter, service_headers, until

ROUNDS = 50
CLIENTS = 4
#: Away from the ports of a real Waiter, from those that the kernel gives to clients, and from those of other tests.
PORTS = (4000 + os.getpid() % 10 * 100, 4099 + os.getpid() % 10 * 100)
PROGRAM = (Path(__file__).parent / "tortured.py").absolute()
#: What is tortured, and whether an instance of it works until it is told to end.
LASTING = {"plain": True, "forking": True, "daemon": True, "deaf": True, "slow": True, "mortal": False}
CUT_OFF = (CancelledError, ConnectError, ConnectingCancelledError, ConnectionClosed, ResponseFailed)


def headers_of(name):
    return service_headers(
        f"exec {sys.executable} -S -E {PROGRAM} {name}",
        name=name,
        scale_up_factor=0.9,
        scale_down_factor=0.9,
        max_instances=3,
        termination_grace_period_secs=1,
        cpus=0.01,
        mem=8,
    )


class TortureTests(TestCase):
    timeout = 600

    def setUp(self):
        # Another run, another story; to have one again, set the variable.
        self.seed = int(os.environ.get("TORTURE_SEED") or random.randrange(1 << 32))  # noqa: S311
        self.random = random.Random(self.seed)  # noqa: S311
        self.state = Path(self.mktemp()).absolute()
        self.waiter = None
        self.service_ids = {}
        self.clients = []
        self.told = []

    async def test_aRouterThatIsKilledFiftyTimesLosesNothing(self):
        try:
            for number in range(ROUNDS):
                await self.round(number)
            await self.last_round()
        except Exception as error:
            story = "\n".join([f"TORTURE_SEED={self.seed}", *self.told[-12:], traceback.format_exc()])
            raise AssertionError(story) from error

    def tell(self, *what):
        self.told.append(" ".join(map(str, what)))

    async def round(self, number):
        survivors = self.survivors()
        self.tell(f"round {number}: {len(look(self.state).carriers)} instances run")
        starting = self.start()
        if number and self.random.random() < 0.25:
            # While it starts and takes over; it may not even have begun to listen.
            await deferLater(reactor, self.random.uniform(0.1, 0.8))
            self.tell(" killed in its start")
            starting.addErrback(lambda failure: failure.trap(AssertionError))
            await self.kill()
        else:
            await starting
            await self.settled()
            await self.serves_again(survivors)
            await self.live()
            self.tell(" killed in its life")
            await self.kill()
        await starting
        await until(self.wrongs_without_router, lambda wrongs: wrongs == {})

    def start(self):
        port = None if self.waiter is None else self.waiter.port
        self.waiter = RunningWaiter(
            self,
            state=self.state,
            port=port,
            environment={"WAITER_SCHEDULER_PORT_RANGE": json.dumps(PORTS), "WAITER_SCHEDULER_PORT_REST_SECS": "0"},
        )
        return Deferred.fromCoroutine(self.waiter.start())

    async def kill(self):
        await self.waiter.stop(signal.SIGKILL)
        clients, self.clients = self.clients, []
        for client in clients:
            client.cancel()

    def survivors(self):
        """The launchers of each lasting service's instances that should serve again."""
        facts = look(self.state)
        found = {name: set() for name in LASTING}
        for instance_id, record in facts.open.items():
            name = record["core"]["name"]
            if facts.alive(instance_id) and LASTING[name] and not record["killed"] and not record["failed"]:
                found[name].add(str(record["pid"]))
        return found

    async def wrongs_without_router(self):
        """What must never be, whenever the router died; waited for because those it left may be dying."""
        facts = look(self.state)
        return _wrongs(
            nameless=facts.nameless(), shared_ports=facts.shared_ports(), leaked_ports=facts.leaked_ports(PORTS)
        )

    async def settled(self):
        """Each record's process lives or its end is recorded, soon after the start."""
        await until(self.wrongs_with_router, lambda wrongs: wrongs == {})

    async def wrongs_with_router(self):
        facts = look(self.state)
        return _wrongs(
            nameless=facts.nameless(),
            lost=facts.lost(),
            shared_ports=facts.shared_ports(),
            zombies=zombies_of(self.waiter.pid),
        )

    async def serves_again(self, survivors):
        names = self.random.sample(sorted(LASTING), len(LASTING))
        await gatherResults([Deferred.fromCoroutine(self.serves(name, survivors[name])) for name in names])

    async def serves(self, name, survivors):
        if LASTING[name]:
            answer = await self.waiter.request("/", headers=headers_of(name))
            self.assertEqual(answer.code, 200, (name, answer.body))
            if survivors:
                self.assertIn(answer.body.decode(), survivors, f"{name} was started again though it ran")
        else:
            # It may break under the request.
            await until(lambda: self.waiter.request("/", headers=headers_of(name)), lambda answer: answer.code == 200)

    async def live(self):
        """Requests, and now and then a deletion, until a moment that is the last."""
        self.clients = [Deferred.fromCoroutine(self.client(number)) for number in range(CLIENTS)]
        for client in self.clients:
            client.addErrback(lambda failure: failure.trap(*CUT_OFF))
        moments = sorted(self.random.uniform(0, 0.5) for _ in range(self.random.randint(1, 3)))
        before = 0
        for moment in moments[:-1]:
            await deferLater(reactor, moment - before)
            before = moment
            name = self.random.choice(sorted(LASTING))
            self.tell(f" {name} deleted after {moment:.3f} s")
            deletion = Deferred.fromCoroutine(self.delete(name))
            deletion.addErrback(lambda failure: failure.trap(*CUT_OFF))
            self.clients.append(deletion)
        await deferLater(reactor, moments[-1] - before)

    async def client(self, number):
        chosen = random.Random(f"{self.seed}-{number}")  # noqa: S311
        while True:
            answer = await self.waiter.request("/", headers=headers_of(chosen.choice(sorted(LASTING))))
            self.assertIn(answer.code, {200, 502, 503}, answer.body)

    async def delete(self, name):
        if name not in self.service_ids:
            self.service_ids[name] = await self.waiter.service_id(headers_of(name))
        return await self.waiter.request(f"/apps/{self.service_ids[name]}", method="DELETE")

    async def last_round(self):
        survivors = self.survivors()
        await self.start()
        await self.settled()
        await self.serves_again(survivors)
        for name in LASTING:
            self.assertEqual((await self.delete(name)).code, 200)
        await until(self.remains, lambda remains: remains == {})
        self.assertEqual(zombies_of(self.waiter.pid), [])
        self.assertEqual(look(self.state).bare, frozenset())
        self.assertEqual(await self.waiter.stop(signal.SIGINT), -signal.SIGINT)
        self.assertNotIn("Traceback", self.waiter.output)

    async def remains(self):
        facts = look(self.state)
        return _wrongs(carriers=facts.carriers, open=facts.open, leaked_ports=facts.leaked_ports(PORTS))


def _wrongs(**found):
    return {name: wrong for name, wrong in found.items() if wrong}
