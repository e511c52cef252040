"""L{waiter.fleet_assembly}, and that nobody pays for ZooKeeper who does not use it."""

import subprocess
import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fleet.world import Reactor
from waiter.fleet_assembly import make_fleet
from waiter.model.identity import Identity
from waiter.settings import Settings, SettingsError

IDENTITY = Identity(
    router_id="r1", cluster="c", version="1", hostnames=("localhost",), port=9091, started_at=1700000000
)


class FleetAssemblyTests(SynchronousTestCase):
    def fleet(self, zookeeper, **more):
        settings = Settings.model_validate({"zookeeper": zookeeper, **more})
        return make_fleet(Reactor(), settings, IDENTITY)

    def refused(self, zookeeper, **more):
        return str(self.assertRaises(SettingsError, self.fleet, zookeeper, **more))

    def test_withoutAConnectStringThereIsNone(self):
        self.assertIsNone(make_fleet(Clock(), Settings(), IDENTITY))

    def test_nodesAreWhereTheOriginalHasThem(self):
        fleet = self.fleet({"connect-string": "a:2181,b:2181"})
        self.assertEqual(fleet.client.ensemble.hosts, "a:2181,b:2181")
        self.assertEqual(fleet.directory.registration.path, "/waiter/discovery-v2-v2/c/r1")
        self.assertEqual(fleet.directory.election.path, "/waiter/leader-latch")

    def test_aPathInTheConnectStringGoesBeforeAllOthers(self):
        fleet = self.fleet(
            {
                "connect-string": "a/team",
                "base-path": "/w/x",
                "discovery-relative-path": "d",
                "leader-latch-relative-path": "l",
            }
        )
        self.assertEqual(fleet.client.ensemble.hosts, "a")
        self.assertEqual(fleet.directory.path, "/team/w/x/d-v2/c")
        self.assertEqual(fleet.directory.election.path, "/team/w/x/l")

    def test_aLookAtTheLatchIsGoodForLessThanASession(self):
        for milliseconds in (1000, 10000, 40000):
            fleet = self.fleet({"connect-string": "a", "session-timeout-ms": milliseconds})
            election = fleet.directory.election
            lease_secs = election._lease * fleet.client.session_secs
            self.assertLess(lease_secs, milliseconds / 1000)
            self.assertLess(election._rounds._interval_secs * 2, lease_secs)

    def test_othersAreToldTheAddressThatIsSet(self):
        fleet = self.fleet({"connect-string": "a", "address": "host.example"})
        self.assertEqual(fleet.directory.members_now, {"r1": "http://host.example:9091/"})
        fleet = self.fleet({"connect-string": "a"})
        self.assertEqual(fleet.directory.members_now, {"r1": "http://127.0.0.1:9091/"})

    def test_whatDoesNotHoldIsNamed(self):
        self.assertIn("zookeeper.connect-string: 'a:b'", self.refused({"connect-string": "a:b"}))
        self.assertIn(
            "zookeeper.address: other routers cannot reach a UNIX socket",
            self.refused({"connect-string": "a"}, listen={"http": ["unix:/a"]}),
        )

    def test_secretsAreNotShown(self):
        from waiter.effective_settings import effective_settings

        settings = Settings.model_validate({"zookeeper": {"connect-string": "a", "digest": "me:pass-word"}})
        self.assertNotIn("pass-word", str(effective_settings(settings, IDENTITY, "")))
        self.assertNotIn("pass-word", repr(settings))
        self.assertNotIn("pass-word", repr(make_fleet(Reactor(), settings, IDENTITY).client.ensemble))

    def test_kazooIsImportedByTheStartOfAClientAlone(self):
        program = (
            "import sys\n"
            "from twisted.internet import reactor\n"
            "from waiter.assembly import assemble\n"
            "from waiter.settings import Settings\n"
            "assemble(reactor, Settings.model_validate({'state-dir': '/nonexistent', 'zookeeper': {'connect-string': 'a'}}))\n"
            "print([name for name in sys.modules if name.startswith('kazoo')])\n"
        )
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        self.assertEqual(said, "[]\n")
