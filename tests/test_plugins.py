"""What twistd, twist and trial see of Waiter, and that the fast reactor is fit for a daemon. Each in fresh processes."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

try:
    import uvloop
except ImportError:
    uvloop = None

ROOT = Path(__file__).absolute().parent.parent
SCRIPTS = Path(sys.executable).parent

# A service that needs nothing of Waiter but its reactor and its way of listening: says its pid and loop to whoever
# connects, after a child process of its own has ended. The child's pipes close before it ends, so that only the signal
# can tell of its end.
STAND_IN = """
from waiter.support.reactors import install_fast_reactor
install_fast_reactor()
import os
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from waiter.router.carriers import fast_loop
from waiter.router.listening import ListeningService

class Child(ProcessProtocol):
    def __init__(self, client):
        self.client = client

    def processExited(self, reason):
        said = "{} {} {}".format(os.getpid(), reason.value.exitCode, fast_loop(reactor) is not None)
        self.client.write(said.encode() + b"\\n")

class Telling(Protocol):
    def connectionMade(self):
        reactor.spawnProcess(Child(self.transport), "/bin/sh", ["sh", "-c", "exec >&- 2>&-; sleep 0.2; exit 7"], {})

application = Application("stand-in")
ListeningService(reactor, ["unix:" + os.environ["STAND_IN_SOCKET"]], Factory.forProtocol(Telling)).setServiceParent(application)
"""


class Programs(SynchronousTestCase):
    """Runs the programs that Twisted installs."""

    def environment(self, **more):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WAITER_")}
        return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **more}

    def run_(self, program, *arguments, **environment):
        """What a program says."""
        result = subprocess.run(
            [SCRIPTS / program, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=self.environment(**environment),
        )
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout


class PluginTests(Programs):
    def test_twistdAndTwistListIt(self):
        for program in ("twistd", "twist"):
            self.assertIn("Runs HTTP services that nobody had to deploy", self.run_(program, "--help"))

    def test_theReactorIsListed(self):
        self.assertIn("uvloop\t", self.run_("twistd", "--help-reactors"))
        self.assertIn("uvloop\t", self.run_("trial", "--help-reactors"))

    def test_listingPluginsLoadsNothingHeavy(self):
        program = (
            "import sys\n"
            "from twisted.application.service import IServiceMaker\n"
            "from twisted.application.reactors import IReactorInstaller\n"
            "from twisted.plugin import getPlugins\n"
            "[waiter] = [each for each in getPlugins(IServiceMaker) if each.tapname == 'waiter']\n"
            "[fast] = [each for each in getPlugins(IReactorInstaller) if each.shortName == 'uvloop']\n"
            "heavy = ('klein', 'pydantic', 'uvloop', 'twisted.internet.reactor', 'waiter.tap')\n"
            "print(waiter.module, fast.moduleName, [name for name in heavy if name in sys.modules])\n"
        )
        said = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env=self.environment(),
        ).stdout
        self.assertEqual(said, "waiter.tap waiter.support.reactors []\n")

    def test_twistedStaysOnePackage(self):
        """A C{__init__.py} here would hide Twisted's own."""
        if not (ROOT / "twisted").exists():
            raise SkipTest("these are the tests of an installed package")
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])


class FastReactorTests(Programs):
    """What is needed of a reactor that runs a daemon."""

    def setUp(self):
        if uvloop is None:
            raise SkipTest("uvloop is not there")
        # A socket's path is short, so not below the tests' directory.
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.path = self.directory / "socket"
        self.program = self.directory / "stand_in.tac"
        self.program.write_text(STAND_IN)

    def ask(self):
        """Connect, and return the connection with what the stand-in says."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(60)
        client.connect(str(self.path))
        pid, exit_code, fast = client.makefile().readline().split()
        return client, int(pid), int(exit_code), fast == "True"

    def start(self, *arguments):
        """Start it as a daemon; returns its pid when it has started."""
        self.run_(
            "twistd",
            *arguments,
            "-y",
            str(self.program),
            f"--pidfile={self.directory / 'pid'}",
            f"--logfile={self.directory / 'log'}",
            STAND_IN_SOCKET=str(self.path),
        )
        pid = int((self.directory / "pid").read_text())
        self.addCleanup(self.end, pid)
        return pid

    def test_itRunsADaemonThatSeesItsChildrenEndAndEndsWhenAsked(self):
        daemon = self.start()
        client, pid, exit_code, fast = self.ask()
        self.assertEqual((pid, exit_code, fast), (daemon, 7, True))
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(client.recv(1), b"")
        self.assertFalse(self.path.exists())

    def end(self, pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def test_aReactorThatWasAskedForWins(self):
        daemon = self.start("--reactor", "poll")
        client, pid, exit_code, fast = self.ask()
        self.assertEqual((pid, exit_code, fast), (daemon, 7, False))
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(client.recv(1), b"")

    def test_inTheForegroundItEndsOnEachOfTheUsualSignals(self):
        for sent in (signal.SIGTERM, signal.SIGINT):
            process = subprocess.Popen(
                [SCRIPTS / "twistd", "--reactor", "uvloop", "-n", "--pidfile=", "-y", self.program],
                stdout=subprocess.PIPE,
                text=True,
                env=self.environment(STAND_IN_SOCKET=str(self.path)),
            )
            self.addCleanup(process.stdout.close)
            self.addCleanup(process.kill)
            for line in process.stdout:
                if "Listening on" in line:
                    break
            _, _, exit_code, fast = self.ask()
            self.assertEqual((exit_code, fast), (7, True))
            process.send_signal(sent)
            self.assertIn("Server Shut Down", process.stdout.read())
            # Twisted ends by the signal it was sent.
            self.assertIn(process.wait(60), {0, -sent})

    def test_trialRunsOnIt(self):
        (self.directory / "test_loop.py").write_text(
            "from twisted.internet import reactor\n"
            "from twisted.internet.task import deferLater\n"
            "from twisted.trial.unittest import TestCase\n"
            "from waiter.router.carriers import fast_loop\n"
            "class Tests(TestCase):\n"
            "    async def test_loop(self):\n"
            "        await deferLater(reactor, 0)\n"
            "        self.assertIsNotNone(fast_loop(reactor))\n"
        )
        said = self.run_(
            "trial",
            "--reactor",
            "uvloop",
            f"--temp-directory={self.directory / 'trial'}",
            f"{self.directory}/test_loop.py",
        )
        self.assertIn("PASSED (successes=1)", said)
