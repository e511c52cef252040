"""The healthy instances, for those who watch them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.web.server import Request

from waiter.admin.arguments import Arguments, arguments, first, is_true
from waiter.admin.endpoint import Result
from waiter.admin.filters import Effort, make_matcher, service_filter
from waiter.admin.parts import Parts, ShownAggregator
from waiter.admin.views import instance_view
from waiter.admin.watch import Message, Watch, watch_end
from waiter.errors import BadRequest
from waiter.model.instance import Instance
from waiter.model.routing import RoutingState, ServiceState
from waiter.model.service import Service

View = dict[str, Any]


class InstanceListing:
    """Shows the healthy instances of all services as they come and go."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def watch(self, request: Request) -> Result:
        """
        The healthy instances of the services that the query parameters choose, then what changes.

        @raise BadRequest: C{watch} is not true, or another parameter is not one of those that can be.
        """
        given = arguments(request)
        if not is_true(given, "watch"):
            raise BadRequest("watch query parameter must be true, no other option is supported.")
        parts = self._parts
        chosen = _chosen(given, service_filter(given, parts.references.get))
        viewer = parts.principal(request)
        # Without naming a user one sees what one may manage.
        only_own = not first(given, "run-as-user")

        def wants(service: Service) -> bool:
            return (not only_own or parts.may_manage(viewer, service.id)) and chosen(service)

        def log_base_url(service_id: str) -> str | None:
            return parts.identity.url if parts.may_manage(viewer, service_id) else None

        watched = WatchedInstances(parts.aggregator, wants=wants, log_base_url=log_base_url)
        return Watch(parts.clock, watched, watch_end(given, parts.is_draining))


class WatchedInstances:
    """The healthy instances that one client wants to hear of."""

    def __init__(
        self,
        aggregator: ShownAggregator,
        *,
        wants: Callable[[Service], bool],
        log_base_url: Callable[[str], str | None],
    ) -> None:
        """
        @param wants: whether it wants to hear of the instances of a service.
        @param log_base_url: this router's URL for a service whose logs it may see.
        """
        self._aggregator = aggregator
        self._wants = wants
        self._log_base_url = log_base_url
        self._told_states: dict[str, ServiceState] = {}
        # Of each service what the client has been told, by instances.
        self._told: dict[str, dict[str, View]] = {}

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call C{changed} at each change from now on; calling what is returned ends that."""
        return self._aggregator.states.subscribe(lambda _: changed())

    def find(self) -> Iterator[None]:
        """
        Find those that there are, a service at a time.

        @raise BadRequest: a pattern is too complicated for one of them.
        """
        for service_id, state in self._aggregator.state.services.items():
            self._take_in(service_id, state)
            yield

    def initial(self) -> Message:
        """Those that were found."""
        return _message("initial", {"updated": [view for views in self._told.values() for view in views.values()]})

    def events(self) -> Message | None:
        """
        Those that are new or have changed, and those that are healthy no more.

        @raise BadRequest: a pattern is too complicated for a service.
        """
        updated: list[View] = []
        removed: list[View] = []
        routing: RoutingState = self._aggregator.state
        for service_id in [service_id for service_id in self._told_states if service_id not in routing.services]:
            del self._told_states[service_id]
            removed.extend(self._told.pop(service_id, {}).values())
        for service_id, state in routing.services.items():
            # What has not changed for a service is the very same object.
            if self._told_states.get(service_id) is not state:
                before = self._told.get(service_id, {})
                after = self._take_in(service_id, state)
                updated.extend(view for instance_id, view in after.items() if before.get(instance_id) != view)
                removed.extend(view for instance_id, view in before.items() if instance_id not in after)
        changes = {
            "updated": updated,
            "removed": [{**view, "healthy?": False} for view in removed],
        }
        told = {kind: views for kind, views in changes.items() if views}
        return _message("events", told) if told else None

    def _take_in(self, service_id: str, state: ServiceState) -> Mapping[str, View]:
        self._told_states[service_id] = state
        views = self._views(state) if self._wants(state.service) else {}
        if views:
            self._told[service_id] = views
        else:
            self._told.pop(service_id, None)
        return views

    def _views(self, state: ServiceState) -> dict[str, View]:
        expired = frozenset(instance.id for instance in state.expired)
        base_url = self._log_base_url(state.service.id)

        def view(instance: Instance) -> View:
            return instance_view(instance, healthy=True, expired=instance.id in expired, log_base_url=base_url)

        return {instance.id: view(instance) for instance in state.healthy}


def _chosen(given: Arguments, wanted: Callable[[Service], bool]) -> Callable[[Service], bool]:
    """What C{wanted} lets through of the services that C{service-id} names, if it is given."""
    ids = [value for value in given.get("service-id", ()) if value]
    if not ids:
        return wanted
    effort = Effort()
    matchers = [make_matcher("service-id", value, effort, star_means_any=True) for value in ids]

    def chosen(service: Service) -> bool:
        effort.steps = 0
        return any(matcher(service.id) for matcher in matchers) and wanted(service)

    return chosen


def _message(kind: str, instances: Mapping[str, list[View]]) -> Message:
    return {"object": {"healthy-instances": instances}, "type": kind}
