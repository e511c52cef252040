"""Instances are found and ended without a server."""

import os
import shutil
import signal
import time
from pathlib import Path

import attrs
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.port_ranges import own_ports
from tests.scheduler.local.world import World
from tests.scheduler.servers import SERVER, program
from waiter.scheduler.local.census import Census
from waiter.scheduler.local.inventory import State, inventory
from waiter.scheduler.local.ports import PortPool
from waiter.scheduler.local.processes import read_process, snapshot
from waiter.scheduler.local.records import InstanceDirectory
from waiter.scheduler.local.removal import Removal, grace_secs_of

DEAF_WITH_CHILDREN = program(
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ns = listen()\n"
    "if os.fork() == 0:\n os.setsid()\n time.sleep(3600)\nserve(s)"
)


class GraceTests(SynchronousTestCase):
    def test_theDescriptionSaysHowLongAnInstanceMayTakeToEnd(self):
        self.assertEqual(grace_secs_of({"termination-grace-period-secs": 7}), 7)
        for core in ({}, {"termination-grace-period-secs": "x"}, {"termination-grace-period-secs": True}):
            self.assertEqual(grace_secs_of(core), 0)


class RemovalTests(World, TestCase):
    timeout = 60

    def setUp(self):
        self.prepare()
        self.addCleanup(self.assert_nothing_left)
        self.ports = PortPool(self.directory / "locks", own_ports(), wall=time.time)
        self.removal = Removal(reactor, self.ports, wall=time.time)

    async def leave_one(self, cmd=SERVER, **parameters):
        """Start an instance, leave it without a server, and answer its directory."""
        (directory,) = await self.leave(1, cmd, **parameters)
        return directory

    async def leave(self, number, cmd=SERVER, **parameters):
        service = self.service(cmd=cmd, **parameters)
        scheduler = self.make_scheduler(on_stop="leave")
        await scheduler.startService()
        await scheduler.create(service)
        await scheduler.scale(service.id, number)
        instances = await self.healthy(service, number, scheduler=scheduler)
        await scheduler.stopService()
        return [InstanceDirectory(Path(instance.log_directory)) for instance in instances]

    def look(self):
        return inventory(self.directory / "services")

    async def test_whatRunsIsFoundAndEndedWholly(self):
        directory = await self.leave_one(cmd=DEAF_WITH_CHILDREN, termination_grace_period_secs=0)
        record = directory.read()
        (entry,) = self.look()
        self.assertEqual(
            (entry.id, entry.service_id, entry.state, entry.pid, entry.ports, entry.started_at, entry.command),
            (
                record.id,
                record.service_id,
                State.RUNNING,
                record.pid,
                record.ports,
                record.created_at,
                DEAF_WITH_CHILDREN,
            ),
        )
        self.assertEqual(entry.processes, len(self.carriers(record.id)))
        self.assertGreater(entry.memory_mib, 1)
        self.assertEqual(await self.removal.end([entry], force=False), {})
        self.assertEqual(self.carriers(record.id), [])
        self.assertEqual(self.look(), [])

    async def test_theNextServerNeitherTakesItOverNorCallsItFailed(self):
        directory = await self.leave_one()
        await self.removal.end(self.look(), force=True)
        ended = directory.read()
        self.assertEqual((ended.killed, ended.failed), (True, False))
        self.assertIsNotNone(ended.ended_at)
        self.assertNotEqual((self.directory / "locks" / str(ended.ports[0])).read_bytes(), b"")
        scheduler = self.make_scheduler()
        await scheduler.startService()
        self.addCleanup(scheduler.stopService)
        self.assertEqual(dict(await scheduler.services()), {})
        self.assertEqual(directory.read(), ended)

    async def test_itMayEndInItsOwnTimeUnlessItIsForced(self):
        polite = program("signal.signal(signal.SIGTERM, lambda *_: (open('asked', 'w'), os._exit(0)))\nserve(listen())")
        directory = await self.leave_one(cmd=polite, termination_grace_period_secs=30)
        await self.removal.end(self.look(), force=False)
        self.assertTrue((directory.work / "asked").exists())
        directory = await self.leave_one(cmd=polite, termination_grace_period_secs=30)
        await self.removal.end(self.look(), force=True)
        self.assertFalse((directory.work / "asked").exists())
        directory = await self.leave_one(cmd=polite)
        patient = Removal(reactor, self.ports, wall=time.time, defaults={"termination-grace-period-secs": 30})
        await patient.end(self.look(), force=False)
        self.assertTrue((directory.work / "asked").exists())

    async def test_whatHasLostItsLauncherOrItsRecordIsFoundAndEnded(self):
        remains, lost, newer = await self.leave(3)
        pid = remains.read().pid
        os.kill(pid, signal.SIGKILL)
        while read_process(pid) is not None:
            await Census(reactor).take()
        shutil.rmtree(lost.path)
        newer.record.write_text('{"format": 99}')
        self.assertEqual(
            {entry.id: (entry.state, entry.pid) for entry in self.look()},
            {
                remains.path.name: (State.REMAINS, None),
                lost.path.name: (State.NO_RECORD, None),
                newer.path.name: (State.UNREADABLE, None),
            },
        )
        self.assertEqual(await self.removal.end(self.look(), force=True), {})
        self.assertEqual(self.look(), [])
        self.assertEqual(newer.record.read_text(), '{"format": 99}')
        self.assertTrue(remains.read().killed)
        ids = {remains.path.name, lost.path.name, newer.path.name}
        self.assertEqual([each for each in snapshot().values() if each.instance_id in ids], [])

    async def test_whatIsBeingStartedIsFound(self):
        directory = await self.leave_one()
        directory.write(attrs.evolve(directory.read(), pid=None, start_ticks=None, boot_id=None))
        self.assertEqual([entry.state for entry in self.look()], [State.HALF_WRITTEN])
        self.assertEqual(await self.removal.end(self.look(), force=True), {})
        self.assertIsNotNone(directory.read().ended_at)

    async def test_whatHasEndedOrNeverStartedIsNotListed(self):
        directory = await self.leave_one()
        await self.removal.end(self.look(), force=True)
        never = InstanceDirectory(directory.path.with_name(f"{directory.path.parent.name}.never"))
        never.create()
        self.assertEqual(self.look(), [])

    async def test_whatDoesNotEndIsToldAndNotWaitedForWithoutEnd(self):
        await self.leave_one()
        stubborn = Removal(reactor, self.ports, wall=time.time, patience_secs=0.05)
        (entry,) = self.look()
        patches = [
            self.patch(signal, "pidfd_send_signal", lambda *_: None),
            self.patch(os, "killpg", lambda *_: None),
        ]
        failed = await stubborn.end([entry], force=True)
        self.assertIn("still runs", failed[entry.id])
        for patch in patches:
            patch.restore()
        while self.look() or entry.finding.directory.read().ended_at is None:
            await Census(reactor).take()
