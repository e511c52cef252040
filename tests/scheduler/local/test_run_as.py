"""Instances of other users, started by root."""

import json
import os
import shutil
import signal
from pathlib import Path
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.passable import passable_directory
from tests.scheduler import servers
from tests.scheduler.local.world import World
from waiter.scheduler.local.records import InstanceDirectory
from waiter.support.users import find_user

# Some that are on most machines.
USERS = ("nobody", "www-data", "daemon")


def program(code):
    """Like L{servers.program}, in an interpreter that everybody may run."""
    interpreter = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin")
    if interpreter is None:
        raise SkipTest("there is no Python that everybody may run")
    return servers.program(code, interpreter)


class RunAsTests(World, TestCase):
    timeout = 60

    def setUp(self):
        if os.geteuid() != 0:
            raise SkipTest("only root may run instances as other users")
        self.users = [user for user in map(find_user, USERS) if user is not None]
        if not self.users:
            raise SkipTest(f"there is none of the users {', '.join(USERS)}")
        self.prepare()
        self.directory = passable_directory(self)
        self.addCleanup(self.assert_nothing_left)

    async def begin(self, **options):
        self.scheduler = self.make_scheduler(**options)
        await self.scheduler.startService()
        self.addCleanup(self.scheduler.stopService)

    async def run_one(self, code, user=None, **parameters):
        service = self.service(cmd=program(code), run_as_user=(user or self.users[0]).name, **parameters)
        await self.scheduler.create(service)
        (instance,) = await self.healthy(service)
        return service, instance

    @staticmethod
    def directory_of(instance):
        return InstanceDirectory(Path(instance.log_directory))

    async def test_theProcessIsTheUsers(self):
        await self.begin()
        tell = (
            "import json\n"
            "told = dict(ids=os.getresuid(), groups=os.getresgid(), more=sorted(os.getgroups()), umask=os.umask(0))\n"
            "told.update(env={k: os.environ[k] for k in ('HOME', 'USER', 'LOGNAME')}, cwd=os.getcwd())\n"
            "json.dump(told, open('told', 'w'))\nserve(listen())"
        )
        for number, user in enumerate(self.users):
            service, instance = await self.run_one(tell, user, version=str(number))
            work = self.directory_of(instance).work
            told = json.loads((work / "told").read_text())
            self.assertEqual((told["ids"], told["groups"]), ([user.uid] * 3, [user.gid] * 3))
            self.assertEqual(told["more"], sorted(set(user.groups)))
            self.assertEqual(told["umask"], 0o022)
            self.assertEqual(told["cwd"], str(work))
            home = user.home if Path(user.home).is_dir() else str(work)
            self.assertEqual(told["env"], {"HOME": home, "USER": user.name, "LOGNAME": user.name})
            self.assertEqual(((work / "told").stat().st_uid, work.stat().st_mode & 0o777), (user.uid, 0o700))
            await self.scheduler.delete(service.id)

    async def test_theUserSeesNothingThatIsNotTheInstances(self):
        await self.begin()
        (self.directory / "services" / "secret").write_text("x")
        (self.directory / "services" / "secret").chmod(0o600)
        try_all = (
            "import json\n"
            "def can(what, *args):\n"
            " try:\n  what(*args)\n  return True\n except OSError:\n  return False\n"
            "up = os.path.dirname(os.getcwd())\n"
            "services = os.path.dirname(os.path.dirname(up))\n"
            "reads = [p for p in (up + '/instance.json', services + '/secret') if can(open, p)]\n"
            "lists = [p for p in (up, os.path.dirname(up), services) if can(os.listdir, p)]\n"
            "makes = [p for p in (up, os.path.dirname(up), services) if can(os.mkdir, p + '/mine')]\n"
            "moves = [n for n in ('exit', 'stdout', 'work', 'instance.json') if can(os.rename, up + '/' + n, 'taken')]\n"
            "links = can(os.link, up + '/instance.json', 'linked') and can(open, 'linked')\n"
            "json.dump([reads, lists, makes, moves, links], open('told', 'w'))\n"
            "open('/dev/stdout', 'a').write('hello\\n')\n"
            "serve(listen())"
        )
        _, instance = await self.run_one(try_all)
        directory = self.directory_of(instance)
        self.assertEqual(json.loads((directory.work / "told").read_text()), [[], [], [], [], False])
        self.assertEqual(directory.stdout.read_text(), "hello\n")
        for path in (directory.stdout, directory.stderr, directory.exit, directory.record, directory.script):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    async def test_allOfItIsKilledEvenWhatLeftItsSession(self):
        await self.begin()
        daemon = (
            "s = listen()\n"
            "for each in (signal.SIGTERM, signal.SIGHUP):\n signal.signal(each, signal.SIG_IGN)\n"
            "if os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  time.sleep(3600)\n os._exit(0)\n"
            "os.wait()\nserve(s)"
        )
        _, instance = await self.run_one(daemon)
        self.assertEqual(len(self.carriers(instance.id)), 3)
        self.assertTrue((await self.scheduler.kill(instance)).killed)
        self.assertEqual(self.carriers(instance.id), [])

    async def test_itsExitCodeIsKnownUnderTheNextServerToo(self):
        await self.begin(on_stop="leave")
        service, instance = await self.run_one(
            "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(9))\nserve(listen())", restart_backoff_factor=1000
        )
        pids = self.carriers(instance.id)
        await self.scheduler.stopService()
        await self.begin()
        (adopted,) = await self.healthy(service)
        self.assertEqual((adopted.id, self.carriers(instance.id)), (instance.id, pids))
        launcher = self.directory_of(adopted).read().pid
        for pid in pids:
            if pid != launcher:
                os.kill(pid, signal.SIGUSR1)
        (failed,) = await self.failed(service)
        self.assertEqual((failed.id, failed.exit_code), (instance.id, 9))

    async def test_whatTheUserWritesAsExitCodeHarmsNobody(self):
        await self.begin()
        forged = (
            "path = os.path.dirname(os.getcwd()) + '/exit'\n"
            "f = open(path, 'r+b')\nf.truncate(1 << 40)\nf.write(b'x' * 100)\nf.flush()\n"
            "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(3600)"
        )
        service = self.service(cmd=program(forged), run_as_user=self.users[0].name, restart_backoff_factor=1000)
        await self.scheduler.create(service)
        (failed,) = await self.failed(service)
        self.assertIsNone(failed.exit_code)

    async def test_deletingWhatItLeftFollowsNoLinks(self):
        await self.begin()
        precious = self.directory / "precious"
        precious.mkdir()
        (precious / "file").write_text("x")
        link = f"os.symlink({str(precious)!r}, 'link')\nos.mkdir('locked')\nos.symlink('/', 'locked/root')\nos.chmod('locked', 0)\n"
        service, instance = await self.run_one(f"{link}serve(listen())")
        directory = self.directory_of(instance)
        self.scheduler._runner._retention.delete(directory)
        while directory.path.exists():
            waiting = Deferred()
            reactor.callLater(0.005, waiting.callback, None)
            await waiting
        self.assertEqual((precious / "file").read_text(), "x")
        del service

    async def test_whereTheUserCannotPassTheReasonIsSaid(self):
        self.directory.chmod(0o700)
        await self.begin()
        service = self.service(cmd=program("serve(listen())"), run_as_user=self.users[0].name)
        await self.scheduler.create(service)
        (failed, *_) = await self.failed(service)
        self.assertIn(f"user '{self.users[0].name}' may not pass {self.directory}", failed.message)
        self.assertIn("chmod o+x", failed.message)
