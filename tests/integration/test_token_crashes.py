"""What is left of tokens when a process that writes them dies, or loses its session with ZooKeeper."""

import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from kazoo.client import KazooClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.fleet.test_store import WithItsClient
from tests.integration.harness import RunningWaiter, until
from tests.integration.token_writer import agrees, body, write
from tests.integration.zookeeper_server import MISSING, own_server
from waiter.catalog.sqlite import SQLiteStore
from waiter.catalog.tokens import KEY_PREFIX, TokenCatalog
from waiter.errors import ServiceUnavailable
from waiter.fleet.ensemble import Ensemble
from waiter.fleet.zookeeper import ZooKeeperClient

ROOT = Path(__file__).parent.parent.parent
NAMES = ("one", "two", "three")


class Writers:
    """
    Processes that write tokens, one after the other.

    @ivar reached: the number of the last write of each token that was acknowledged or found.
    """

    def __init__(self, case, where):
        self._where = where
        self.reached = dict.fromkeys(NAMES, 0)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.token_writer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        case.addCleanup(self._end)

    def kill_one(self, acknowledged, secs):
        """Start one and kill it after so many writes and so long; returns how many were acknowledged."""
        self._process.stdin.write(json.dumps({**self._where, "tokens": self.reached}).encode() + b"\n")
        self._process.stdin.flush()
        pid = int(self._line().removeprefix("pid "))
        count = 0
        while count < acknowledged:
            count += self._take(self._line())
        time.sleep(secs)
        os.kill(pid, signal.SIGKILL)
        while (line := self._line()) != "ended":
            count += self._take(line)
        return count

    def _take(self, line):
        name, number = line.split()
        self.reached[name] = int(number)
        return 1

    def _line(self):
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise AssertionError("the writers have ended")
        return line.decode().rstrip("\n")

    def _end(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class CrashTestCase(TestCase):
    timeout = 600

    async def check(self, store, reached):
        """
        Every token is what the last acknowledged write made of it, or the one that was under way.

        @param reached: the numbers of the last acknowledged writes; those that were under way and have happened are added.
        """
        await store.startService()
        tokens = TokenCatalog(reactor, store)
        await tokens.startService()
        try:
            # None is left out because it could not be read.
            stored = {key.removeprefix(KEY_PREFIX) for key in await store.keys(KEY_PREFIX)}
            self.assertEqual({token.name for token in tokens.all()}, stored)
            for name, number in reached.items():
                found = [each for each in (number, number + 1) if agrees(tokens.find(name), each)]
                self.assertNotEqual(found, [], f"{name} after {number}: {tokens.find(name)}")
                reached[name] = found[-1]
        finally:
            await tokens.stopService()
            await store.stopService()


class SQLiteTests(CrashTestCase):
    async def test_whenKilledAtAnyTime_noAcknowledgedWriteIsLostAndNoneIsTorn(self):
        path = Path(self.mktemp()).absolute()
        writers = Writers(self, {"path": str(path)})
        chance = random.Random(6)  # noqa: S311 - when to kill is no secret
        acknowledged = 0
        for kill in range(200):
            # Now and then while it starts.
            writes, secs = (0, 0.3) if kill % 10 == 0 else (chance.randrange(1, 12), 0.004)
            acknowledged += await deferToThread(writers.kill_one, writes, chance.random() * secs)
            await self.check(SQLiteStore(reactor, path), writers.reached)
        self.assertGreater(acknowledged, 200)

    async def test_whenAServerIsKilled_theNextOneHasWhatItAcknowledged(self):
        waiter = await RunningWaiter(self).start()
        acknowledged = {}

        async def post(name):
            number = acknowledged.get(name, 0)
            while True:
                number += 1
                try:
                    answer = await waiter.request(
                        f"/token?token={name}", method="POST", data=json.dumps(body(number)).encode()
                    )
                except Exception:  # noqa: BLE001 - the server was killed
                    return
                self.assertEqual(answer.code, 200, answer.body)
                acknowledged[name] = number

        async def enough(before):
            return sum(acknowledged.values()) - before

        for kill in range(5):
            before = sum(acknowledged.values())
            posting = gatherResults([Deferred.fromCoroutine(post(name)) for name in NAMES])
            await until(lambda before=before: enough(before), lambda count, kill=kill: count > 3 * kill)
            await waiter.stop(signal.SIGKILL)
            await posting
            waiter = await RunningWaiter(self, state=waiter.state, port=waiter.port).start()
            for name, number in acknowledged.items():
                found = await waiter.api(f"/token?token={name}")
                version = int(found["version"])
                self.assertIn(version, (number, number + 1))
                self.assertEqual(found, {**body(version), "owner": found["owner"]})
                acknowledged[name] = version
        self.assertEqual(await waiter.stop(signal.SIGTERM), -signal.SIGTERM)


class ZooKeeperTests(CrashTestCase):
    skip = MISSING

    async def setUp(self):
        self.server = await own_server(self)
        logging.getLogger("kazoo").setLevel(logging.CRITICAL)
        self.addCleanup(logging.getLogger("kazoo").setLevel, logging.NOTSET)

    def client(self):
        return ZooKeeperClient(reactor, Ensemble(hosts=self.server.hosts, session_timeout_secs=2.0))

    def store(self):
        return WithItsClient(reactor, self.client(), "/store")

    async def test_whenKilledAtAnyTime_noAcknowledgedWriteIsLostAndNoneIsTorn(self):
        writers = Writers(self, {"hosts": self.server.hosts, "path": "/store"})
        chance = random.Random(6)  # noqa: S311 - when to kill is no secret
        for _ in range(20):
            await deferToThread(writers.kill_one, chance.randrange(1, 12), chance.random() * 0.01)
            await self.check(self.store(), writers.reached)

    async def test_whenSessionsEnd_noAcknowledgedWriteIsLost_andTheOtherRouterHasAll(self):
        client = self.client()
        ours, theirs = WithItsClient(reactor, client, "/store"), self.store()
        catalogs = []
        for store in (ours, theirs):
            await store.startService()
            self.addCleanup(store.stopService)
            catalog = TokenCatalog(reactor, store)
            await catalog.startService()
            self.addCleanup(catalog.stopService)
            catalogs.append(catalog)
        tokens, others = catalogs
        reached = dict.fromkeys(NAMES, 0)
        unknown = []
        stopped = []

        async def go_on(name):
            while not stopped:
                try:
                    await write(tokens, name, reached[name] + 1)
                    reached[name] += 1
                except ServiceUnavailable:
                    # It may have happened. What is there is asked for until it can be said.
                    unknown.append(name)
                    await until(lambda: self._settled(tokens, reached, name), bool)

        writing = gatherResults([Deferred.fromCoroutine(go_on(name)) for name in NAMES])
        for _ in range(4):
            count, session = sum(reached.values()), client.session_id
            await until(self._now(lambda: sum(reached.values())), lambda now, count=count: now > count + 20)
            await deferToThread(self._end_session, client)
            await until(self._now(lambda: client.session_id), lambda now, session=session: now not in (session, None))
        self.server.kill()
        await deferLater(reactor, 0.2)
        await self.server.start()
        count = sum(reached.values())
        await until(self._now(lambda: sum(reached.values())), lambda now: now > count + 20)
        stopped.append(True)
        await writing
        self.assertNotEqual(unknown, [])

        async def found(name):
            # The other router may still be about to connect again.
            with contextlib.suppress(ServiceUnavailable):
                return [await others.latest(name)]

        for name in NAMES:
            (token,) = await until(lambda name=name: found(name), bool)
            self.assertTrue(agrees(token, reached[name]))
            # The other router hears of it by itself.
            await until(
                self._now(lambda name=name: others.find(name)), lambda token, name=name: agrees(token, reached[name])
            )
            self.assertEqual(tokens.find(name), others.find(name))

    async def _settled(self, tokens, reached, name):
        try:
            token = await tokens.latest(name)
        except ServiceUnavailable:
            return False
        number = reached[name]
        if agrees(token, number + 1):
            reached[name] += 1
            return True
        self.assertTrue(agrees(token, number), f"{name} after {number}: {token}")
        return True

    def _now(self, describe):
        async def now():
            return describe()

        return now

    def _end_session(self, client):
        # Whoever knows a session's id and password can take it over, and close it.
        impostor = KazooClient(hosts=self.server.hosts, client_id=client._client.client_id)
        impostor.start(timeout=60)
        impostor.stop()
        impostor.close()
