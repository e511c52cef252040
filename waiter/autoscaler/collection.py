"""Taking away services that nobody uses any more."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.application.service import Service as RunningService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from waiter.autoscaler.executor import ScalingExecutor
from waiter.model.load import ServiceLoad
from waiter.model.routing import RoutingState, ServiceState
from waiter.model.service import Service
from waiter.support.periodic import Periodic

Rule = Callable[[ServiceState, ServiceLoad, float], str | None]
"""Given a service, its load and for how many seconds it has been idle: why it should go now, or C{None}."""


def idle_too_long(state: ServiceState, load: ServiceLoad, idle_secs: float) -> str | None:
    """A service goes when it has been idle for longer than its C{idle-timeout-mins}; 0 means never."""
    timeout_mins = state.service.description.idle_timeout_mins
    if load.outstanding or timeout_mins <= 0 or idle_secs <= timeout_mins * 60:
        return None
    return f"no request for {timeout_mins:g} minutes"


@attrs.define(kw_only=True)
class _Watch:
    """
    @ivar active_at: when the service was last seen in use, or first seen at all; in the clock's seconds.
    @ivar not_before: when to try again after it could not be deleted.
    @ivar deleting: whether that is under way.
    """

    active_at: float
    not_before: float = 0.0
    deleting: bool = False


class IdleCollector(RunningService):
    """
    Deletes the services that a rule gives a reason for. A deleted one is still known, and its next request creates it anew.

    A service is idle from the end of its last request on, but not from before this router first saw it: after a restart
    the clock begins again. All its instances are locked before it is deleted; if one of them is in use after all, it stays.
    A request that comes during the deletion waits, and is served by a new instance after it.

    Every router watches, only the leader deletes. Where nothing is known about the load of a service, it stays.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        executor: ScalingExecutor,
        *,
        loads: Callable[[], Mapping[str, ServiceLoad] | None],
        is_leader: Callable[[], bool],
        interval_secs: float = 1.0,
        retry_secs: float = 5.0,
        rules: Sequence[Rule] = (idle_too_long,),
    ) -> None:
        """
        @param loads: the load of every service, over all routers; C{None} if not known.
        @param is_leader: whether this router decides for the cluster.
        @param retry_secs: how long to wait after a service could not be deleted.
        @param rules: asked in this order; the first reason counts.
        """
        self.setName("idle-collector")
        self._clock = clock
        self._executor = executor
        self._loads = loads
        self._is_leader = is_leader
        self._retry_secs = retry_secs
        self._rules = rules
        self._look = Periodic(clock, interval_secs, self._look_at_all, name="idle-collector")
        self._state: RoutingState | None = None
        self._watches: dict[str, _Watch] = {}

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._look.startService()

    def stopService(self) -> Deferred[None]:
        """Look no more. A deletion under way is the executor's."""
        super().stopService()
        return self._look.stopService()

    def update(self, state: RoutingState) -> None:
        """Watch these services from now on."""
        self._state = state
        now = self._clock.seconds()
        for service_id in self._watches.keys() - state.services.keys():
            del self._watches[service_id]
        for service_id in state.services.keys() - self._watches.keys():
            self._watches[service_id] = _Watch(active_at=now)

    def state(self) -> dict[str, Any]:
        """For how long each service has been idle, by service id; JSON-able."""
        now = self._clock.seconds()
        return {
            service_id: {"deleting": watch.deleting, "idle-secs": now - watch.active_at}
            for service_id, watch in self._watches.items()
        }

    def _look_at_all(self) -> None:
        loads = self._loads()
        if self._state is None:
            return
        now = self._clock.seconds()
        if loads is None:
            # Who may be busy elsewhere is not idle.
            for watch in self._watches.values():
                watch.active_at = now
            return
        is_leader = self._is_leader()
        for service_id, watch in tuple(self._watches.items()):
            load = loads.get(service_id)
            if load is None:
                continue
            watch.active_at = max(watch.active_at, now if load.outstanding else load.last_request_at or 0.0)
            if not is_leader or watch.deleting or now < watch.not_before:
                continue
            service_state = self._state.services[service_id]
            if self._executor.ledger.requested(service_id, service_state.counts.requested) is None:
                continue
            reasons = (rule(service_state, load, now - watch.active_at) for rule in self._rules)
            reason = next(filter(None, reasons), None)
            if reason is not None:
                self._delete(service_state.service, watch, reason)

    def _delete(self, service: Service, watch: _Watch, reason: str) -> None:
        def ended(deleted: bool) -> None:
            watch.deleting = False
            watch.not_before = self._clock.seconds() + self._retry_secs
            if deleted:
                self._log.info("{service_id} is stopped: {reason}", service_id=service.id, reason=reason)

        watch.deleting = True
        self._executor.delete(service).addCallback(ended)
