"""One reserver for each service."""

import time
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.application.service import Service as TwistedService
from twisted.internet.interfaces import IReactorTime

from waiter.model.load import ServiceLoad
from waiter.model.routing import RoutingState
from waiter.model.service import Service
from waiter.reservation.context import ReserverContext
from waiter.reservation.ejection import EjectionRules
from waiter.reservation.reserver import InstanceReserver
from waiter.support.topic import Topic

DEFAULT_EJECTION = EjectionRules()


class ReserverManager(TwistedService):
    """
    The way from a service to its L{InstanceReserver}; creates and retires reservers to follow the routing state.

    A request for a service that the routing state does not have yet creates its reserver; that stays as long as somebody
    waits there. It may be used before the service is started. Once stopped it refuses every request for good.

    @ivar demands: the ids of services where a request has just begun to wait. Told each time; whoever acts on it decides
        what is too often.
    @ivar idles: the ids of services of which an instance has just become idle, as long as somebody watches; see
        C{watch_idle}.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        ejection: EjectionRules = DEFAULT_EJECTION,
        lingering_request_secs: float = 60.0,
        random: Random | None = None,
        wall: Callable[[], float] = time.time,
        waiting_to_stream: Callable[[str], int] | None = None,
    ) -> None:
        """
        @param lingering_request_secs: age from which requests no longer protect their expired instance from being killed.
        @param random: draws the instance where a service balances its load at random.
        @param wall: seconds since the epoch; only for showing moments.
        @param waiting_to_stream: how many requests of a service have an instance but no answer yet; it is told to those
            whose queue timeout passes.
        """
        self.setName("reservation")
        self.demands: Topic[str] = Topic()
        self.idles: Topic[str] = Topic()
        self._clock = clock
        self._context = ReserverContext(
            wall=wall,
            random=Random() if random is None else random,  # noqa: S311 - spreads load, guards nothing
            ejection=ejection,
            lingering_secs=lingering_request_secs,
            demand=self.demands.publish,
            became_idle=self.idles.publish,
            successor=self.reserver,
            idle=self._retire,
            waiting_to_stream=waiting_to_stream,
        )
        self._reservers: dict[str, InstanceReserver] = {}
        self._state = RoutingState()
        self._stopped = False
        self._watched = False

    def stopService(self) -> None:
        """Refuse all requests from now on, those that wait included. Leases may still be given back."""
        super().stopService()
        self._stopped = True
        for reserver in list(self._reservers.values()):
            reserver.close()

    def reserver(self, service: Service) -> InstanceReserver:
        """The reserver of a service, created if there is none."""
        reserver = self._reservers.get(service.id)
        if reserver is None:
            reserver = self._reservers[service.id] = InstanceReserver(self._clock, service, self._context)
            reserver.watch_idle(self._watched)
            if self._stopped:
                reserver.close()
        return reserver

    def find(self, service_id: str) -> InstanceReserver | None:
        """The reserver of a service, if there is one."""
        return self._reservers.get(service_id)

    def update(self, state: RoutingState) -> None:
        """
        Follow the routing state: tell each reserver about its service, create those that are missing, and retire those whose
        service is gone as soon as nothing is left for them to do.
        """
        if self._stopped:
            return
        self._state = state
        for service_state in state.services.values():
            self.reserver(service_state.service).update(service_state)
            # A request served by this may have brought a newer state, which must not be overwritten with the older one.
            if self._state is not state:
                return
        for service_id in self._reservers.keys() - state.services.keys():
            self._reservers[service_id].orphan()

    def watch_idle(self, watched: bool) -> None:
        """Say whether C{idles} is to be told."""
        if watched != self._watched:
            self._watched = watched
            for reserver in self._reservers.values():
                reserver.watch_idle(watched)

    def is_waited_for(self, service_id: str) -> bool:
        """Whether requests wait for an instance of a service."""
        reserver = self._reservers.get(service_id)
        return reserver is not None and reserver.load.waiting > 0

    def loads(self) -> dict[str, ServiceLoad]:
        """How much is asked of each service, by service id."""
        return {service_id: reserver.load for service_id, reserver in self._reservers.items()}

    def failing(self, service_id: str) -> frozenset[str]:
        """The instances of a service that have failed so often in a row that they are to be replaced."""
        reserver = self._reservers.get(service_id)
        return frozenset() if reserver is None else reserver.failing()

    def state(self) -> dict[str, Any]:
        """What is shown of all reservers, JSON-able: the slots of each instance, and where somebody waits for how long."""
        now = self._clock.seconds()
        return {
            "service-id->my-instance->slots": {key: reserver.slots for key, reserver in self._reservers.items()},
            "service-id->responder": {key: reserver.summary(now) for key, reserver in self._reservers.items()},
        }

    def _retire(self, reserver: InstanceReserver) -> None:
        if self._reservers.get(reserver.service.id) is reserver:
            del self._reservers[reserver.service.id]
        reserver.retire()
