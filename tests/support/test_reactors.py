import subprocess
import sys

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from waiter.support.reactors import Installed, install_fast_reactor

try:
    import uvloop
except ImportError:
    uvloop = None


def run(program):
    """What a fresh interpreter prints."""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    if result.returncode:
        raise AssertionError(result.stderr)
    return result.stdout.strip()


class InstallFastReactorTests(SynchronousTestCase):
    def test_whereAReactorIsThereItStays(self):
        import twisted.internet.reactor  # noqa: F401 - what is to be found

        self.assertIs(install_fast_reactor(), Installed.OTHER)

    def test_whereNoneIsThereTheFastOneIsInstalled(self):
        if uvloop is None:
            raise SkipTest("uvloop is not there")
        said = run(
            "import sys; from waiter.support.reactors import install_fast_reactor\n"
            "assert 'twisted.internet.reactor' not in sys.modules\n"
            "print(install_fast_reactor().name, install_fast_reactor().name)\n"
            "from twisted.internet import reactor\n"
            "from waiter.router.carriers import fast_loop\n"
            "print(type(reactor).__name__, fast_loop(reactor) is not None)"
        )
        self.assertEqual(said, "FAST OTHER\nUvloopReactor True")

    def test_whenATimerIsDueItWakesUpOnce(self):
        if uvloop is None:
            raise SkipTest("uvloop is not there")
        said = run(
            "from waiter.support.reactors import install_fast_reactor\n"
            "install_fast_reactor()\n"
            "from twisted.internet import reactor\n"
            "turns, early = [], []\n"
            "def turn(run=reactor.runUntilCurrent):\n"
            "    turns.append(1)\n"
            "    run()\n"
            "reactor.runUntilCurrent = turn\n"
            "def due(at):\n"
            "    if reactor.seconds() < at: early.append(at)\n"
            "for number in range(100):\n"
            "    secs = 0.0103 * number + 0.01\n"
            "    reactor.callLater(secs, due, reactor.seconds() + secs)\n"
            "reactor.callLater(1.2, reactor.stop)\n"
            "reactor.run()\n"
            "print(early, len(turns) < 200 or len(turns))"
        )
        self.assertEqual(said, "[] True")

    def test_withoutUvloopNothingIsInstalled(self):
        said = run(
            "import sys; sys.modules['uvloop'] = None\n"
            "from waiter.support.reactors import install_fast_reactor\n"
            "print(install_fast_reactor().name, 'twisted.internet.reactor' in sys.modules)"
        )
        self.assertEqual(said, "NO_UVLOOP False")

    def test_importingBringsNoReactorAndNoUvloop(self):
        said = run(
            "import sys; import waiter.support.reactors\n"
            "print([name for name in ('twisted', 'uvloop') if name in sys.modules])"
        )
        self.assertEqual(said, "[]")
