"""The one owner of this router's view of the world."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from waiter.discovery.batch import CollectedService, SchedulerBatch
from waiter.discovery.distribution import distribute
from waiter.discovery.maintainer import maintainer_view
from waiter.discovery.service_view import ServiceView
from waiter.model.frozen import FrozenDict
from waiter.model.instance import Instance
from waiter.model.routing import RoutingState, ServiceState
from waiter.model.service import Service
from waiter.support.topic import Topic
from waiter.support.turns import SLICE_SECS, next_turn


def _no_config(_service_id: str) -> Mapping[str, int]:
    return {}


class Aggregator:
    """
    Merges what the collectors find into one immutable L{RoutingState}: which services there are, which instances they
    have, and how many slots of each this router may use.

    Nothing is published before the scheduler and the routers have been heard. From then on a state is published when
    routers or services changed; a batch that brings nothing new, or a kill, changes C{state} silently. What has not
    changed for a service is the very same L{ServiceState} in the next state.

    A batch with much that is new is taken in in turns, each of which ends with a state that has what is known by then: nobody
    who follows the states has to take in all of it at once, either. Only the last of them is whole.

    @ivar state: the latest state; its C{iteration} is 0 until the scheduler has been heard.
    @ivar states: every published state, the newest last: what happens during a publication is published after it.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        router_id: str,
        wall: Callable[[], float],
        describe: Callable[[str], Service | None],
        failing: Callable[[str], frozenset[str]],
        deployment_error_config: Callable[[str], Mapping[str, int]] = _no_config,
    ) -> None:
        """
        @param router_id: this router's.
        @param wall: seconds since the epoch; decides only about ages.
        @param describe: the service of an id; services without a description are left out.
        @param failing: the ids of a service's instances that fail again and again and are to be replaced.
        @param deployment_error_config: L{waiter.scheduler.interface.IScheduler.deployment_error_config}.
        """
        self._clock = clock
        self.state = RoutingState()
        self.states: Topic[RoutingState] = Topic()
        self._router_id = router_id
        self._wall = wall
        self._describe = describe
        self._failing = failing
        self._deployment_error_config = deployment_error_config
        self._views: dict[str, ServiceView] = {}
        self._routers: Mapping[str, str] | None = None
        self._watched_since: float | None = None
        self._undescribed: set[str] = set()
        # Batches are taken in one after the other.
        self._lock = DeferredLock()
        # Whether what is known is all of one batch.
        self._whole = False
        # Whether subscribers do not know yet what the views have.
        self._changed = False
        self._being_stopped: Counter[str] = Counter()

    def scheduler_news(self, batch: SchedulerBatch) -> Deferred[None]:
        """
        Take in all that the scheduler has; services that are not in it are gone.

        Fires when that is done, which is at once if it does not take long. Cancelling it leaves the rest out.
        """
        taken_in: Deferred[None] = self._lock.run(self._take_in, batch)
        return taken_in

    async def _take_in(self, batch: SchedulerBatch) -> None:
        now = self._wall()
        if self._watched_since is None:
            self._watched_since = now
        began = self._clock.seconds()
        for service_id, collected in batch.services.items():
            self._take_in_one(service_id, collected, watched_since=self._watched_since, now=now)
            if self._clock.seconds() - began > SLICE_SECS:
                if self._changed:
                    self._whole = False
                    self._renew(time=batch.collected_at)
                    self._publish()
                await next_turn(self._clock)
                began = self._clock.seconds()
        for service_id in self._views.keys() - batch.services.keys():
            self._views.pop(service_id).gone()
            self._changed = True
        self._undescribed &= batch.services.keys()
        if not self._whole:
            # That it is whole now is news, too.
            self._whole = self._changed = True
        if self._changed:
            self._renew(time=batch.collected_at)
        else:
            self.state = attrs.evolve(self.state, iteration=self.state.iteration + 1, time=batch.collected_at)
        self._publish()

    def _take_in_one(self, service_id: str, collected: CollectedService, *, watched_since: float, now: float) -> None:
        service = self._describe(service_id)
        if service is None:
            self._undescribed_service(service_id)
            if service_id in self._views:
                self._views.pop(service_id).gone()
                self._changed = True
            return
        view = self._views.get(service_id)
        if view is None:
            view = self._views[service_id] = ServiceView(self._share, watched_since)
        self._changed |= view.update(
            service,
            collected,
            failing=self._failing(service_id),
            config=self._deployment_error_config(service_id),
            now=now,
        )

    def router_news(self, members: Mapping[str, str]) -> None:
        """Take in the routers, by id their URLs; does nothing when they are as before."""
        if members == self._routers:
            return
        # How slots are shared depends on who the routers are, not on where.
        others = self._routers is None or members.keys() != self._routers.keys()
        self._routers = FrozenDict(members)
        if others:
            for view in self._views.values():
                view.share_again()
        self._changed = True
        if self._watched_since is not None:
            self._renew(time=self.state.time)
            self._publish()

    def stopping(self, instance: Instance) -> Callable[[], None]:
        """The instance is about to be killed. What is returned is to be called when that is over, however it went."""
        self._being_stopped[instance.id] += 1

        def over() -> None:
            self._being_stopped[instance.id] -= 1
            if not self._being_stopped[instance.id]:
                del self._being_stopped[instance.id]

        return over

    def is_being_killed(self, instance_id: str) -> bool:
        """Whether an instance is being killed, or has been and may still be seen."""
        view = self._views.get(instance_id.partition(".")[0])
        return instance_id in self._being_stopped or (view is not None and view.was_killed(instance_id))

    def killed(self, instance: Instance) -> None:
        """
        The instance has been killed: it is offered no more, and shown as killed instead of failed. Subscribers hear of it
        with the next batch.
        """
        view = self._views.get(instance.service_id)
        if view is None:
            return
        view.kill(instance, self._wall())
        self._changed = True
        self._renew(time=self.state.time)

    def is_healthy(self, service_id: str) -> bool:
        """Whether a service has a healthy instance."""
        state = self.state.services.get(service_id)
        return state is not None and bool(state.healthy)

    def view(self) -> dict[str, Any]:
        """The state as C{/state/maintainer} shows it, JSON-able."""
        return maintainer_view(self.state, self._router_id)

    @property
    def _complete(self) -> bool:
        return self._watched_since is not None and self._routers is not None

    def _share(self, service: Service, healthy: tuple[Instance, ...]) -> Mapping[str, int]:
        routers = self._routers or {}
        if self._router_id not in routers:
            return FrozenDict()
        description = service.description
        shares = distribute(routers, healthy, description.concurrency_level, description.distribution_scheme)
        return FrozenDict(shares[self._router_id])

    def _undescribed_service(self, service_id: str) -> None:
        if service_id not in self._undescribed:
            self._undescribed.add(service_id)
            self._log.warn(
                "Service {service_id} runs, but nobody here has described it; it is left out", service_id=service_id
            )

    def _renew(self, *, time: float) -> None:
        services: dict[str, ServiceState] = {
            service_id: view.state for service_id, view in self._views.items() if view.state is not None
        }
        self.state = RoutingState(
            iteration=self.state.iteration + 1,
            time=time,
            routers=self._routers or FrozenDict(),
            services=FrozenDict(services),
            whole=self._whole,
        )

    def _publish(self) -> None:
        if not self._complete or not self._changed:
            return
        self._changed = False
        self.states.publish(self.state)
