"""L{waiter.fleet.store} against a real ZooKeeper."""

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.contracts.stores import PersistentStoreContract
from tests.integration.zookeeper_server import MISSING, ZooKeeperServer
from waiter.fleet.ensemble import Ensemble
from waiter.fleet.store import ZooKeeperStore
from waiter.fleet.zookeeper import ZooKeeperClient


class WithItsClient(ZooKeeperStore):
    """A store that starts its client before itself and stops it afterwards."""

    async def _start(self):
        await self._client.startService()
        await super().startService()

    def startService(self):
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(self._start())

    def stopService(self):
        return super().stopService().addCallback(lambda _: self._client.stopService())


class ZooKeeperStoreContractTests(PersistentStoreContract, TestCase):
    skip = MISSING

    async def setUp(self):
        self.server = await ZooKeeperServer(self).start()

    def make_store(self):
        client = ZooKeeperClient(reactor, Ensemble(hosts=self.server.hosts))
        return WithItsClient(reactor, client, "/waiter/store")
