"""A ZooKeeper in memory and time in the test's hands."""

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from tests.doubles.kazoo import MemoryZooKeeper
from waiter.fleet.ensemble import Ensemble
from waiter.fleet.zookeeper import ZooKeeperClient

TIMEOUT = 10.0
ENSEMBLE = Ensemble(hosts="zk:2181", session_timeout_secs=TIMEOUT)


class Reactor(Clock):
    """A clock that other threads, of which there are none, can call."""

    def callFromThread(self, function, *args):
        self.callLater(0, function, *args)


def at_once(_reactor, call):
    """Runs what would need a thread."""
    return maybeDeferred(call).addCallback(lambda _: None)


class World:
    """
    @ivar zookeeper: the server's side of all clients.
    """

    def __init__(self, case):
        self.case = case
        self.reactor = Reactor()
        self.zookeeper = MemoryZooKeeper()

    def client(self, **arguments):
        return ZooKeeperClient(
            self.reactor, ENSEMBLE, make_client=self.zookeeper.client, in_thread=at_once, **arguments
        )

    def started_client(self):
        client = self.client()
        self.result(client.startService())
        return client

    def kazoo(self, number=-1):
        """The double behind a client, in the order they were made."""
        return self.zookeeper.clients[number]

    def settle(self):
        """Let everything happen that needs no time."""
        for _ in range(60):
            self.reactor.advance(0)

    def advance(self, secs, *, step=0.25):
        """Let time pass, in small steps."""
        while secs > 0:
            self.reactor.advance(min(step, secs))
            self.settle()
            secs -= step

    def result(self, deferred):
        """What a Deferred fires with after everything that needs no time."""
        self.settle()
        return self.case.successResultOf(deferred)

    def failure(self, deferred, *types):
        self.settle()
        return self.case.failureResultOf(deferred, *types).value
