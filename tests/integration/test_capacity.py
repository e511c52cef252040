"""More services than the machine has room for."""

import re
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers, until
from waiter.scheduler.local.machine import machine_resources

PATIENT = (Path(__file__).parent / "patient.py").absolute()
EVICTION = re.compile(r"(\S+)\.[^.\s]+: stopped to make room for (\S+), unused")


class CapacityTests(TestCase):
    timeout = 300

    def setUp(self):
        self.memory = machine_resources().mem
        self.go_on = Path(self.mktemp()).absolute()

    async def waiter(self, **environment):
        environment = {"WAITER_CONSTRAINTS_MEM": str(self.memory * 2), **environment}
        return await RunningWaiter(self, environment=environment).start()

    def headers(self, name, share, **parameters):
        """A service that declares this share of the machine's memory."""
        return service_headers(
            f"exec python3 {PATIENT} $PORT0 {self.go_on}",
            name=name,
            **{"mem": round(self.memory * share, 3), "cpus": 0.1, **parameters},
        )

    async def hold(self, waiter, headers):
        """An answer that has begun and ends when the test says so: a Deferred."""
        await waiter.request("/", headers=headers)
        answer = Deferred.fromCoroutine(waiter.request("/hold", headers=headers))
        service_id = await waiter.service_id(headers)
        await until(
            lambda: waiter.api(f"/state/{service_id}"),
            lambda state: "'slots-used': 1" in str(state),
        )
        return answer

    async def test_thirtyServicesOfATenthOfTheMachineEachAllAnswer(self):
        waiter = await self.waiter()
        busy = self.headers("busy", 0.1)
        held = await self.hold(waiter, busy)
        pinned = self.headers("pinned", 0.1, pin="true")
        pinned_answer = await waiter.request("/", headers=pinned)
        self.assertEqual(pinned_answer.code, 200)

        crowd = [self.headers(f"crowd{number}", 0.1) for number in range(30)]
        ids = [await waiter.service_id(each) for each in crowd]
        for each in crowd:
            answer = await waiter.request("/", headers=each)
            self.assertEqual(answer.code, 200, answer.body)

        # Of 80 % of the memory two tenths are taken by the busy one and the pinned one.
        made_room = [match.groups() for match in EVICTION.finditer(waiter.output)]
        self.assertEqual(made_room, list(zip(ids[:24], ids[6:], strict=True)))
        self.assertEqual((await waiter.service(ids[0]))["status"], "Inactive")
        self.assertEqual(len(await waiter.active_instances(ids[-1])), 1)

        self.assertFalse(held.called)
        self.go_on.touch()
        answer = await held
        self.assertEqual((answer.code, len(answer.body)), (200, answer.length))
        self.assertTrue(answer.body.startswith(b"begin") and answer.body.endswith(b"end"))
        again = await waiter.request("/", headers=pinned)
        self.assertEqual(again.body, pinned_answer.body)

    async def test_whatNeverFitsIsRefusedAtOnceWithTheReason(self):
        waiter = await self.waiter(WAITER_SCHEDULER_CPU_OVERCOMMIT="0.001")
        answer = await waiter.request("/", headers=self.headers("big", 0.9, cpus=0.00001))
        self.assertEqual(answer.code, 503)
        self.assertIn(b"MiB of memory, but all instances together may use", answer.body)
        self.assertIn(b"Ask for less with mem, or raise memory-share", answer.body)
        answer = await waiter.request("/", headers=self.headers("busy", 0.1, cpus=30))
        self.assertEqual(answer.code, 503)
        self.assertIn(b"An instance needs 30 CPUs, but all instances together may be promised", answer.body)

    async def test_whatDoesNotFitNowWaitsAndIsToldWhatIsMissing(self):
        waiter = await self.waiter()
        held = await self.hold(waiter, self.headers("first", 0.5))
        second = self.headers("second", 0.5)
        second_id = await waiter.service_id(second)
        waiting = Deferred.fromCoroutine(waiter.request("/", headers=second))
        await until(
            lambda: waiter.service(second_id),
            lambda service: "All instances of other services are in use" in service.get("queued-reason", ""),
        )
        answer = await waiter.request("/", headers=second | {"x-waiter-queue-timeout": ["500"]})
        self.assertEqual(answer.code, 503)
        needed = f"Waits for memory: an instance needs {self.memory * 0.5:.0f} MiB".encode()
        self.assertIn(needed, answer.body)
        self.assertIn(b"All instances of other services are in use", answer.body)
        self.assertIn(needed.decode(), waiter.output)

        self.go_on.touch()
        self.assertEqual((await held).code, 200)
        self.assertEqual((await waiting).code, 200)
