"""What a router sees of tasks that Marathon does not call healthy."""

import sys
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.integration.harness import service_headers, until
from tests.integration.marathon import RunningMarathon, waiter_on

LATE = (Path(__file__).parent / "late.py").absolute()


class StartTests(TestCase):
    timeout = 240

    async def test_oneCheckAfterItListensIsEnough(self):
        listen, record = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        marathon = await RunningMarathon(self).start()
        # No round will come to its help.
        environment = {"WAITER_DISCOVERY_SCHEDULER_INTERVAL_SECS": "3600"}
        waiter = await waiter_on(self, marathon, environment=environment).start()
        headers = service_headers(
            f"exec {sys.executable} {LATE} $PORT0 {listen} {record}",
            health_check_url="/health",
            grace_period_secs=1800,
        )
        service_id = await waiter.service_id(headers)
        waiting = Deferred.fromCoroutine(waiter.request("/", headers=headers))
        await until(
            lambda: waiter.active_instances(service_id),
            lambda active: active and "nothing listens" in (active[0].get("message") or ""),
        )
        listen.touch()
        self.assertEqual((await waiting).code, 200)
        self.assertEqual(record.read_text().split(), ["health-check", "request"])

    async def test_whatIsKilledWhileItsChecksFailHasNotFailed(self):
        marathon = await RunningMarathon(self).start()
        environment = {
            "WAITER_DISCOVERY_SCHEDULER_INTERVAL_SECS": "0.2",
            "WAITER_MARATHON_MIN_HOSTS": "1",
            # An app that never becomes healthy is locked.
            "WAITER_MARATHON_FORCE_KILL_AFTER_MS": "1",
        }
        waiter = await waiter_on(self, marathon, environment=environment).start()
        headers = service_headers("exec sleep 1000", min_instances=2, grace_period_secs=1800)
        service_id = await waiter.service_id(headers)
        waiting = Deferred.fromCoroutine(waiter.request("/", headers=headers))
        waiting.addErrback(lambda _: None)
        for _ in range(2):
            instance, _ = await until(lambda: waiter.active_instances(service_id), lambda active: len(active) == 2)
            await self.rounds(waiter, 20)
            kill = partial(waiter.request, f"/apps/{service_id}/instance/{instance['id']}/kill", method="POST")
            await until(kill, lambda answer: answer.code == 200)
        await self.rounds(waiter, 5)
        service = await waiter.service(service_id)
        self.assertEqual((service["status"], service["instances"].get("failed-instances", [])), ("Starting", []))
        waiting.cancel()

    async def rounds(self, waiter, count):
        """Let as many rounds of collecting pass."""

        async def iteration():
            return (await waiter.api("/state/maintainer"))["state"]["iteration"]

        begun = await iteration()
        await until(iteration, lambda now: now >= begun + count, within_secs=60)
