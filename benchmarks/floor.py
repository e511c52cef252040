"""
A proxy that looks at nothing: each client's bytes go to a connection of its own, and back. What carrying bytes costs on
Waiter's carriers before anything is parsed, decided or counted: C{floor.py PORT BACKEND_PORT}.
"""

import sys
from typing import Any, cast

from waiter.support.reactors import install

install()

from twisted.internet import reactor  # noqa: E402 - it is the one just installed
from twisted.internet.protocol import Factory, Protocol, connectionDone  # noqa: E402
from twisted.python.failure import Failure  # noqa: E402

from waiter.router.carrier import Carrier  # noqa: E402
from waiter.router.carriers import connector  # noqa: E402
from waiter.router.listening import ListeningService  # noqa: E402


class Side(Protocol):
    """One of the two connections."""

    other: "Side | None" = None

    def join(self, other: "Side") -> None:
        """Whatever comes goes to the other side."""
        self.other = other
        self.dataReceived = cast("Carrier", other.transport).write  # type: ignore[method-assign, assignment]

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        """So is the other."""
        if self.other is not None:
            cast("Carrier", self.other.transport).loseConnection()


class Client(Side):
    """The side that came first."""

    def connectionMade(self) -> None:
        """Nothing is read until there is somewhere to send it."""
        carrier = cast("Carrier", self.transport)
        carrier.pauseProducing()

        def begin(backend: Any) -> None:
            self.join(backend)
            backend.join(self)
            carrier.resumeProducing()

        connect("127.0.0.1", int(sys.argv[2]), Side, 5).addCallback(begin)


connect = connector(reactor)
ListeningService(reactor, [f"tcp:{sys.argv[1]}:interface=127.0.0.1"], Factory.forProtocol(Client)).startService()
reactor.run()
