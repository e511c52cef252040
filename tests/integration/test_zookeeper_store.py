"""L{waiter.fleet.store} against a real ZooKeeper."""

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.contracts.stores import PersistentStoreContract
from tests.fleet.test_store import WithItsClient
from tests.integration.harness import until
from tests.integration.zookeeper_server import MISSING, shared_root
from waiter.catalog.encrypted import EncryptedStore
from waiter.fleet.ensemble import Ensemble
from waiter.fleet.zookeeper import ZooKeeperClient


class ZooKeeperStoreContractTests(PersistentStoreContract, TestCase):
    skip = MISSING

    async def setUp(self):
        self.hosts, self.root = await shared_root()

    def make_store(self):
        return WithItsClient(reactor, ZooKeeperClient(reactor, Ensemble(hosts=self.hosts)), f"{self.root}/store")

    async def test_whatOneWritesTheOthersReadAndHearOf(self):
        ours, theirs = await self.started(), await self.started()
        heard = []
        ours.watch("token/", heard.append)
        # Asked after the log was, and so answered after it.
        await ours.put("token/own", b"")
        version = await theirs.put("token/a", b"1")
        await theirs.put("service/a", b"1")
        await theirs.delete("token/a")

        async def told():
            return sorted(heard)

        await until(told, lambda keys: keys == ["token/a", "token/a", "token/own"])
        self.assertGreater(version, 0)


class EncryptedZooKeeperStoreContractTests(PersistentStoreContract, TestCase):
    skip = MISSING

    async def setUp(self):
        self.hosts, self.root = await shared_root()

    def make_store(self):
        client = ZooKeeperClient(reactor, Ensemble(hosts=self.hosts))
        return EncryptedStore(reactor, WithItsClient(reactor, client, f"{self.root}/store"), ["password"], cost=2)
