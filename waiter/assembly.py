"""The composition root: the one module that knows every class."""

import atexit
import os
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from waiter.admin.app import api_resource
from waiter.admin.health_request import HealthRequests
from waiter.admin.parts import Parts
from waiter.autoscaler.autoscaler import Autoscaler
from waiter.autoscaler.collection import IdleCollector
from waiter.autoscaler.evictor import Evictor
from waiter.autoscaler.executor import ScalingExecutor
from waiter.catalog.encrypted import EncryptedStore
from waiter.catalog.hosts import own_hosts
from waiter.catalog.interface import StoreUnusable
from waiter.catalog.sqlite import SQLiteStore
from waiter.catalog.succession import Succession
from waiter.catalog.token_editor import TokenEditor
from waiter.catalog_assembly import make_catalog, make_renewal, make_resolver, make_token_rules, rules_for_going
from waiter.discovery.aggregator import Aggregator
from waiter.discovery.collectors import RouterCollector, ServiceCollector
from waiter.discovery.routers import StaticRouterDirectory
from waiter.effective_settings import effective_settings
from waiter.fleet.nodes import ZooKeeperUnavailable
from waiter.fleet.secret import ClusterSecret
from waiter.fleet.store import ZooKeeperStore
from waiter.fleet_assembly import make_fleet
from waiter.model.identity import Identity
from waiter.model.routing import RoutingState
from waiter.reservation.ejection import EjectionRules
from waiter.reservation.manager import ReserverManager
from waiter.router.backend import BackendPool
from waiter.router.carriers import connector
from waiter.router.door import Door
from waiter.router.endpoint import is_loopback, parse_endpoint, tcp_of
from waiter.router.frontend import FrontendFactory
from waiter.router.instance_tls import secure_connector
from waiter.router.interstitials import Interstitials
from waiter.router.limits import Limits
from waiter.router.listening import CannotListen, ListeningService
from waiter.router.router import Router
from waiter.scheduler.environment import service_password
from waiter.scheduler.health import HealthProbe
from waiter.scheduler_assembly import make_scheduler
from waiter.settings import Settings, SettingsError, meaning
from waiter.state_directory import StateDirectory, StateDirectoryError
from waiter.support.ordered import OrderedService
from waiter.support.periodic import Periodic
from waiter.support.threads import in_thread
from waiter.support.trust import Trust
from waiter.telemetry.counters import SchedulerGauges
from waiter.telemetry.gauges import service_gauges
from waiter.telemetry.metrics import Metrics
from waiter.telemetry.request_log import RequestLog
from waiter.version import __version__

METRICS_COLLECTION_SECS = 60.0
CATALOG_TIDYING_SECS = 3600.0
PASSWORDS_KEPT = 10000

# Why a start may fail through no fault of the program; their words tell the user what to do.
EXPECTED_FAILURES = (StateDirectoryError, CannotListen, StoreUnusable, ZooKeeperUnavailable)


class WaiterService(OrderedService):
    """
    The root of the tree: one router, whole.

    @ivar stop_again: told what to do if somebody wants it to stop while it is stopping.
    @ivar unknown_variables: names in the environment that look like settings and are none.
    """

    stop_again: Callable[[Callable[[], object]], object] | None = None
    unknown_variables: Sequence[str] = ()

    def privilegedStartService(self) -> None:
        """
        Take the state directory and bind the sockets.

        @raise SystemExit: with the reason, if one of them cannot be had.
        """
        if self.unknown_variables:
            # If the start fails, one of them may be why.
            self._log.warn(
                "These environment variables are no settings and are ignored: {names}",
                names=", ".join(self.unknown_variables),
            )
        try:
            super().privilegedStartService()
        except EXPECTED_FAILURES as error:
            raise SystemExit(f"waiter: {error}") from None

    def stopService(self) -> Deferred[None]:
        """Stop all parts in order; see L{OrderedService}."""
        if self.stop_again is not None:
            self.stop_again(self.hurry)
        return super().stopService()


class Ready(Service):
    """The last to start: says that requests are answered now."""

    _log = Logger()

    def __init__(self, state_directory: StateDirectory) -> None:
        self.setName("announcement")
        self._state_directory = state_directory

    def startService(self) -> None:
        """Say it."""
        super().startService()
        self._log.info("Waiter is ready; its state is in {path}", path=str(self._state_directory.path))


def assemble(
    reactor: Any,
    settings: Settings,
    *,
    unknown_variables: Sequence[str] = (),
    wall: Callable[[], float] = time.time,
) -> WaiterService:
    """
    Build the tree of services, in starting order. Nothing is opened, bound or started.

    @raise SettingsError: the settings contradict each other, or one of them does not hold.
    """
    refuse_strangers(settings)
    identity = make_identity(settings, wall())
    with meaning("listen.hostnames"):
        hosts = own_hosts(identity.hostnames)
    principal = settings.authenticator.principal

    fleet = make_fleet(reactor, settings, identity)
    # Instances of this machine are no business of other routers, so that this one shares them with nobody.
    shared = None if settings.scheduler.kind == "local" else fleet
    # What others have to do is not known here, and who does not know does not scale. Nor does who does not know what there is.
    leads = _alone if shared is None else shared.leads_alone

    def may_scale() -> bool:
        return leads() and not service_collector.in_doubt

    state_directory = StateDirectory(settings.state_path)
    keeper: SQLiteStore | ZooKeeperStore = SQLiteStore(reactor, state_directory.database)
    if fleet is not None and settings.store.kind == "zookeeper":
        keeper = fleet.store
    store = EncryptedStore(reactor, keeper, settings.store.passwords)
    cluster_secret = ClusterSecret(store) if shared is not None and isinstance(keeper, ZooKeeperStore) else None
    secret = state_directory.secret if cluster_secret is None else cluster_secret.secret
    catalog = make_catalog(reactor, settings, store, secret, wall=wall)
    services = catalog.services

    with meaning("backend-tls.ca-file"):
        trust = Trust.from_file(settings.backend_tls.ca_file, name=settings.backend_tls.server_name)

    @lru_cache(maxsize=PASSWORDS_KEPT)
    def password(service_id: str) -> str:
        return service_password(secret(), service_id)

    probe = HealthProbe(
        reactor,
        timeout_secs=settings.scheduler.health_check_timeout_ms / 1000,
        trust=trust,
        password=password,
        principal=principal,
    )
    scheduler = make_scheduler(
        reactor,
        settings,
        state_directory=state_directory,
        services=services,
        probe=probe,
        password=password,
        wall=wall,
        is_leader=_alone if shared is None else shared.is_leader,
    )

    metrics = Metrics(
        gauges=lambda: service_gauges(aggregator.state, reservers, reactor.seconds()),
        fleet=None if fleet is None else fleet.gauges,
        scheduler=lambda: SchedulerGauges(
            in_doubt=service_collector.in_doubt,
            failures=service_collector.errors,
            took_secs=service_collector.took_secs,
            events_connected=scheduler.events_connected,
        ),
    )
    reservers = ReserverManager(
        reactor,
        ejection=EjectionRules(
            base_secs=settings.ejection.base_time_ms / 1000,
            max_secs=settings.ejection.max_time_ms / 1000,
            expiry_threshold=settings.ejection.expiry_threshold,
        ),
        lingering_request_secs=settings.ejection.lingering_request_ms / 1000,
        wall=wall,
        waiting_to_stream=lambda service_id: metrics.service(service_id).waiting_to_stream,
    )

    routers = StaticRouterDirectory(identity.router_id, identity.url) if shared is None else shared.directory
    aggregator = Aggregator(
        reactor,
        router_id=identity.router_id,
        wall=wall,
        describe=services.get,
        failing=reservers.failing,
        deployment_error_config=scheduler.deployment_error_config,
    )
    service_collector = ServiceCollector(
        reactor,
        scheduler,
        aggregator.scheduler_news,
        probe=probe,
        describe=services.get,
        wall=wall,
        interval_secs=settings.discovery.scheduler_interval_secs,
        being_killed=aggregator.is_being_killed,
        is_waited_for=reservers.is_waited_for,
    )
    router_collector = RouterCollector(
        reactor, routers, aggregator.router_news, interval_secs=settings.discovery.router_interval_ms / 1000
    )

    executor = ScalingExecutor(
        reactor,
        scheduler,
        reservers,
        killed=aggregator.killed,
        stopping=aggregator.stopping,
        quanta_cpus=settings.autoscaler.quanta_cpus,
        quanta_mem=settings.autoscaler.quanta_mem,
        inter_kill_wait_secs=settings.autoscaler.inter_kill_wait_ms / 1000,
        kills_per_turn=settings.autoscaler.kills_per_turn,
    )
    autoscaler = Autoscaler(
        reactor,
        executor,
        describe=services.get,
        loads=reservers.loads,
        is_leader=may_scale,
        interval_secs=settings.autoscaler.interval_ms / 1000,
        max_surge=settings.autoscaler.max_surge,
    )
    idle_collector = IdleCollector(
        reactor,
        executor,
        loads=lambda: reservers.loads() if shared is None or shared.alone else None,
        is_leader=may_scale,
        interval_secs=settings.autoscaler.idle_check_secs,
        rules=rules_for_going(reactor, settings, catalog, hosts=1 if shared is None else 2, wall=wall),
    )
    evictor = Evictor(reactor, executor, reservers, scheduler, loads=reservers.loads, is_leader=may_scale)
    interstitials = Interstitials(reactor)
    aggregator.states.subscribe(interstitials.update)
    aggregator.states.subscribe(reservers.update)
    aggregator.states.subscribe(autoscaler.update)
    aggregator.states.subscribe(idle_collector.update)
    aggregator.states.subscribe(evictor.update)
    reservers.demands.subscribe(autoscaler.demand)
    reservers.demands.subscribe(evictor.demand)
    reservers.demands.subscribe(service_collector.demand)
    reservers.idles.subscribe(evictor.became_idle)

    succession = Succession(
        healthy=aggregator.is_healthy,
        exists=lambda service_id: service_id in aggregator.state.services,
        start=executor.create,
    )
    resolver = make_resolver(
        settings,
        catalog,
        own_hosts=hosts,
        validate=scheduler.validate,
        may_run_as=_administrator,
        succession=succession,
        wall=wall,
    )
    renewal = make_renewal(reactor, catalog, resolver, succession, loads=reservers.loads, wall=wall)
    aggregator.states.subscribe(lambda state: services.see_in_use(state.services))
    services.redescribed.subscribe(scheduler.redescribe)
    catalog_tidying = Periodic(
        reactor,
        CATALOG_TIDYING_SECS,
        lambda: services.tidy(reservers.loads()),
        name="catalog-tidying",
        at_once=False,
    )
    request_log = RequestLog(
        _request_log_path(settings, state_directory),
        reactor,
        in_thread=partial(in_thread, reactor),
        max_bytes=settings.request_log.max_bytes,
        keep=settings.request_log.keep,
    )
    api = api_resource(
        Parts(
            clock=reactor,
            wall=wall,
            identity=identity,
            aggregator=aggregator,
            reservers=reservers,
            autoscaler=autoscaler,
            scheduler=scheduler,
            services=services,
            overrides=catalog.overrides,
            resolver=resolver,
            consents=catalog.consents,
            suspensions=catalog.suspensions,
            references=catalog.references,
            tokens=catalog.tokens,
            token_editor=TokenEditor(catalog.tokens, make_token_rules(settings, catalog.rules, hosts), wall),
            service_id_of=resolver.service_id_of,
            fallback_of=resolver.fallback_of,
            health_requests=HealthRequests(
                reactor,
                trust,
                credentials=probe.credentials,
                connect_timeout_secs=settings.request.connect_timeout_ms / 1000,
            ),
            metrics=metrics,
            settings_view=lambda: effective_settings(settings, identity, _iso(identity.started_at)),
            principal=lambda _request: principal,
            is_leader=_alone if shared is None else shared.is_leader,
            leader_id=None if shared is None else shared.leader_id,
            is_draining=lambda: frontend.draining,
            components={
                "autoscaling-multiplexer": executor.state,
                "evictor": evictor.state,
                "interstitial": interstitials.state,
                "gc-services": idle_collector.state,
                "kv-store": store.state,
                "token-watch-maintainer": catalog.tokens.state,
                **({} if fleet is None else {"fleet": fleet.state}),
            },
        )
    )
    limits = Limits(
        head_bytes=settings.listen.max_head_bytes,
        header_count=settings.listen.max_headers,
        idle_secs=settings.listen.idle_timeout_secs,
        head_secs=settings.listen.head_timeout_secs,
        body_secs=settings.listen.body_timeout_secs,
        pace_secs=settings.listen.body_timeout_secs,
        unread_secs=settings.request.streaming_timeout_ms / 1000,
        requests=settings.listen.max_requests_per_connection,
        body_bytes=settings.request.max_body_bytes,
        client_bytes_per_sec=settings.request.min_client_bytes_per_sec,
        drain_waiting_secs=settings.listen.drain_waiting_secs,
    )
    door = Door(
        most=settings.listen.max_connections,
        most_per_address=settings.listen.max_connections_per_address,
        numbers=metrics.router,
    )
    connect = connector(reactor)
    backends = BackendPool(
        reactor,
        connect,
        connect_tls=secure_connector(reactor, connect, trust.creator),
        connect_timeout_secs=settings.request.connect_timeout_ms / 1000,
        idle_secs=settings.request.pool_idle_timeout_ms / 1000,
        limits=limits,
    )
    aggregator.states.subscribe(lambda state: backends.retain(_instance_ids(state)))
    frontend = FrontendFactory(
        reactor,
        resolver=resolver,
        reservers=reservers,
        backends=backends,
        api=api,
        metrics=metrics,
        request_log=request_log,
        identity=identity,
        own_hosts=hosts,
        limits=limits,
        door=door,
        interstitials=interstitials,
        password=password,
        is_token=lambda host: catalog.tokens.get(host) is not None,
        wall=wall,
    )
    listening = ListeningService(reactor, settings.listen.http, frontend, door=door, numbers=metrics.router)
    metrics_collection = Periodic(
        reactor,
        METRICS_COLLECTION_SECS,
        lambda: metrics.collect_gone(aggregator.state.services, reactor.seconds()),
        name="metrics-collection",
    )

    root = WaiterService(
        reactor,
        stop_deadline_secs=settings.listen.drain_timeout_secs + 10,
        failed=partial(_end_with_failure, reactor),
        expected=EXPECTED_FAILURES,
    )
    root.unknown_variables = unknown_variables
    for service in (
        state_directory,
        *(() if fleet is None else (fleet.client,)),
        store,
        *(() if cluster_secret is None else (cluster_secret,)),
        *catalog.parts,
        scheduler,
        reservers,
        router_collector,
        service_collector,
        executor,
        request_log,
        metrics_collection,
        catalog_tidying,
        Router(
            frontend,
            backends,
            drain_timeout_secs=settings.listen.drain_timeout_secs,
            draining=scheduler.start_no_more,
        ),
        # Stopped before the router drains: nothing is begun any more for requests that wait.
        autoscaler,
        idle_collector,
        evictor,
        renewal,
        listening,
        *(() if fleet is None else (fleet.directory,)),
        Ready(state_directory),
    ):
        service.setServiceParent(root)
    return root


def refuse_strangers(settings: Settings) -> None:
    """
    See to it that only this machine's processes can connect while everybody who can is the same user.

    @raise SettingsError: an endpoint cannot be understood or is open to others.
    """
    for endpoint in settings.listen.http:
        try:
            private = is_loopback(endpoint)
        except ValueError as error:
            raise SettingsError(f"listen.http: {endpoint}: {error}") from None
        if not private:
            raise SettingsError(
                f"listen.http: {endpoint} can be reached from other machines, and with the authenticator one-user whoever "
                "reaches it may run commands. Listen on loopback (such as tcp:9091:interface=127.0.0.1) or on a UNIX socket."
            )


def make_identity(settings: Settings, now: float) -> Identity:
    """A new router id, and the names this router goes by."""
    ports = [tcp.port for tcp in map(tcp_of, map(parse_endpoint, settings.listen.http)) if tcp is not None]
    return Identity(
        router_id=secrets.token_hex(6),
        cluster=settings.cluster.name,
        version=__version__,
        hostnames=settings.listen.hostnames,
        port=ports[0] if ports else 0,
        started_at=now,
    )


def _request_log_path(settings: Settings, state_directory: StateDirectory) -> Path | None:
    if not settings.request_log.enabled:
        return None
    path = settings.request_log.path
    return state_directory.request_log if path is None else Path(path).absolute()


def _instance_ids(state: RoutingState) -> set[str]:
    return {instance.id for service in state.services.values() for instance in (*service.healthy, *service.unhealthy)}


def _administrator(_user: str, _run_as_user: str) -> bool:
    """The one user may run services as anybody; whether that is possible here, the scheduler says."""
    return True


def _alone() -> bool:
    """The only router leads."""
    return True


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _end_with_failure(reactor: Any) -> None:
    """Stop the program with a status that says so: twistd itself would end with 0."""
    atexit.register(os._exit, 1)
    reactor.callWhenRunning(reactor.stop)
