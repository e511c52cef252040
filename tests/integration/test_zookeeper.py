"""The client, the list of routers and the election against a real ZooKeeper."""

import logging
from pathlib import Path

from kazoo.client import KazooClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.certificates import Authority
from tests.contracts.router_directories import DirectoryUnderTest, router_directory_contract
from tests.contracts.zookeeper import ZooKeeperClientContract
from tests.fleet.test_directory import directory_of, router
from tests.integration.harness import until
from tests.integration.zookeeper_server import LONGEST_SESSION_SECS, MISSING, own_server, shared_root
from waiter.fleet.curator import RouterNode
from waiter.fleet.ensemble import Ensemble, TLSFiles
from waiter.fleet.leader import LeaderElection
from waiter.fleet.nodes import State, ZooKeeperError, ZooKeeperUnavailable
from waiter.fleet.registration import RouterRegistration
from waiter.fleet.zookeeper import ZooKeeperClient


class ZooKeeperClientContractTests(ZooKeeperClientContract, TestCase):
    skip = MISSING

    async def setUp(self):
        self.hosts, self.root = await shared_root()

    def make_client(self):
        return ZooKeeperClient(reactor, Ensemble(hosts=self.hosts))


def with_server(test):
    """A directory whose client is made when it starts, as the server is only there then."""
    client = ZooKeeperClient(reactor, Ensemble(hosts="there is none yet"))
    other = ZooKeeperClient(reactor, client.ensemble)
    directory = directory_of(reactor, client, router("r"))
    begin, end = directory.startService, directory.stopService
    joining = []

    async def start():
        hosts, root = await shared_root()
        client.ensemble = other.ensemble = Ensemble(hosts=hosts)
        directory.path = directory._children.path = f"{root}/routers"
        directory.registration.path = f"{directory.path}/r"
        directory.election.path = directory.election._latch.path = f"{root}/latch"
        await client.startService()
        await other.startService()
        await begin()

    async def stop():
        await end()
        await other.stopService()
        await client.stopService()

    def join(router_id, url):
        node = RouterNode(cluster="c", router_id=router_id, address="10.0.0.2", port=9091, fqdn="host", registered_at=0)
        joining.append(other.create(f"{directory.path}/{router_id}", node.encode(), ephemeral=True))

    async def settle():
        while joining:
            await joining.pop()
        # A watch comes before any answer that knows of the change; then the list is read, node by node.
        for _ in range(4):
            await client.sync(directory.path)
        await directory.members()
        await until(directory.leader, lambda leader: leader is not None)

    def leave(router_id):
        joining.append(other.delete(f"{directory.path}/{router_id}"))

    directory.startService = lambda: Deferred.fromCoroutine(start())
    directory.stopService = lambda: Deferred.fromCoroutine(stop())
    return DirectoryUnderTest(
        directory=directory,
        router_id="r",
        url="http://10.0.0.1:9091/",
        join=join,
        leave=leave,
        settle=lambda: Deferred.fromCoroutine(settle()),
    )


class DirectoryContractTests(router_directory_contract(with_server)):
    skip = MISSING


class OutageTests(TestCase):
    skip = MISSING
    timeout = 120

    async def setUp(self):
        self.server = await own_server(self)
        self.client = ZooKeeperClient(reactor, Ensemble(hosts=self.server.hosts, session_timeout_secs=2.0))
        self.states = []
        self.client.states.subscribe(self.states.append)
        await self.client.startService()
        self.addCleanup(self.client.stopService)

    async def state(self):
        return self.client.state

    async def becomes(self, state):
        await until(self.state, lambda now: now is state)

    async def was(self, state):
        """It has been so since the start, if only for a moment between two looks."""

        async def states():
            return self.states

        await until(states, lambda states: state in states)

    async def registered(self):
        registration = RouterRegistration(reactor, self.client, "/c/r", b"data")
        await registration.startService()
        self.addCleanup(registration.stopService)
        return registration

    async def node_is_ours(self):
        stat = await self.client.exists("/c/r")
        return stat is not None and stat.owner == self.client.session_id

    async def test_whenTheServerIsKilledAndStartedAgain_theSessionGoesOn(self):
        await self.registered()
        session = self.client.session_id
        self.server.kill()
        await self.was(State.SUSPENDED)
        await self.server.start()
        await self.becomes(State.CONNECTED)
        await until(self.node_is_ours, bool)
        # It had ended on the server had it been away for longer than it took to start.
        if State.LOST not in self.states:
            self.assertEqual(self.client.session_id, session)

    async def test_whenTheServerHangsForLongerThanASession_itCountsAsLostAndTheNodeIsThereAfterwards(self):
        await self.registered()
        self.server.freeze()
        await self.was(State.SUSPENDED)
        await self.becomes(State.LOST)
        self.server.thaw()
        await self.becomes(State.CONNECTED)
        # Whether the session is over then depends on what the server does first when it goes on.
        await until(self.node_is_ours, bool)

    async def test_whenTheSessionIsEndedBySomebodyElse_theNodeIsMadeAgain(self):
        registration = await self.registered()
        session = self.client.session_id
        impostor = KazooClient(hosts=self.server.hosts, client_id=self.client._client.client_id)

        def end_it():
            # Whoever knows a session's id and password can take it over, and close it.
            impostor.start(timeout=60)
            impostor.stop()
            impostor.close()

        logging.getLogger("kazoo").setLevel(logging.CRITICAL)
        self.addCleanup(logging.getLogger("kazoo").setLevel, logging.NOTSET)
        await deferToThread(end_it)

        async def anew():
            return self.client.session_id != session and registration.registered

        await until(anew, bool)
        self.assertIn(State.LOST, self.states)
        await until(self.node_is_ours, bool)

    async def test_whenTheServerHangs_theLeaderStopsToLeadBeforeItsSessionCanEnd(self):
        election = LeaderElection(reactor, self.client, "/latch", "r", interval_secs=0.5)
        election.startService()
        self.addCleanup(election.stopService)

        async def leads():
            return election.leads

        await until(leads, bool)
        self.server.freeze()
        frozen_at = reactor.seconds()
        led_until = frozen_at

        async def still_leads():
            nonlocal led_until
            now = reactor.seconds()
            if election.leads:
                led_until = now
            return election.leads

        await until(still_leads, lambda leads: not leads)
        # Not when that was noticed: this process may have been held up meanwhile.
        self.assertLess(led_until - frozen_at, 2.0)
        self.server.thaw()
        await until(leads, bool)

    async def test_aServerGrantsNoLongerSessionsThanItMay(self):
        client = ZooKeeperClient(reactor, Ensemble(hosts=self.server.hosts, session_timeout_secs=90.0))
        await client.startService()
        self.addCleanup(client.stopService)
        self.assertEqual(client.session_secs, LONGEST_SESSION_SECS)

    async def test_whenTheServerHangs_callsFailInTime(self):
        self.server.freeze()
        with self.assertRaises(ZooKeeperError):
            await self.client.get("/")
        self.server.thaw()

    async def test_whenTheServerHangs_stoppingTakesNoLongerThanItMay(self):
        ensemble = Ensemble(hosts=self.server.hosts, session_timeout_secs=LONGEST_SESSION_SECS)
        client = ZooKeeperClient(reactor, ensemble, stop_secs=0.5)
        await client.startService()
        self.server.freeze()
        began = reactor.seconds()
        await client.stopService()
        # Without a bound it would take as long as a session.
        self.assertLess(reactor.seconds() - began, LONGEST_SESSION_SECS / 3)
        self.server.thaw()

    async def test_whenThereIsNoServer_startingSaysSo(self):
        self.server.kill()
        client = ZooKeeperClient(reactor, Ensemble(hosts=self.server.hosts), connect_secs=0.5)
        with self.assertRaisesRegex(ZooKeeperUnavailable, self.server.hosts):
            await client.startService()
        await client.stopService()


class DigestTests(TestCase):
    skip = MISSING

    async def test_nodesAreForTheUserAlone(self):
        hosts, root = await shared_root()
        ours = ZooKeeperClient(reactor, Ensemble(hosts=hosts, digest="waiter:secret"))
        theirs = ZooKeeperClient(reactor, Ensemble(hosts=hosts, digest="other:secret"))
        for client in (ours, theirs):
            await client.startService()
            self.addCleanup(client.stopService)
        await ours.create(root, b"secret")
        self.assertEqual((await ours.get(root))[0], b"secret")
        with self.assertRaisesRegex(ZooKeeperError, "NoAuth"):
            await theirs.get(root)
        await ours.delete(root)


class TLSTests(TestCase):
    skip = MISSING
    timeout = 180

    async def setUp(self):
        self.authority = Authority()
        self.ca_file = self.mktemp()
        Path(self.ca_file).write_bytes(self.authority.pem)

    def client(self, server, **files):
        client = ZooKeeperClient(
            reactor, Ensemble(hosts=server.secure_hosts, tls=TLSFiles(**files)), connect_secs=60 if files else 1
        )
        self.addCleanup(client.stopService)
        return client

    async def test_whatTheServerProvesIsBelieved(self):
        server = await own_server(self, certificate=self.authority.issue(addresses=["127.0.0.1"]))
        client = self.client(server, ca_file=self.ca_file)
        await client.startService()
        await client.create("/a", bytes(100000))
        self.assertEqual(len((await client.get("/a"))[0]), 100000)

        with self.assertRaises(ZooKeeperUnavailable):
            await self.client(server).startService()

    async def test_aServerOfAnotherNameIsRefused(self):
        server = await own_server(self, certificate=self.authority.issue("other.example"))
        client = ZooKeeperClient(
            reactor, Ensemble(hosts=server.secure_hosts, tls=TLSFiles(ca_file=self.ca_file)), connect_secs=1
        )
        self.addCleanup(client.stopService)
        with self.assertRaises(ZooKeeperUnavailable):
            await client.startService()
