"""Real instances: what they are given, how completely they end, how their failures are told."""

import contextlib
import errno
import json
import os
import pwd
import signal
import socket
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.port_ranges import own_ports
from tests.scheduler.local.world import SchedulerWorld
from tests.scheduler.servers import SERVER, SLEEPER, program
from waiter.scheduler.environment import service_password
from waiter.scheduler.interface import Signal
from waiter.scheduler.local import runner
from waiter.scheduler.local.ports import port_is_used
from waiter.scheduler.local.processes import snapshot
from waiter.scheduler.local.records import InstanceDirectory


class ProcessCase(SchedulerWorld, TestCase):
    timeout = 60

    async def fail_one(self, cmd, **parameters):
        service = self.service(cmd=cmd, restart_backoff_factor=1000, **parameters)
        await self.scheduler.create(service)
        return (await self.failed(service))[0]

    @staticmethod
    def files(instance):
        return Path(instance.log_directory)


class StartTests(ProcessCase):
    async def test_theInstanceIsToldWhatItNeedsAndNothingElseOfWaiters(self):
        os.environ["SECRET_OF_THE_ROUTER"] = "x"
        self.addCleanup(os.environ.pop, "SECRET_OF_THE_ROUTER")
        told = program("import json; json.dump(dict(os.environ), open('told', 'w')); serve(listen())")
        service, instance = await self.run_one(told, ports=2, env={"COLOUR": "blue and $HOME"})
        work = self.files(instance) / "work"
        environment = json.loads((work / "told").read_text())
        self.assertNotIn("SECRET_OF_THE_ROUTER", environment)
        self.assertEqual(environment["COLOUR"], "blue and $HOME")
        self.assertEqual(environment["PORT0"], str(instance.port))
        self.assertEqual(environment["PORT1"], str(instance.extra_ports[0]))
        self.assertEqual(environment["HOME"], pwd.getpwuid(os.geteuid()).pw_dir)
        self.assertEqual(environment["WAITER_INSTANCE_ID"], instance.id)
        self.assertEqual(environment["WAITER_PASSWORD"], service_password(b"secret", service.id))

    async def test_theRecordOnDiskIsComplete(self):
        service, instance = await self.run_one(SERVER)
        files = self.files(instance)
        self.assertEqual(files, self.directory / "services" / service.id / instance.id)
        self.assertEqual(
            {each.name for each in files.iterdir()}, {"exit", "instance.json", "run.sh", "stderr", "stdout", "work"}
        )
        record = json.loads((files / "instance.json").read_text())
        self.assertEqual(record["id"], instance.id)
        self.assertEqual(record["core"], service.core)
        self.assertEqual(record["ports"], [instance.port])
        self.assertEqual(record["boot-id"], Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        self.assertEqual(record["created-at"], instance.started_at)
        self.assertTrue(record["was-healthy"])
        stat = Path(f"/proc/{record['pid']}/stat").read_text().rsplit(")", 1)[1].split()
        self.assertEqual(record["start-ticks"], int(stat[19]))
        self.assertEqual(os.getsid(record["pid"]), record["pid"])

    async def test_nothingRunsBeforeTheRecordNamesItsProcess(self):
        seen = "cp ../instance.json seen; ps -o pid= -p $PPID > launcher; nice > nice; "
        _, instance = await self.run_one(f"{seen} exec {SERVER}")
        work = self.files(instance) / "work"
        record = json.loads((work / "seen").read_text())
        self.assertEqual(record["pid"], int((work / "launcher").read_text()))
        self.assertIsNotNone(record["start-ticks"])
        self.assertIsNotNone(record["boot-id"])

    async def test_whatCannotBeRecordedDoesNotRun(self):
        write = InstanceDirectory.write

        def write_what_does_not_run(directory, record):
            if record.pid is not None:
                raise OSError(errno.EIO, "Input/output error")
            write(directory, record)

        self.patch(InstanceDirectory, "write", write_what_does_not_run)
        service = self.service(cmd="touch $WAITER_SANDBOX/../../../../ran; sleep 3600", restart_backoff_factor=1000)
        before = self.pipes()
        await self.scheduler.create(service)
        (failed, *_) = await self.failed(service)
        self.assertIn("Input/output error", failed.message)
        self.assertEqual(self.pipes(), before)
        await self.scheduler.delete(service.id)
        self.assertFalse((self.directory / "ran").exists())

    async def test_secretsAreNotOnDisk(self):
        service, instance = await self.run_one(SERVER)
        password = service_password(b"secret", service.id).encode()
        for path in self.files(instance).iterdir():
            if path.is_file():
                self.assertNotIn(password, path.read_bytes())

    async def test_theInstanceInheritsNoDescriptorsButItsPortLock(self):
        leak, other = socket.socketpair()
        self.addCleanup(leak.close)
        self.addCleanup(other.close)
        leak.set_inheritable(True)
        listing = program(
            "found = [(n, os.path.join('/proc/self/fd', n)) for n in os.listdir('/proc/self/fd')]\n"
            "open('fds', 'w').write(' '.join(os.readlink(path) for n, path in found if os.path.lexists(path)))\n"
            "serve(listen())"
        )
        _, instance = await self.run_one(listing)
        links = (self.files(instance) / "work" / "fds").read_text().split()
        self.assertEqual([link for link in links if link.startswith(("socket:", "pipe:", "anon_inode:"))], [])
        locks = [link for link in links if link.startswith(str(self.directory / "locks"))]
        self.assertEqual(locks, [str(self.directory / "locks" / str(instance.port))])

    async def test_bashismsWorkWhereThereIsBash(self):
        if not Path("/bin/bash").exists():
            self.skipTest("there is no bash")
        _, instance = await self.run_one(f"[[ -n $PORT0 ]] && exec {SERVER}")
        self.assertTrue(instance.healthy)

    async def test_quotesAndNewlinesReachTheShellAsTheyAre(self):
        failed = await self.fail_one("printf '%s\\n' \"it's\" 'a \"b\" $HOME'\nfalse")
        self.assertEqual(failed.last_output, ("it's", 'a "b" $HOME'))
        self.assertEqual(failed.exit_code, 1)

    @staticmethod
    def pipes():
        links = set()
        for path in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                links.add(str(path.readlink()))
        return {link for link in links if link.startswith("pipe:")}

    @staticmethod
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    async def test_startingAndEndingLeaksNoDescriptors(self):
        service, _ = await self.run_one(SERVER)

        async def cycle():
            (instance,) = await self.healthy(service)
            await self.scheduler.kill(instance)
            await self.scheduler.scale(service.id, 1)
            await self.healthy(service)

        await cycle()
        before = self.descriptors()
        for _ in range(5):
            await cycle()
        # Threads that look after the instance open some for a moment.
        while self.descriptors() > before + 1:
            await deferLater(reactor, 0.005)


class EndTests(ProcessCase):
    async def assert_killed(self, code, *, extra=1, sign=None, **parameters):
        """The program's instance, of more than C{extra} processes, ends completely."""
        service, instance = await self.run_one(program(code), **parameters)
        pids = self.carriers(instance.id)
        self.assertGreater(len(pids), extra)
        record = json.loads((self.files(instance) / "instance.json").read_text())
        if sign is None:
            result = await self.scheduler.kill(instance)
        else:
            result = await self.scheduler.signal(service.id, instance.id, sign)
        self.assertTrue(result.killed)
        self.assertEqual(self.carriers(instance.id), [])
        self.assertFalse(Path(f"/proc/{record['pid']}").exists())
        self.assertFalse(port_is_used(instance.port))
        return json.loads((self.files(instance) / "instance.json").read_text())

    async def test_workersEndWithTheirInstance(self):
        await self.assert_killed("s = listen()\nfor _ in range(4): os.fork() or time.sleep(3600)\nserve(s)", extra=5)

    async def test_daemonsEndWithTheirInstance(self):
        await self.assert_killed(
            "s = listen()\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0: time.sleep(3600)\n os._exit(0)\n"
            "os.wait()\nserve(s)",
            extra=2,
        )

    async def test_aChildThatHidesItsEnvironmentEndsWithItsInstance(self):
        # The pipe is closed when the child has become another program, and not sooner.
        code = (
            "s = listen()\nhidden, child = os.pipe()\n"
            "if os.fork() == 0:\n os.setsid()\n os.execve('/bin/sleep', ['sleep', '3600'], {})\n"
            "os.close(child)\nos.read(hidden, 1)\nopen('is-hidden', 'w').close()\nserve(s)"
        )
        record = await self.assert_killed(code)
        work = self.directory / "services" / record["service-id"] / record["id"] / "work"
        self.assertTrue((work / "is-hidden").exists())
        self.assertEqual([pid for pid in snapshot() if self.works_in(pid, work)], [])

    @staticmethod
    def works_in(pid, directory):
        try:
            return Path(f"/proc/{pid}/cwd").samefile(directory)
        except OSError:
            return False

    async def test_anInstanceThatIgnoresSIGTERMIsKilledAfterItsGracePeriod(self):
        code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nserve(listen())"
        record = await self.assert_killed(code, termination_grace_period_secs=1)
        self.assertIsNone(record["exit-code"])
        self.assertTrue(record["killed"])
        self.assertGreater(record["ended-at"], record["created-at"] + 1)

    async def test_anInstanceThatIgnoresSIGTERMIsKilledAtOnceByForce(self):
        code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nserve(listen())"
        record = await self.assert_killed(code, termination_grace_period_secs=300, sign=Signal.FORCE_KILL)
        self.assertTrue(record["killed"])

    async def test_anInstanceMayEndInPeaceWithinItsGracePeriod(self):
        code = (
            "s = listen()\ndef stop(*_):\n open('last-words', 'w').write('bye')\n sys.exit(7)\n"
            "signal.signal(signal.SIGTERM, stop)\nserve(s)"
        )
        record = await self.assert_killed(code, termination_grace_period_secs=300)
        files = self.directory / "services" / record["service-id"] / record["id"]
        self.assertEqual((files / "work" / "last-words").read_text(), "bye")
        self.assertEqual((files / "exit").read_text(), "7\n")
        self.assertEqual((record["exit-code"], record["failed"]), (7, False))

    async def test_whatIsOutsideTheGroupIsAlsoAskedToEnd(self):
        code = (
            "s = listen()\nif os.fork() == 0:\n os.setsid()\n"
            " signal.signal(signal.SIGTERM, lambda *_: (open('asked', 'w').write('yes'), os._exit(0)))\n"
            " open('ready', 'w').close()\n while True: time.sleep(3600)\n"
            "while not os.path.exists('ready'): time.sleep(0.001)\nserve(s)"
        )
        record = await self.assert_killed(code, extra=2, termination_grace_period_secs=300)
        files = self.directory / "services" / record["service-id"] / record["id"]
        self.assertEqual((files / "work" / "asked").read_text(), "yes")

    async def test_manyInstancesEndTogether(self):
        service = self.service()
        await self.scheduler.create(service)
        await self.scheduler.scale(service.id, 8)
        active = await self.healthy(service, 8)
        results = await gatherResults([self.scheduler.kill(each) for each in active])
        self.assertEqual([each.killed for each in results], [True] * 8)
        self.assertEqual(self.carriers(), [])

    async def test_stoppingLeavesNothingAndRecordsTheEnds(self):
        service = self.service()
        await self.scheduler.create(service)
        await self.scheduler.scale(service.id, 3)
        active = await self.healthy(service, 3)
        await self.scheduler.stopService()
        self.assertEqual(self.carriers(), [])
        for instance in active:
            record = json.loads((self.files(instance) / "instance.json").read_text())
            self.assertIsNotNone(record["ended-at"])


class FailureTests(ProcessCase):
    async def test_aCommandThatIsNotThereIsExplained(self):
        failed = await self.fail_one("no-such-command-at-all --port $PORT0")
        self.assertEqual(failed.exit_code, 127)
        self.assertIn("exit code 127 (the command was not found)", failed.message)
        self.assertIn("no-such-command-at-all", failed.last_output[-1])

    async def test_theLastLinesOfTheOutputAreShown(self):
        failed = await self.fail_one(program("print(*range(100), sep='\\n'); sys.exit(2)"))
        self.assertEqual(failed.last_output, tuple(map(str, range(90, 100))))

    async def test_theEndOfAHealthyInstanceIsNoticed(self):
        service, instance = await self.run_one(SERVER, restart_backoff_factor=1000)
        record = json.loads((self.files(instance) / "instance.json").read_text())
        children = [pid for pid in self.carriers(instance.id) if pid != record["pid"]]
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        (failed,) = await self.failed(service)
        self.assertEqual((failed.id, failed.exit_code), (instance.id, 137))
        self.assertIn("SIGKILL", failed.message)

    async def test_whenTheLauncherIsKilledTheRestEndsAndTheCodeIsUnknown(self):
        service, instance = await self.run_one(SERVER, restart_backoff_factor=1000)
        record = json.loads((self.files(instance) / "instance.json").read_text())
        os.kill(record["pid"], signal.SIGKILL)
        (failed,) = await self.failed(service)
        self.assertEqual((failed.id, failed.exit_code), (instance.id, None))
        (replacement,) = await self.healthy(service)
        self.assertNotEqual(replacement.id, instance.id)
        # Its place is filled before all of it is gone.
        while json.loads((self.files(instance) / "instance.json").read_text())["ended-at"] is None:
            await deferLater(reactor, 0.005)
        self.assertEqual(self.carriers(instance.id), [])

    async def test_aServerThatGoesToTheBackgroundIsExplainedAndEnded(self):
        failed = await self.fail_one(program("s = listen()\nif os.fork() == 0:\n os.setsid()\n serve(s)"))
        self.assertEqual(failed.exit_code, 0)
        self.assertIn("foreground", failed.advice)
        self.assertEqual(self.carriers(failed.id), [])

    async def test_aProgramThatDoesNotListenIsExplained(self):
        failed = await self.fail_one(SLEEPER, grace_period_secs=1)
        self.assertIn("never-passed-health-checks", failed.flags)
        self.assertIn(f"Nothing listened on $PORT0 ({failed.port})", failed.message)
        self.assertIn("$PORT0", failed.advice)

    async def test_anInstanceThatFindsItsPortTakenIsStartedOnAnother(self):
        pool = self.scheduler._runner._ports
        pool._next = first = own_ports()[0]
        occupier = socket.create_server(("127.0.0.1", first))
        self.addCleanup(occupier.close)
        truth, asked = pool._is_free, []

        def just_missed(port):
            asked.append(port)
            return len(asked) == 1 or truth(port)

        pool._is_free = just_missed
        service, instance = await self.run_one(SERVER, restart_backoff_factor=1000)
        self.assertEqual(asked[0], first)
        self.assertNotEqual(instance.port, first)
        _, instances = self.find(await self.scheduler.services(), service.id)
        self.assertEqual(instances.failed, ())

    async def test_whatTheMachineLacksForAStartIsWaitedForAndNothingIsLeftOfTheTry(self):
        for number, (code, lacking) in enumerate(
            ((errno.EAGAIN, "processes"), (errno.EMFILE, "file descriptors"), (errno.ENOSPC, "disk space"))
        ):
            described = self.service(f"s{number}")

            def refuse(*_, code=code, **__):
                raise OSError(code, os.strerror(code))

            patched = self.patch(runner, "launch", refuse)
            await self.scheduler.create(described)
            record = await self.record(described)
            self.assertIn(f"Waits for {lacking}: ", record.queued_reason)
            self.assertIn(os.strerror(code), record.queued_reason)
            self.assertEqual(self.scheduler._runner._ports._held, set())
            self.assertFalse((self.directory / "services" / described.id).exists())
            patched.restore()
            (instance,) = await self.healthy(described)
            self.assertIsNone((await self.record(described)).queued_reason)
            await self.scheduler.kill(instance)

    async def test_aFullRangeOfPortsIsWaitedFor(self):
        await self.scheduler.stopService()
        only, _ = own_ports()
        self.scheduler = self.make_scheduler(port_range=(only, only))
        # Closed connections linger on the only port, which these instances do not mind.
        self.scheduler._runner._ports._is_free = lambda port: not port_is_used(port)
        await self.scheduler.startService()
        self.addCleanup(self.scheduler.stopService)
        first, second = self.service("first"), self.service("second")
        await self.scheduler.create(first)
        (instance,) = await self.healthy(first)
        await self.scheduler.create(second)
        self.assertIn("ports", (await self.record(second)).queued_reason)
        await self.scheduler.kill(instance)
        await self.healthy(second)
