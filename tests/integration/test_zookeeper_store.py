"""L{waiter.fleet.store} against a real ZooKeeper."""

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.contracts.stores import PersistentStoreContract
from tests.fleet.test_store import WithItsClient
from tests.integration.zookeeper_server import MISSING, shared_root
from waiter.fleet.ensemble import Ensemble
from waiter.fleet.zookeeper import ZooKeeperClient


class ZooKeeperStoreContractTests(PersistentStoreContract, TestCase):
    skip = MISSING

    async def setUp(self):
        self.hosts, self.root = await shared_root()

    def make_store(self):
        return WithItsClient(reactor, ZooKeeperClient(reactor, Ensemble(hosts=self.hosts)), f"{self.root}/store")
