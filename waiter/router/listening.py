"""Where requests come in: the service that owns the listening sockets."""

import os
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import attrs
from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from waiter.router.acceptor import TOO_MANY, Acceptor
from waiter.router.binding import Bound, CannotListen, bind
from waiter.router.carriers import admitter, fast_loop
from waiter.router.certificates import Certificates
from waiter.router.door import Door, share_of
from waiter.router.endpoint import Endpoint, OtherEndpoint, TLSEndpoint, is_loopback, parse_endpoint
from waiter.router.pem import BadPEM
from waiter.router.tls import ServerTLSFactory
from waiter.support.limits import raise_open_files_limit
from waiter.support.periodic import Periodic
from waiter.support.threads import in_thread
from waiter.telemetry.counters import RouterMetrics

__all__ = ["CannotListen", "ListeningService", "is_loopback"]

# How long it is not logged again that no more connections are accepted.
_SILENCE_SECS = 60


@attrs.frozen(kw_only=True)
class _Served:
    """An endpoint of our own that is open."""

    bound: Bound
    acceptor: Acceptor


class ListeningService(Service):
    """
    Listens on endpoints, given as Twisted's endpoint strings.

    C{tcp:}, C{tcp6:}, C{unix:}, C{systemd:}, C{ssl:} and C{tls:} are served on carriers where the reactor runs on uvloop. All
    that plugins bring is served on the reactor's own transports, as Twisted does it.

    Certificates are read when the sockets are opened, and again when their files change.

    The sockets are bound and listen from C{privilegedStartService} on, so that a port that is taken ends the program and
    early clients wait instead of being refused; connections are accepted from C{startService} to C{stopService}.

    @ivar addresses: where it listens, in the order of the endpoints; empty while it does not.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        endpoints: Sequence[str],
        factory: IProtocolFactory,
        *,
        fast: bool | None = None,
        certificates_secs: float = 5.0,
        door: Door | None = None,
        numbers: RouterMetrics | None = None,
    ) -> None:
        """
        @param certificates_secs: how often it is looked whether certificates have changed.
        @param fast: whether to use carriers; if not said, where the reactor can.
        @param door: when enough have come to the factory. If it has no bound, it gets one that fits the number of files this
            process may have open.
        @param numbers: where TLS handshakes that fail are counted.
        @raise ValueError: an endpoint cannot be understood, or the reactor has no carriers.
        """
        self.setName("listening")
        self._reactor = reactor
        self._endpoints: tuple[Endpoint, ...] = tuple(parse_endpoint(endpoint) for endpoint in endpoints)
        self._factory = factory
        self._fast = fast_loop(reactor) is not None if fast is None else fast
        if self._fast and fast_loop(reactor) is None:
            raise ValueError("the reactor does not run on uvloop, so it has no carriers")
        self._served: list[_Served] = []
        self._ports: list[IListeningPort] = []
        self._open_now = False
        self._certificates: list[Certificates] = []
        self._reading = Periodic(
            reactor,
            certificates_secs,
            lambda: Deferred.fromCoroutine(self._refresh()),
            name="certificates",
            at_once=False,
        )
        self._silent_until = float("-inf")
        self._numbers = numbers or RouterMetrics()
        self._door = door or Door()
        self._door.watch(self._crowded)
        self.addresses: list[IAddress] = []

    def privilegedStartService(self) -> None:
        """
        Open all sockets.

        @raise CannotListen: one cannot be opened; the others are closed again.
        """
        super().privilegedStartService()
        self._open_all()

    def startService(self) -> None:
        """Accept. Opens the sockets first where nothing called C{privilegedStartService}, as C{twist} does not."""
        super().startService()
        self._open_all()
        _, files = raise_open_files_limit()
        if self._door.most is None:
            self._door.limit(share_of(files))
        for served in self._served:
            self._factory.doStart()
            served.acceptor.start()
        for port in self._ports:
            _resume(port)
        if self._certificates:
            self._reading.startService()
        for address in self.addresses:
            self._log.info(
                "Listening on {where} (up to {most} connections; {files} open files)",
                where=_spoken(address),
                most=self._door.most,
                files=files,
            )

    def stopService(self) -> Deferred[None]:
        """Accept no more and close the sockets. Fires when they are closed; connections are left alone."""
        started = self.running
        super().stopService()
        ended = gatherResults([self._close_all(started=bool(started)), self._reading.stopService()], consumeErrors=True)
        return ended.addCallback(_nothing)

    def _open_all(self) -> None:
        if self._open_now:
            return
        self._open_now = True
        try:
            for endpoint in self._endpoints:
                self.addresses.append(self._open(endpoint))
        except CannotListen:
            self._close_all(started=False)
            raise

    def _open(self, endpoint: Endpoint) -> IAddress:
        if isinstance(endpoint, OtherEndpoint):
            return self._open_other(endpoint)
        factory = self._factory
        if isinstance(endpoint, TLSEndpoint):
            factory = ServerTLSFactory(self._loaded(endpoint), factory, self._reactor, self._numbers)
        bound = bind(endpoint.tcp if isinstance(endpoint, TLSEndpoint) else endpoint)
        admit = admitter(self._reactor, factory, bound.address, fast=self._fast)
        refusal = b"" if isinstance(endpoint, TLSEndpoint) else TOO_MANY
        acceptor = Acceptor(self._reactor, bound.socket, admit, name=endpoint.text, door=self._door, refusal=refusal)
        self._served.append(_Served(bound=bound, acceptor=acceptor))
        return bound.address

    def _loaded(self, endpoint: TLSEndpoint) -> Certificates:
        certificates = Certificates(endpoint)
        try:
            certificates.load()
        except BadPEM as error:
            raise CannotListen(endpoint.text, f"{error}.") from error
        except OSError as error:
            raise CannotListen(endpoint.text, f"{error.filename} cannot be read: {error.strerror}.") from error
        self._certificates.append(certificates)
        return certificates

    async def _refresh(self) -> None:
        for certificates in self._certificates:
            await certificates.refresh(partial(in_thread, self._reactor))

    def _open_other(self, endpoint: OtherEndpoint) -> IAddress:
        """Twisted's endpoints begin to accept at once, so their ports are paused until it is time."""
        results: list[Any] = []
        try:
            listening = serverFromString(self._reactor, endpoint.text).listen(self._factory)
        except Exception as error:
            raise CannotListen(endpoint.text, str(error)) from error
        listening.addBoth(results.append)
        if not results:
            listening.cancel()
            raise CannotListen(
                endpoint.text, f"{endpoint.kind}: endpoints take their time to open, which is not supported"
            )
        if isinstance(results[0], Failure):
            raise CannotListen(endpoint.text, results[0].getErrorMessage()) from results[0].value
        port = cast("IListeningPort", results[0])
        self._ports.append(port)
        _pause(port)
        if self._fast:
            self._log.info("{endpoint} is served on the reactor's own transports", endpoint=endpoint.text)
        return port.getHost()

    def _crowded(self, full: bool) -> None:
        """There are enough connections, or not any more."""
        for served in self._served:
            if full:
                served.acceptor.pause()
            else:
                served.acceptor.resume()
        if not self.running:
            return
        for port in self._ports:
            if full:
                _pause(port)
            else:
                _resume(port)
        now = self._reactor.seconds()
        if full and now >= self._silent_until:
            self._silent_until = now + _SILENCE_SECS
            self._log.warn(
                "{most} connections are open, as many as there may be (listen.max-connections). More are accepted when some "
                "are closed; those that are idle are closed early.",
                most=self._door.most,
            )

    def _close_all(self, *, started: bool) -> Deferred[None]:
        served, self._served = self._served, []
        ports, self._ports = self._ports, []
        self._certificates = []
        self.addresses = []
        self._open_now = False
        for each in served:
            each.acceptor.stop()
            each.bound.release()
            if started:
                self._factory.doStop()
        closing = gatherResults([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)
        return closing.addCallback(_nothing)


def _nothing(_: object) -> None:
    """What Deferreds fire with that have nothing to tell."""


def _spoken(address: IAddress) -> str:
    """As it is written elsewhere."""
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    name = getattr(address, "name", None)
    return os.fsdecode(name).replace("\0", "@") if isinstance(name, bytes) else str(address)


def _pause(port: IListeningPort) -> None:
    stop = getattr(port, "stopReading", None)
    if stop is not None:
        stop()


def _resume(port: IListeningPort) -> None:
    start = getattr(port, "startReading", None)
    if start is not None:
        start()
