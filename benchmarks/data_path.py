"""
What the router's own Python costs per request, without any network: a connection from a client, one to an instance and all
between them in memory. The difference to the whole cost of a request is sockets, carriers and the kernel.

Prints microseconds of CPU time for requests whose headers and answers are known from the one before, and what is added where
either is new each time, or where a token stands for what the headers say. With C{--profile} it shows where the time goes instead.
"""

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from waiter.catalog.hosts import own_hosts
from waiter.catalog.memory import MemoryStore
from waiter.catalog.resolver import Resolver, Timeouts
from waiter.catalog.services import ServiceCatalog
from waiter.model.identity import Identity
from waiter.model.instance import Instance
from waiter.model.routing import RoutingState, ServiceState
from waiter.model.token import Token
from waiter.reservation.manager import ReserverManager
from waiter.router.backend import BackendPool
from waiter.router.frontend import FrontendFactory
from waiter.telemetry.metrics import Metrics
from waiter.telemetry.request_log import RequestLog

REQUEST = b"\r\n".join(
    (
        b"GET /hello?x=1 HTTP/1.1",
        b"Host: localhost",
        b"x-waiter-cmd: python3 -m http.server $PORT0",
        b"x-waiter-version: v1",
        b"x-waiter-cpus: 0.1",
        b"x-waiter-mem: 128",
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        b"Accept-Language: en-GB,en;q=0.5",
        b"Accept-Encoding: gzip, deflate, br, zstd",
        b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
        b"Referer: http://localhost/index.html",
        b"X-New: %04d",
        b"",
        b"",
    )
)
_DESCRIBED = REQUEST[REQUEST.index(b"x-waiter-cmd") : REQUEST.index(b"User-Agent")]
BY_TOKEN = REQUEST.replace(_DESCRIBED, b"x-waiter-token: hello\r\n")
TOKEN = Token(
    name="hello",
    data={"cmd": "python3 -m http.server $PORT0", "version": "v1", "cpus": 0.1, "mem": 128, "owner": "nobody"},
    updated_at=0.0,
    updated_by="nobody",
    cluster="c",
    root="c",
)
ANSWER = b"\r\n".join(
    (
        b"HTTP/1.1 200 OK",
        b"Server: nginx/1.22.1",
        b"Date: Sun, 22 Nov 2026 20:00:%04d GMT",
        b"Content-Type: text/plain",
        b"Content-Length: 12",
        b"Last-Modified: Sun, 22 Nov 2026 20:00:00 GMT",
        b"Connection: keep-alive",
        b'ETag: "637d2a0e-c"',
        b"Accept-Ranges: bytes",
        b"",
        b"Hello world\n",
    )
)


class End:
    """The transport of a connection of which only what goes in is of interest."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        """Drop it."""

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """There is no back-pressure."""

    def getPeer(self) -> IPv4Address:
        """Somebody on this machine."""
        return IPv4Address("TCP", "127.0.0.1", 50000)

    getHost = getPeer


class RunningClock(Clock):
    """Tells the real time, and calls nothing by itself."""

    seconds = staticmethod(time.monotonic)


class DataPath:
    """A client's connection and an instance's, with all of Waiter that lies on the way."""

    def __init__(self, log: Path, request: bytes = REQUEST) -> None:
        """@param request: what is asked, with a place for a number."""
        clock = RunningClock()
        store = MemoryStore()
        services = ServiceCatalog(store, prefix="waiter-service-")
        for service in (store, services):
            service.startService()
        self._reservers = ReserverManager(clock)
        hosts = own_hosts(("localhost",))
        self._instances: list[End] = []
        factory = FrontendFactory(
            clock,
            resolver=Resolver(
                services,
                own_hosts=hosts,
                principal="nobody",
                timeouts=Timeouts(),
                validate=lambda _: None,
                tokens={"hello": TOKEN}.get,
            ),
            reservers=self._reservers,
            backends=BackendPool(clock, self._connect),
            api=Resource(),
            metrics=Metrics(),
            request_log=RequestLog(log, clock),
            identity=Identity(
                router_id="r", cluster="c", version="0", hostnames=("localhost",), port=9091, started_at=0
            ),
            own_hosts=hosts,
            password=lambda _: "secret",
        )
        client = End(factory.buildProtocol(None))
        self._reservers.demands.subscribe(lambda service_id: clock.callLater(0, self._start, services.get(service_id)))
        client.protocol.dataReceived(request % 0)
        clock.advance(0)
        clock.advance(0)
        self.from_client: Callable[[bytes], None] = client.protocol.dataReceived
        self.from_instance: Callable[[bytes], None] = self._instances[0].protocol.dataReceived
        self.from_instance(ANSWER % 0)

    def _connect(self, _host: str, _port: int, factory: Callable[[], Any], _timeout_secs: float) -> Any:
        self._instances.append(End(factory()))
        return succeed(self._instances[-1].protocol)

    def _start(self, service: Any) -> None:
        instance = Instance(id=f"{service.id}.1", service_id=service.id, healthy=True, host="127.0.0.1", port=10000)
        state = ServiceState(service=service, healthy=(instance,), slots={instance.id: 1})
        self._reservers.update(RoutingState(services={service.id: state}))

    def run(self, requests: list[bytes], answers: list[bytes]) -> None:
        """One request and its answer after the other."""
        from_client, from_instance = self.from_client, self.from_instance
        for request, answer in zip(requests, answers, strict=True):
            from_client(request)
            from_instance(answer)


def cost_us(work: Callable[[], None], number: int) -> float:
    """The least CPU time of several runs, per request."""
    best = float("inf")
    for _ in range(7):
        before = time.process_time()
        work()
        best = min(best, time.process_time() - before)
    return best / number * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    number = options.requests
    same_requests, same_answers = [REQUEST % 0] * number, [ANSWER % 0] * number
    # More than are remembered.
    new_requests = [REQUEST % (n % 10000) for n in range(number)]
    new_answers = [ANSWER % (n % 10000) for n in range(number)]
    with tempfile.TemporaryDirectory() as directory:
        path = DataPath(Path(directory) / "requests.log")
        known = partial(path.run, same_requests, same_answers)
        known()
        if options.profile:
            profile = cProfile.Profile()
            profile.runcall(known)
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)
            return
        base = cost_us(known, number)
        print(f"all known            {base:6.1f} us")
        print(f"headers new     {cost_us(partial(path.run, new_requests, same_answers), number) - base:+11.1f} us")
        named = DataPath(Path(directory) / "more.log", BY_TOKEN)
        by_token = partial(named.run, [BY_TOKEN % 0] * number, same_answers)
        by_token()
        print(f"by a token      {cost_us(by_token, number) - base:+11.1f} us")
        print(f"answers new     {cost_us(partial(path.run, same_requests, new_answers), number) - base:+11.1f} us")


if __name__ == "__main__":
    main()
