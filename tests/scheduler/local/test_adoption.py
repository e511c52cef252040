"""Instances outlive the server that started them, and the next one knows them again."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.port_ranges import own_ports
from tests.scheduler.local.world import World
from tests.scheduler.servers import SERVER, program
from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag
from waiter.model.service import Service
from waiter.scheduler.interface import Signal
from waiter.scheduler.local.adoption import Verdict, judge_all
from waiter.scheduler.local.pidfd import PidWatch
from waiter.scheduler.local.processes import Process, read_process, snapshot
from waiter.scheduler.local.records import InstanceDirectory, InstanceRecord
from waiter.scheduler.local.survey import UNREADABLE
from waiter.scheduler.local.takeover import ENDED_ALONE, explained

RECORD = InstanceRecord(
    id="a.1",
    service_id="a",
    cluster="c",
    run_as_user="u",
    core={},
    environment={},
    ports=(1,),
    created_at=5.0,
    pid=10,
    start_ticks=100,
    boot_id="this",
)
# As nginx does, by writing its title over its environment.
HIDE = (
    "import ctypes\ns = listen()\n"
    "start, end = map(int, open('/proc/self/stat').read().rsplit(')', 1)[1].split()[47:49])\n"
    "ctypes.memset(start, 0, end - start)\nserve(s)"
)
HALF = attrs.evolve(RECORD, pid=None, start_ticks=None, boot_id=None)


def judge(record, everything, boot_id):
    (finding,) = judge_all([(InstanceDirectory(Path("a/a.1")), record)], everything, boot_id)
    return finding.verdict, finding.record


def machine(*processes):
    return {process.pid: process for process in processes}


def process(pid, *, ticks=100, instance_id="a.1", session=None):
    session = pid if session is None else session
    return Process(pid=pid, parent=1, group=session, session=session, start_ticks=ticks, instance_id=instance_id)


class JudgeTests(SynchronousTestCase):
    def verdict(self, record, *processes):
        return judge(record, machine(*processes), "this")[0]

    def test_theSameProcessIsAlive(self):
        self.assertIs(self.verdict(RECORD, process(10)), Verdict.ALIVE)

    def test_aProcessThatStartedAtAnotherTimeIsAnother(self):
        self.assertIs(self.verdict(RECORD, process(10, ticks=101, instance_id=None)), Verdict.DEAD)

    def test_aProcessOfAnotherBootIsAnother(self):
        self.assertIs(self.verdict(attrs.evolve(RECORD, boot_id="other"), process(10)), Verdict.DEAD)

    def test_whatTheLauncherLeftBehindRemains(self):
        self.assertIs(self.verdict(RECORD, process(11, session=10)), Verdict.REMAINS)

    def test_aKilledInstanceThatLivesRemains(self):
        self.assertIs(self.verdict(attrs.evolve(RECORD, killed=True), process(10)), Verdict.REMAINS)

    def test_aFailedInstanceThatLivesRemains(self):
        self.assertIs(self.verdict(attrs.evolve(RECORD, failed=True), process(10)), Verdict.REMAINS)

    def test_aRecordedEndIsTheEnd(self):
        ended = attrs.evolve(RECORD, ended_at=6.0)
        self.assertIs(self.verdict(ended, process(10, instance_id=None)), Verdict.ENDED)
        self.assertIs(self.verdict(attrs.evolve(ended, boot_id="other"), process(10)), Verdict.ENDED)

    def test_whatTurnsUpAfterTheRecordedEndRemains(self):
        self.assertIs(self.verdict(attrs.evolve(RECORD, ended_at=6.0), process(11)), Verdict.REMAINS)

    def test_aProcessThatSaysItIsAnothersIsAnothers(self):
        self.assertIs(self.verdict(RECORD, process(10, instance_id="b.1")), Verdict.DEAD)

    def test_aProcessThatDoesNotSayWhoseItIsIsKnownByItsNumberAndStart(self):
        self.assertIs(self.verdict(RECORD, process(10, instance_id=None)), Verdict.ALIVE)

    def test_ofTwoRecordsOfOneProcessTheOlderHasIt(self):
        younger = attrs.evolve(RECORD, id="b.1", service_id="b", created_at=6.0)
        found = [(InstanceDirectory(Path(each.id)), each) for each in (younger, RECORD)]
        findings = judge_all(found, machine(process(10, instance_id=None)), "this")
        self.assertEqual(
            [(each.record.id, each.verdict) for each in findings], [("a.1", Verdict.ALIVE), ("b.1", Verdict.DEAD)]
        )

    def test_aRecordThatWasNotFinishedAndHasFailedIsDead(self):
        self.assertIs(self.verdict(attrs.evolve(HALF, failed=True)), Verdict.DEAD)

    def test_anEndThatNobodySawIsAFailureUnlessItWasExplainedBefore(self):
        self.assertEqual(explained(RECORD), attrs.evolve(RECORD, failed=True, message=ENDED_ALONE))
        for told in ({"killed": True}, {"failed": True, "message": "too slow"}, {"ended_at": 6.0}):
            before = attrs.evolve(RECORD, **told)
            self.assertEqual(explained(before), before)

    def test_aHalfWrittenRecordIsCompletedFromWhatRuns(self):
        verdict, record = judge(
            HALF,
            machine(process(12, ticks=130), process(10, ticks=100), process(11, ticks=101, session=10)),
            "this",
        )
        self.assertIs(verdict, Verdict.ALIVE)
        self.assertEqual(record, RECORD)

    def test_aHalfWrittenRecordWithoutALauncherRemainsOrNeverWas(self):
        self.assertIs(self.verdict(HALF, process(11, session=10)), Verdict.REMAINS)
        self.assertIs(self.verdict(HALF, process(10, instance_id="b.1")), Verdict.NEVER_STARTED)


class AdoptionTests(World, TestCase):
    timeout = 60

    def setUp(self):
        self.prepare()
        self.addCleanup(self.assert_nothing_left)

    async def begin(self, **options):
        scheduler = self.make_scheduler(**options)
        await scheduler.startService()
        self.addCleanup(scheduler.stopService)
        return scheduler

    async def leave_one(self, cmd=SERVER, prepare=None, **parameters):
        """Start an instance and leave it running; answer its service and itself."""
        service = self.service(cmd=cmd, **parameters)
        scheduler = await self.begin(on_stop="leave")
        await scheduler.create(service)
        (instance,) = await self.healthy(service, scheduler=scheduler)
        if prepare is not None:
            await prepare(scheduler, instance)
        await scheduler.stopService()
        return service, instance

    def directory_of(self, instance):
        return InstanceDirectory(Path(instance.log_directory))

    async def test_theSameProcessServesAgainUnderTheNextServer(self):
        service, instance = await self.leave_one()
        pids = self.carriers(instance.id)
        self.scheduler = await self.begin()
        record, _ = self.find(await self.scheduler.services(), service.id)
        self.assertEqual((record.instances, record.task_count), (1, 1))
        (adopted,) = await self.healthy(service)
        self.assertEqual(
            (adopted.id, adopted.port, adopted.started_at), (instance.id, instance.port, instance.started_at)
        )
        self.assertEqual(self.carriers(instance.id), pids)

    async def test_anAdoptedInstanceIsKilledLikeAnother(self):
        service, instance = await self.leave_one(
            cmd=program("s = listen()\nif os.fork() == 0:\n os.setsid()\n time.sleep(3600)\nserve(s)")
        )
        self.scheduler = await self.begin()
        (adopted,) = await self.healthy(service)
        self.assertTrue((await self.scheduler.kill(adopted)).killed)
        self.assertEqual(self.carriers(instance.id), [])

    async def test_theEndOfAnAdoptedInstanceIsNoticedWithItsExitCode(self):
        service, instance = await self.leave_one(
            cmd=program("signal.signal(signal.SIGUSR1, lambda *_: sys.exit(9))\nserve(listen())"),
            restart_backoff_factor=1000,
        )
        self.scheduler = await self.begin()
        (adopted,) = await self.healthy(service)
        launcher = self.directory_of(adopted).read().pid
        for pid in self.carriers(instance.id):
            if pid != launcher:
                os.kill(pid, signal.SIGUSR1)
        (failed,) = await self.failed(service)
        self.assertEqual((failed.id, failed.exit_code), (instance.id, 9))

    async def test_aPortInUseIsNotGivenToAnotherInstance(self):
        service, instance = await self.leave_one()
        self.scheduler = await self.begin()
        # The next port to be tried would be the adopted one.
        self.scheduler._runner._ports._next = instance.port
        await self.scheduler.scale(service.id, 2)
        active = await self.healthy(service, 2)
        self.assertEqual(len({each.port for each in active}), 2)

    async def test_anExpiredInstanceStaysExpired(self):
        async def expire(scheduler, instance):
            await scheduler.signal(instance.service_id, instance.id, Signal.EXPIRE)

        service, _ = await self.leave_one(prepare=expire)
        self.scheduler = await self.begin()
        (adopted,) = await self.healthy(service)
        self.assertIn(Flag.EXPIRED, adopted.flags)

    async def test_aHalfWrittenRecordIsCompleted(self):
        service, instance = await self.leave_one()
        directory = self.directory_of(instance)
        whole = directory.read()
        directory.write(attrs.evolve(whole, pid=None, start_ticks=None, boot_id=None))
        self.scheduler = await self.begin()
        (adopted,) = await self.healthy(service)
        self.assertEqual(adopted.id, instance.id)
        self.assertEqual(directory.read().pid, whole.pid)

    async def test_aKillThatWasUnderWayIsFinished(self):
        service, instance = await self.leave_one()
        directory = self.directory_of(instance)
        directory.write(attrs.evolve(directory.read(), killed=True))
        self.scheduler = await self.begin()
        self.assertEqual(dict(await self.scheduler.services()), {})
        await self.gone(instance)
        self.assertIsNone(directory.read().message)
        del service

    async def test_whatADeadLauncherLeftBehindIsEnded(self):
        service, instance = await self.leave_one()
        directory = self.directory_of(instance)
        await self.kill_launcher(directory)
        self.scheduler = await self.begin()
        self.assertEqual(dict(await self.scheduler.services()), {})
        await self.gone(instance)
        self.assertTrue(directory.read().failed)
        del service

    async def test_whatHidesItsEnvironmentIsEndedToo(self):
        service, instance = await self.leave_one(cmd=program(HIDE))
        directory = self.directory_of(instance)
        pids = [each.pid for each in snapshot().values() if each.session == directory.read().pid]
        self.assertEqual(len(pids), 2)
        self.assertEqual(len([pid for pid in pids if self.is_mine(pid)]), 1)
        await self.kill_launcher(directory)
        self.scheduler = await self.begin()
        await self.gone(instance)
        self.assertEqual([each for each in snapshot().values() if each.session == directory.read().pid], [])
        del service

    async def gone(self, instance):
        """Wait until the end of an instance is recorded."""
        while self.directory_of(instance).read().ended_at is None:
            await self.turn()
        self.assertEqual(self.carriers(instance.id), [])

    async def kill_launcher(self, directory):
        pid = directory.read().pid
        os.kill(pid, signal.SIGKILL)
        while read_process(pid) is not None:
            await self.turn()

    @staticmethod
    def turn():
        waiting = Deferred()
        reactor.callLater(0.005, waiting.callback, None)
        return waiting

    async def test_aProcessThatOnlyHasTheSameNumberIsNotTouched(self):
        bystander = subprocess.Popen(["/bin/sleep", "3600"])
        self.addCleanup(bystander.wait)
        self.addCleanup(bystander.kill)
        service = self.service()
        for name, boot, ticks in (("other-boot", "another", None), ("other-time", None, 1)):
            now = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            start = int(Path(f"/proc/{bystander.pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
            directory = InstanceDirectory(self.directory / "services" / service.id / f"{service.id}.{name}")
            directory.create()
            directory.write(
                attrs.evolve(
                    RECORD,
                    id=f"{service.id}.{name}",
                    service_id=service.id,
                    pid=bystander.pid,
                    start_ticks=ticks or start,
                    boot_id=boot or now,
                )
            )
        self.scheduler = await self.begin()
        self.assertEqual(dict(await self.scheduler.services()), {})
        await self.scheduler.stopService()
        self.assertIsNone(bystander.poll())
        for each in (self.directory / "services" / service.id).iterdir():
            record = InstanceDirectory(each).read()
            self.assertTrue(record.failed)
            self.assertIsNotNone(record.ended_at)

    async def test_anInstanceOfAServiceThatNobodyKnowsServesOnFromItsRecord(self):
        service, instance = await self.leave_one()
        self.known.clear()

        def revive(service_id, core):
            return Service(id=service_id, core=core, description=ServiceDescription.model_validate(core))

        self.scheduler = await self.begin(revive=revive)
        (adopted,) = await self.healthy(service)
        self.assertEqual(adopted.id, instance.id)

    async def test_anInstanceOfAServiceThatNothingDescribesIsEnded(self):
        _, instance = await self.leave_one()
        self.known.clear()
        self.scheduler = await self.begin()
        self.assertEqual(dict(await self.scheduler.services()), {})
        await self.gone(instance)
        self.assertFalse(self.directory_of(instance).read().failed)

    async def test_anInstanceWhoseRecordCannotBeReadIsEnded(self):
        for text in ("", '{"format": 1, "id": "wai', "[]", "\0" * 4096):
            _, instance = await self.leave_one()
            self.directory_of(instance).record.write_text(text)
            self.scheduler = await self.begin()
            self.assertEqual(dict(await self.scheduler.services()), {})
            await self.gone(instance)
            self.assertEqual(self.directory_of(instance).read().message, UNREADABLE)
            await self.scheduler.stopService()

    async def test_aRecordOfANewerWaiterIsLeftAlone(self):
        _, instance = await self.leave_one()
        directory = self.directory_of(instance)
        whole, newer = directory.record.read_bytes(), b'{"format": 99}'
        directory.record.write_bytes(newer)
        self.scheduler = await self.begin()
        self.assertEqual(dict(await self.scheduler.services()), {})
        await self.scheduler.stopService()
        self.assertEqual(directory.record.read_bytes(), newer)
        self.assertNotEqual(self.carriers(instance.id), [])
        directory.record.write_bytes(whole)
        self.scheduler = await self.begin()
        self.assertEqual(len(await self.scheduler.services()), 1)

    async def test_aRecordThatIsACopyOfAnothersIsNotAnInstance(self):
        service, instance = await self.leave_one()
        directory = self.directory_of(instance)
        copy = InstanceDirectory(directory.path.with_name(f"{service.id}.copy"))
        shutil.copytree(directory.path, copy.path)
        self.scheduler = await self.begin()
        (adopted,) = await self.healthy(service)
        self.assertEqual(adopted.id, instance.id)
        self.assertEqual(copy.read().message, UNREADABLE)

    async def test_whatRunsWithoutADirectoryIsEnded(self):
        _, instance = await self.leave_one()
        shutil.rmtree(self.directory_of(instance).path)
        await self.ended_as_stray(instance)

    async def test_whatRunsWithoutARecordIsEndedEvenIfItHidesItsEnvironment(self):
        _, instance = await self.leave_one(cmd=program(HIDE))
        directory = self.directory_of(instance)
        record = directory.read()
        await self.kill_launcher(directory)
        directory.record.unlink()
        await self.ended_as_stray(instance)
        # What is just ending has let go of its environment and its files, and shows no more whose it was.
        while any(each.session == record.pid for each in snapshot().values()):
            await self.turn()

    async def ended_as_stray(self, instance):
        self.assertNotEqual([each for each in snapshot().values() if each.instance_id == instance.id], [])
        self.scheduler = await self.begin()
        while [each for each in snapshot().values() if each.instance_id == instance.id]:
            await self.turn()
        # Until the server has noticed it, too.
        while any(isinstance(reader, PidWatch) for reader in reactor.getReaders()):
            await self.turn()

    async def test_whatRunsForAnotherStateDirectoryIsNotTouched(self):
        service, instance = await self.leave_one()
        mine = self.directory
        self.directory = Path(self.mktemp()).absolute()
        other = await self.begin()
        self.assertEqual(dict(await other.services()), {})
        self.directory = mine
        self.scheduler = await self.begin()
        (adopted,) = await self.healthy(service)
        self.assertEqual(adopted.id, instance.id)

    async def test_aCopyOfTheStateDirectoryDoesNotTakeOverWhatRunsInTheOriginal(self):
        service, instance = await self.leave_one()
        mine, copy = self.directory, Path(self.mktemp()).absolute()
        shutil.copytree(mine, copy)
        self.directory = copy
        other = await self.begin()
        self.assertEqual(dict(await other.services()), {})
        await other.stopService()
        self.directory = mine
        self.scheduler = await self.begin()
        (adopted,) = await self.healthy(service)
        self.assertEqual(adopted.id, instance.id)

    async def test_aStateDirectoryThatWasMovedTakesItsInstancesAlong(self):
        service, instance = await self.leave_one()
        mine, moved = self.directory, Path(self.mktemp()).absolute()
        mine.rename(moved)
        self.directory = moved
        self.scheduler = await self.begin()
        (adopted,) = await self.healthy(service)
        self.assertEqual(adopted.id, instance.id)
        self.assertTrue((await self.scheduler.kill(adopted)).killed)
        self.assertEqual(self.carriers(instance.id), [])

    async def test_aNumberThatIsAnothersByNowIsNotSignalledWhenTheRemainsAreEnded(self):
        _, instance = await self.leave_one(cmd=f"setsid {SERVER}")
        directory = self.directory_of(instance)
        bystander = subprocess.Popen(["/bin/sleep", "3600"], start_new_session=True)
        self.addCleanup(bystander.wait)
        self.addCleanup(bystander.kill)
        await self.kill_launcher(directory)
        directory.write(attrs.evolve(directory.read(), pid=bystander.pid))
        self.scheduler = await self.begin()
        await self.gone(instance)
        self.assertIsNone(bystander.poll())

    async def test_anExitThatTheServerDidNotSeeIsRecordedWithItsCode(self):
        _, instance = await self.leave_one(
            cmd=program("signal.signal(signal.SIGUSR1, lambda *_: sys.exit(9))\nserve(listen())")
        )
        directory = self.directory_of(instance)
        launcher = directory.read().pid
        for pid in self.carriers(instance.id):
            if pid != launcher:
                os.kill(pid, signal.SIGUSR1)
        while self.carriers(instance.id):
            await self.turn()
        self.scheduler = await self.begin()
        record = directory.read()
        self.assertEqual((record.exit_code, record.failed, record.message), (9, True, ENDED_ALONE))
        self.assertIsNotNone(record.ended_at)

    async def test_whyAnInstanceFailedIsNotForgottenOverItsEnd(self):
        _, instance = await self.leave_one()
        directory = self.directory_of(instance)
        directory.write(attrs.evolve(directory.read(), failed=True, message="It was too slow."))
        self.scheduler = await self.begin()
        await self.gone(instance)
        self.assertEqual(directory.read().message, "It was too slow.")

    async def test_whatStartsWhenTheServerLeavesIsTakenOverStarting(self):
        service = self.service(cmd=program("time.sleep(0.5)\nserve(listen())"))
        scheduler = await self.begin(on_stop="leave")
        await scheduler.create(service)
        (starting,) = self.find(await scheduler.services(), service.id)[1].active
        await scheduler.stopService()
        self.scheduler = await self.begin()
        (adopted,) = await self.healthy(service)
        self.assertEqual(adopted.id, starting.id)

    async def test_thePortsOfAnAdoptedInstanceRestWhenItIsGone(self):
        service, instance = await self.leave_one()
        self.scheduler = await self.begin()
        (adopted,) = await self.healthy(service)
        pool = self.scheduler._runner._ports
        lock = self.directory / "locks" / str(instance.port)
        self.assertIsNone(pool._lock(instance.port))
        self.assertEqual(lock.read_bytes(), b"")
        await self.scheduler.kill(adopted)
        self.assertNotEqual(lock.read_bytes(), b"")
        self.assertEqual(pool._held, set())
        free = pool._lock(instance.port)
        self.assertIsNotNone(free)
        os.close(free)

    async def test_aServerOnADiskThatCannotBeWrittenTakesOverAllTheSame(self):
        service, instance = await self.leave_one()
        self.patch(InstanceDirectory, "write", lambda directory, record: Path("/proc/no").mkdir())
        self.scheduler = await self.begin()
        (adopted,) = await self.healthy(service)
        self.assertEqual(adopted.id, instance.id)
        self.assertTrue((await self.scheduler.kill(adopted)).killed)
        self.assertEqual(self.carriers(instance.id), [])


@implementer(IReadDescriptor)
class Line:
    """Waits for a line to be said on a pipe, or for its end."""

    def __init__(self, pipe):
        self.pipe = pipe
        self.said = Deferred()
        self.read = b""
        reactor.addReader(self)

    def fileno(self):
        return self.pipe.fileno()

    def logPrefix(self):
        return "line"

    def doRead(self):
        # The text and the end of its line may come one after the other.
        part = os.read(self.fileno(), 65536)
        self.read += part
        if not part or self.read.endswith(b"\n"):
            reactor.removeReader(self)
            self.said.callback(self.read)

    def connectionLost(self, reason):
        """The reactor stops."""


SERVER_PROGRAM = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from tests.scheduler.local.world import World
world = World()
world.directory, world.known = Path(sys.argv[1]), {}
world.scheduler = world.make_scheduler(port_range=(int(sys.argv[2]), int(sys.argv[3])))
async def main():
    await world.scheduler.startService()
    service = world.service()
    await world.scheduler.create(service)
    await world.scheduler.scale(service.id, 2)
    await world.healthy(service, 2)
    print("healthy", flush=True)
Deferred.fromCoroutine(main()).addErrback(lambda f: (f.printTraceback(), reactor.stop()))
reactor.run()
"""


class KilledServerTests(World, TestCase):
    timeout = 60

    def setUp(self):
        self.prepare()
        self.addCleanup(self.assert_nothing_left)

    async def test_instancesOutliveAServerThatIsKilledAndServeUnderTheNext(self):
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER_PROGRAM, str(self.directory), *map(str, own_ports())],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
        )
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.addCleanup(server.stdout.close)
        self.assertEqual(await Line(server.stdout).said, b"healthy\n")
        pids = self.carriers()
        self.assertGreaterEqual(len(pids), 4)
        ended = Deferred()
        PidWatch(reactor, server.pid, lambda: ended.callback(None)).signal(signal.SIGKILL)
        await ended
        self.assertEqual(self.carriers(), pids)
        records = [json.loads(path.read_text()) for path in (self.directory / "services").glob("*/*/instance.json")]
        self.assertEqual(len(records), 2)
        self.assertLessEqual({record["pid"] for record in records}, set(pids))

        service = self.service()
        self.scheduler = self.make_scheduler()
        await self.scheduler.startService()
        self.addCleanup(self.scheduler.stopService)
        adopted = await self.healthy(service, 2)
        self.assertEqual({each.id for each in adopted}, {record["id"] for record in records})
        self.assertEqual(self.carriers(), pids)
        await self.scheduler.scale(service.id, 3)
        active = await self.healthy(service, 3)
        self.assertEqual(len({each.port for each in active}), 3)
        self.assertTrue((await self.scheduler.kill(adopted[0])).killed)
        self.assertEqual(self.carriers(adopted[0].id), [])
