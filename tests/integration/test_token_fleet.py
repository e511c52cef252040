"""Tokens of two routers that share a ZooKeeper."""

import json

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, until
from tests.integration.test_fleet import with_zookeeper
from tests.integration.zookeeper_server import MISSING, own_server

JSON = {"accept": ["application/json"]}


class TokenFleetTests(TestCase):
    skip = MISSING
    timeout = 180

    async def setUp(self):
        server = await own_server(self)
        # No session is to end, or be in danger, because the machine is busy.
        environment = with_zookeeper(server, session_ms=30000, WAITER_STORE_PASSWORDS='["a password"]')
        self.one, self.other = [await RunningWaiter(self, environment=environment).start() for _ in range(2)]

    async def post(self, waiter, version, if_match=""):
        body = {"cmd": "true", "version": version, "cpus": 0.1, "mem": 64}
        return await waiter.request(
            "/token?token=a-token",
            method="POST",
            data=json.dumps(body).encode(),
            headers={**JSON, "if-match": [if_match]},
        )

    async def version(self, waiter):
        answer = await waiter.request("/token?token=a-token", headers=JSON)
        return answer.json()["version"] if answer.code == 200 else None

    async def listed(self, waiter):
        return {entry["token"]: entry["etag"] for entry in await waiter.api("/tokens?include=metadata")}

    async def test_whatIsWrittenAtOneIsReadAtTheOtherAtOnce_andSoonKnownThere(self):
        etag = None
        for number in range(10):
            writer, reader = (self.one, self.other) if number % 2 else (self.other, self.one)
            answer = await self.post(writer, str(number), etag or "")
            self.assertEqual(answer.code, 200, answer.body)
            etag = answer.header("etag")
            self.assertEqual(await self.version(reader), str(number))
        for waiter in (self.one, self.other):
            await until(lambda waiter=waiter: self.listed(waiter), lambda found: found == {"a-token": etag})
        deleted = await self.other.request("/token?token=a-token", method="DELETE")
        self.assertEqual(deleted.code, 200)
        self.assertIsNone(await self.version(self.one))
        await until(lambda: self.listed(self.one), lambda found: found == {})

    async def test_ofTwoThatChangeTheSameVersion_oneIsRefused(self):
        etag = (await self.post(self.one, "0")).header("etag")
        for number in range(1, 11):
            answers = await gatherResults(
                [
                    Deferred.fromCoroutine(self.post(waiter, f"{number} of {waiter.port}", etag))
                    for waiter in (self.one, self.other)
                ]
            )
            self.assertEqual(sorted(answer.code for answer in answers), [200, 412])
            etag = next(answer.header("etag") for answer in answers if answer.code == 200)
