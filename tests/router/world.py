"""Clients, a router and instances in memory: everything real but the network, the clock and the catalogue."""

import json
from random import Random

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from tests.reservation.making import make_service
from waiter.catalog.descriptor import Descriptor
from waiter.errors import ServiceUnknown
from waiter.model.identity import Identity
from waiter.model.instance import Instance
from waiter.model.routing import RoutingState, ServiceState
from waiter.reservation.manager import ReserverManager
from waiter.router.backend import BackendPool
from waiter.router.frontend import FrontendFactory
from waiter.router.interstitials import Interstitials
from waiter.router.limits import Limits
from waiter.telemetry.metrics import Metrics

SERVICE_HOST = b"app.example"
WALL = 1_800_000_000.0


class Wire:
    """
    One end of a connection, as a protocol sees it. The test is the network and the other end.

    @ivar end: C{None}, C{"closed"} or C{"aborted"}: what this side did.
    @ivar half: this side sends no more.
    @ivar unsent_bytes: how much of what was written the other end has not taken.
    @ivar stays: closed, it is not lost before the other end has read all.
    @ivar paused: this side does not read; what is delivered meanwhile waits.
    """

    def __init__(self, clock, protocol, peer=("127.0.0.1", 55555), host=("127.0.0.1", 9091)):
        self._clock = clock
        self.protocol = protocol
        self.written = b""
        self.writes = 0
        self.end = None
        self.half = False
        self.stays = False
        self.paused = False
        self.lost = False
        self.producer = None
        self.unsent_bytes = 0
        self._arriving = []
        self._peer = IPv4Address("TCP", *peer)
        self._host = IPv4Address("TCP", *host)
        protocol.makeConnection(self)

    # What the protocol calls.

    def write(self, data):
        assert isinstance(data, bytes), data
        if self.end is None and not self.half:
            self.written += data
            self.writes += 1

    def writeSequence(self, pieces):
        self.write(b"".join(pieces))

    def loseConnection(self):
        if self.end is None and not self.lost:
            assert self.producer is None, "a close that waits for a producer"
            self.end = "closed"
            if self.stays:
                return
            self._clock.callLater(0, self.lose, ConnectionDone())

    def abortConnection(self):
        if self.end != "aborted" and not self.lost:
            self.end = "aborted"
            self._clock.callLater(0, self.lose, ConnectionAborted())

    def loseWriteConnection(self):
        self.half = True

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False
        self._clock.callLater(0, self._arrive)

    def registerProducer(self, producer, streaming):
        assert self.producer is None
        self.producer = producer
        if not streaming:
            self._clock.callLater(0, producer.resumeProducing)

    def unregisterProducer(self):
        self.producer = None

    def getPeer(self):
        return self._peer

    def getHost(self):
        return self._host

    # What the other end does.

    def deliver(self, data):
        if data:
            self._arriving.append(data)
            self._arrive()

    def _arrive(self):
        while self._arriving and not self.paused and not self.lost and self.end is None:
            self.protocol.dataReceived(self._arriving.pop(0))

    def finish(self):
        """The other end sends no more."""
        if not self.lost and self.end is None:
            self.protocol.readConnectionLost()

    def reset(self):
        """The other end breaks the connection."""
        self.lose(ConnectionLost())

    def lose(self, reason):
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(reason))

    def fill(self):
        """The other end does not read."""
        self.producer.pauseProducing()

    def drain(self):
        """It has read everything."""
        self.producer.resumeProducing()

    def take(self):
        """What was written since the last time."""
        written, self.written = self.written, b""
        return written


class Instances:
    """
    The network behind the router.

    @ivar wires: the connections, in the order they were made.
    @ivar refusing: instance ports that refuse connections.
    @ivar slow: connections are made only by L{accept}.
    """

    def __init__(self, clock):
        self._clock = clock
        self.wires = []
        self.refusing = set()
        self.refusal = ConnectError()
        self.slow = False
        self.pending = []
        self.cancelled = 0

    def connect(self, host, port, factory, timeout_secs):
        attempt = Deferred(self._cancel)
        self.pending.append((attempt, port, factory))
        if not self.slow:
            self._clock.callLater(0, self.accept)
        return attempt

    def _cancel(self, attempt):
        self.cancelled += 1

    def accept(self):
        """Let the connection that has waited longest be made."""
        attempt, port, factory = self.pending.pop(0)
        if attempt.called:
            return
        if port in self.refusing:
            attempt.errback(self.refusal)
            return
        protocol = factory()
        wire = Wire(self._clock, protocol, peer=("127.0.0.1", port), host=("127.0.0.1", 40000))
        self.wires.append(wire)
        attempt.callback(protocol)

    @property
    def last(self):
        return self.wires[-1]


class Record:
    """A line of the request log; what is not in it is C{None}."""

    def __init__(self, line):
        self.members = json.loads(line)

    def __getattr__(self, name):
        return self.members.get(name.replace("_", "-"))


class Log:
    wanted = True

    def __init__(self):
        self.records = []

    def write(self, line):
        self.records.append(Record(line))


class Catalogue:
    """Knows one service, by its host, at any port."""

    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.waiting = None
        self.asked = []

    def resolve(self, host, waiter_headers):
        self.asked.append((host, waiter_headers))
        if self.waiting is not None:
            return self.waiting
        if host.partition(b":")[0] != SERVICE_HOST:
            raise ServiceUnknown("Unable to identify service using waiter headers/token")
        return self.descriptor


class World:
    """
    @ivar instances: the L{Instances}.
    """

    def __init__(
        self,
        *,
        instances=1,
        slots=1,
        queue_length=5,
        api=None,
        limits=None,
        password=None,
        debug=False,
        timeouts=None,
        door=None,
        clock=None,
    ):
        self.clock = clock or Clock()
        self.clock.advance(1000)
        self.service = make_service(max_queue_length=queue_length, concurrency_level=slots)
        self.instances = Instances(self.clock)
        self.metrics = Metrics()
        self.log = Log()
        self.reservers = ReserverManager(self.clock, random=Random(1))  # noqa: S311 - the same in every run
        timeouts = {"queue": 300.0, "socket": 900.0, "streaming": 20.0, **(timeouts or {})}
        self.catalogue = Catalogue(
            Descriptor(
                service=self.service,
                queue_timeout_secs=timeouts["queue"],
                socket_timeout_secs=timeouts["socket"],
                streaming_timeout_secs=timeouts["streaming"],
                principal="alice@EXAMPLE",
                debug=debug,
            )
        )
        self.backends = BackendPool(self.clock, self.instances.connect, product="waiter/1", limits=limits or Limits())
        self.interstitials = Interstitials(self.clock)
        self.factory = FrontendFactory(
            self.clock,
            resolver=self.catalogue,
            reservers=self.reservers,
            backends=self.backends,
            api=api if api is not None else Resource(),
            metrics=self.metrics,
            request_log=self.log,
            identity=Identity(
                router_id="r1", cluster="c", version="1", hostnames=("localhost",), port=9091, started_at=WALL
            ),
            own_hosts=frozenset({"localhost", "127.0.0.1", "::1"}),
            limits=limits or Limits(),
            door=door,
            interstitials=self.interstitials,
            password=password or (lambda service_id: None),
            wall=lambda: WALL + self.clock.seconds(),
        )
        self.run_instances(instances, slots)

    def run_instances(self, number, slots=1, name="s"):
        """From now on this many instances are healthy, at ports from 10001 on; their ids begin with C{name}."""
        healthy = tuple(
            Instance(
                id=f"{name}.{n}",
                service_id="s",
                started_at=float(n),
                healthy=True,
                host="127.0.0.1",
                port=10000 + n,
                log_directory="/logs",
            )
            for n in range(1, number + 1)
        )
        state = ServiceState(service=self.service, healthy=healthy, slots={i.id: slots for i in healthy})
        self.reservers.update(RoutingState(services={"s": state} if number else {}))

    def client(self, **address):
        """A new connection."""
        return Wire(self.clock, self.factory.buildProtocol(None), **address)

    def step(self, secs=0.0):
        """Let what is due happen."""
        self.clock.advance(secs)
        for _ in range(5):
            self.clock.advance(0)

    def wait(self, secs):
        """Let time go by as it does, in small steps."""
        for _ in range(int(secs / 0.25)):
            self.clock.advance(0.25)
        self.step()

    def ask(self, request=None, client=None):
        """Send a request; returns the client's wire and the instance's."""
        client = client or self.client()
        client.deliver(request or get())
        self.step()
        return client, self.instances.last

    @property
    def numbers(self):
        return self.metrics.service("s")

    @property
    def reserver(self):
        return self.reservers.find("s")

    def check_idle(self, case):
        """Nothing is in use, nothing is counted as under way."""
        case.assertEqual(self.reserver.slots_in_use, 0)
        case.assertEqual((self.numbers.waiting_to_stream, self.numbers.streaming), (0, 0))
        case.assertEqual(self.reserver.load.waiting, 0)


def head(line, *headers):
    return b"\r\n".join((line, *headers, b"", b""))


def get(target=b"/", *headers, version=b"1.1"):
    return head(b"GET %b HTTP/%b" % (target, version), b"Host: " + SERVICE_HOST, *headers)


def post(body, *headers, method=b"POST", target=b"/"):
    return (
        head(
            b"%b %b HTTP/1.1" % (method, target), b"Host: " + SERVICE_HOST, b"Content-Length: %d" % len(body), *headers
        )
        + body
    )


def chunked(*pieces, trailers=()):
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return body + b"0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"


def unchunk(data):
    """A chunked body, decoded strictly, and its trailers."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            trailers, end, rest = data.rpartition(b"\r\n")
            assert (end, rest) == (b"\r\n", b""), data
            return body, trailers
        body += data[:length]
        assert data[length : length + 2] == b"\r\n", data
        data = data[length + 2 :]


def ok(body=b"hello", *headers):
    return head(b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers) + body


def parse(message):
    """The first line, the headers (lower-case names, in order) and the rest."""
    top, _, rest = message.partition(b"\r\n\r\n")
    first, *lines = top.split(b"\r\n")
    headers = []
    for line in lines:
        name, _, value = line.partition(b": ")
        headers.append((name.lower(), value))
    return first, headers, rest


def values(headers, name):
    return [value for known, value in headers if known == name]
