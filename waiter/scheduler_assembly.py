"""Builds what runs instances, as the settings say."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from waiter.catalog.services import ServiceCatalog
from waiter.model.resources import NOTHING
from waiter.scheduler.health import HealthProbe
from waiter.scheduler.local.limits import InstanceLimits
from waiter.scheduler.local.rotation import LogRotation
from waiter.scheduler.local.scheduler import LocalScheduler
from waiter.settings import SchedulerSettings, Settings, meaning
from waiter.state_directory import StateDirectory
from waiter.support.trust import Trust

if TYPE_CHECKING:
    from waiter.scheduler.marathon.scheduler import MarathonScheduler


def make_scheduler(
    reactor: Any,
    settings: Settings,
    *,
    state_directory: StateDirectory,
    services: ServiceCatalog,
    probe: HealthProbe,
    password: Callable[[str], str],
    wall: Callable[[], float],
    is_leader: Callable[[], bool],
) -> "LocalScheduler | MarathonScheduler":
    """
    The scheduler. Opens nothing.

    @param password: of a service, by its id.
    @raise SettingsError: what is set about it does not hold.
    """
    if settings.scheduler.kind == "marathon":
        return _marathon(reactor, settings, password=password, wall=wall, is_leader=is_leader)
    given = settings.scheduler
    return LocalScheduler(
        reactor,
        directory=state_directory.services,
        cluster=settings.cluster.name,
        wall=wall,
        probe=probe,
        describe=services.get,
        revive=services.revive,
        secret=state_directory.secret,
        port_range=given.port_range,
        port_rest_secs=given.port_rest_secs,
        memory_share=given.memory_share,
        cpu_overcommit=given.cpu_overcommit,
        limits=_instance_limits(given),
        elsewhere=None if given.count_other_servers else lambda: NOTHING,
        log_rotation=LogRotation(max_bytes=given.max_log_bytes, keep=given.keep_logs),
        on_stop=given.on_stop,
    )


def _marathon(
    reactor: Any,
    settings: Settings,
    *,
    password: Callable[[str], str],
    wall: Callable[[], float],
    is_leader: Callable[[], bool],
) -> "MarathonScheduler":
    # Imported here, as it brings an HTTP client that the local scheduler has no use for.
    from waiter.scheduler.marathon.client import Credentials, MarathonClient, Patience, TrustPolicy  # noqa: PLC0415
    from waiter.scheduler.marathon.rules import MarathonRules  # noqa: PLC0415
    from waiter.scheduler.marathon.scheduler import MarathonScheduler  # noqa: PLC0415

    given = settings.marathon
    with meaning("marathon.ca-file"):
        trust = Trust.from_file(given.ca_file)
    with meaning("marathon.urls"):
        client = MarathonClient(
            reactor,
            given.urls,
            credentials=Credentials(username=given.username, password=given.password, token=given.token),
            policy=TrustPolicy(trust),
            patience=Patience(
                connect=given.connect_timeout_ms / 1000,
                answer=given.request_timeout_ms / 1000,
                silence=given.request_timeout_ms / 1000,
            ),
        )
    rules = MarathonRules(
        any_user=given.any_user,
        container_init_commands=given.container_init_commands,
        home_path_prefix=given.home_path_prefix,
        agent_port=given.agent_port,
        agent_directory=given.agent_directory.rstrip("/"),
        framework_id_ttl_secs=given.framework_id_ttl_ms / 1000,
        force_kill_after_secs=given.force_kill_after_ms / 1000,
        sync_deployment_secs=given.sync_deployment_secs,
        min_hosts=given.min_hosts,
        events=given.events,
    )
    return MarathonScheduler(
        reactor,
        client,
        cluster=settings.cluster.name,
        prefix=settings.cluster.service_prefix,
        wall=wall,
        password=password,
        user=settings.authenticator.principal,
        rules=rules,
        is_leader=is_leader,
    )


def _instance_limits(settings: SchedulerSettings) -> InstanceLimits:
    largest = settings.max_file_size_mib
    return InstanceLimits(
        max_open_files=settings.max_open_files,
        max_processes=settings.max_processes,
        max_file_bytes=None if largest is None else largest * 1024 * 1024,
    )
