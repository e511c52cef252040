"""Tests for L{waiter.tap}."""

import os
from pathlib import Path

from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from waiter.state_directory import lock_state_directory
from waiter.tap import Options, makeService


class OptionsTests(SynchronousTestCase):
    def setUp(self):
        # The variables of whoever runs the tests say nothing here.
        self.patch(os, "environ", {name: value for name, value in os.environ.items() if not name.startswith("WAITER_")})

    def parsed(self, *arguments):
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def test_defaults(self):
        self.assertEqual(self.parsed().settings.listen.http, ("tcp:9091:interface=127.0.0.1",))

    def test_endpointsMayBeRepeated(self):
        options = self.parsed("--http", "unix:/a", "--http", "unix:/b", "--state-dir", "/s")
        self.assertEqual(options.settings.listen.http, ("unix:/a", "unix:/b"))
        self.assertEqual(options.settings.state_path, Path("/s"))

    def test_settingsFile(self):
        path = self.mktemp()
        Path(path).write_text('[cluster]\nname = "lab"\n')
        self.assertEqual(self.parsed("--settings", path).settings.cluster.name, "lab")

    def test_whatDoesNotHoldIsAUsageError(self):
        path = self.mktemp()
        Path(path).write_text("[request]\nqueue-timeout = 1\n")
        error = self.assertRaises(UsageError, self.parsed, "--settings", path)
        self.assertIn("did you mean queue-timeout-ms?", str(error))
        self.assertRaises(UsageError, self.parsed, "--settings", "/nonexistent")

    def test_unknownFlagIsRefused(self):
        self.assertRaises(UsageError, self.parsed, "--nonsense")


def make_service(case, *arguments, settings=""):
    """The service of these arguments and settings, with a state directory that is not there yet."""
    path = Path(case.mktemp())
    path.write_text(settings)
    options = Options()
    options.parseOptions(["--state-dir", case.mktemp(), "--settings", str(path), *arguments])
    return makeService(options)


class MakeServiceTests(SynchronousTestCase):
    def make(self, *arguments, settings=""):
        return make_service(self, *arguments, settings=settings)

    def test_variablesThatAreNoSettingsAreNamedEvenIfItCannotStart(self):
        self.patch(os, "environ", {**os.environ, "WAITER_STAT_DIR": "/elsewhere"})
        held = Path(self.mktemp())
        held.mkdir()
        self.addCleanup(os.close, lock_state_directory(held))
        said = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        with self.assertRaisesRegex(SystemExit, "is in use by another Waiter"):
            self.make("--state-dir", str(held)).privilegedStartService()
        self.assertTrue(any("ignored: WAITER_STAT_DIR" in (formatEvent(event) or "") for event in said), said)

    def test_treeIsInStartingOrderAndNothingIsOpened(self):
        root = self.make()
        names = [service.name or type(service).__name__ for service in root]
        self.assertEqual(names[0], "state directory")
        for earlier, later in [
            ("LocalScheduler", "reservation"),
            ("reservation", "router"),
            ("router", "autoscaler"),
            ("autoscaler", "listening"),
        ]:
            self.assertLess(names.index(earlier), names.index(later))
        self.assertEqual(names[-1], "garbage")
        self.assertFalse(root.services[0].path.exists())

    def test_endpointThatStrangersCanReachIsRefused(self):
        for endpoint in ("tcp:9091", "tcp:9091:interface=0.0.0.0", "tcp6:9091", "systemd:domain=INET:index=0"):
            error = self.assertRaises(SystemExit, self.make, "--http", endpoint)
            self.assertIn("one-user", str(error))

    def test_endpointThatIsNoneIsRefused(self):
        error = self.assertRaises(SystemExit, self.make, "--http", "tcp:http:port")
        self.assertIn("tcp:http:port", str(error))

    def test_settingsThatNoRouterCanWorkWithAreRefusedWithTheirName(self):
        for settings, words in [
            ('[listen]\nhostnames = ["a b"]\n', "listen.hostnames: 'a b' is no host name"),
            ('[defaults]\ncpus = "many"\n', "defaults: the defaults for services do not hold: cpus must be"),
            ("[defaults]\nnonsense = 1\n", "defaults: the defaults for services do not hold: nonsense is not"),
            ("[profiles.fast.defaults]\nports = 99\n", "profiles: the profile 'fast' does not hold: ports must be"),
            (
                "[profiles.fast.defaults]\nstale-timeout-mins = 500\n",
                "profiles: the profile 'fast' does not hold: stale-timeout-mins must be",
            ),
            ('metric-groups = [["(", "web"]]\n', "metric-groups: '(' is not a regular expression"),
        ]:
            error = self.assertRaises(SystemExit, self.make, settings=settings)
            self.assertIn(f"waiter: {words}", str(error))


class RequestLogTests(TestCase):
    async def test_theRequestLogIsWhereTheSettingsSay(self):
        path = Path(self.mktemp())
        root = make_service(self, settings=f'[request-log]\npath = "{path}"\n')
        request_log = root.getServiceNamed("request-log")
        request_log.write("{}\n")
        await request_log.stopService()
        self.assertEqual(path.read_text(), "{}\n")
