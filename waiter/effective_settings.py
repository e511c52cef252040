"""The settings in force, as C{/settings} shows them: under the names the original platform gave them."""

from typing import Any

from waiter.catalog.effective import BUILT_IN
from waiter.model.identity import Identity
from waiter.settings import Settings

MESSAGES = {
    "cannot-identify-service": "Unable to identify service using waiter headers/token",
    "invalid-service-description": "Service description using waiter headers/token improperly configured",
    "not-found": "Not found",
}


def effective_settings(settings: Settings, identity: Identity, started_at: str) -> dict[str, Any]:
    """
    A JSON-able view of the settings, without secrets.

    @param started_at: when this router started, ISO-8601.
    """
    return {
        "authenticator-config": {
            "kind": settings.authenticator.kind,
            settings.authenticator.kind: {"run-as-user": settings.authenticator.principal},
        },
        "backend-tls": settings.backend_tls.model_dump(by_alias=True, mode="json"),
        "cluster-config": {
            "name": settings.cluster.name,
            "service-prefix": settings.cluster.service_prefix,
            "min-routers": settings.cluster.min_routers,
        },
        # For Waiter itself, pages of other origins may ask for nothing; for a service, what its token says.
        "consent-expiry-days": settings.authenticator.consent_expiry_days,
        "cors-config": {"kind": "token-parameter", "token-parameter": {}},
        "ejection-config": {
            "eject-backoff-base-time-ms": settings.ejection.base_time_ms,
            "max-eject-time-ms": settings.ejection.max_time_ms,
            "expiry-threshold": settings.ejection.expiry_threshold,
        },
        "git-version": identity.version,
        "health-check-config": {"health-check-timeout-ms": settings.scheduler.health_check_timeout_ms},
        "hostname": list(identity.hostnames),
        "instance-request-properties": {
            "client-connection-idle-timeout-ms": settings.request.pool_idle_timeout_ms,
            "connection-timeout-ms": settings.request.connect_timeout_ms,
            "initial-socket-timeout-ms": settings.request.socket_timeout_ms,
            "lingering-request-threshold-ms": settings.ejection.lingering_request_ms,
            "queue-timeout-ms": settings.request.queue_timeout_ms,
            "streaming-timeout-ms": settings.request.streaming_timeout_ms,
        },
        "kv-config": {"kind": settings.store.kind, "encrypt": bool(settings.store.passwords)},
        "listen-config": settings.listen.model_dump(by_alias=True, mode="json"),
        "messages": MESSAGES,
        "metric-group-mappings": [list(mapping) for mapping in settings.metric_groups],
        "port": identity.port,
        "profile-config": {name: {"defaults": profile.defaults} for name, profile in settings.profiles.items()},
        "request-log": settings.request_log.model_dump(by_alias=True, mode="json"),
        "router-syncer": {"interval-ms": settings.discovery.router_interval_ms},
        "scaling": {
            "autoscaler-interval-ms": settings.autoscaler.interval_ms,
            "inter-kill-request-wait-time-ms": settings.autoscaler.inter_kill_wait_ms,
            "quanta-constraints": {"cpus": settings.autoscaler.quanta_cpus, "mem": settings.autoscaler.quanta_mem},
        },
        "scheduler-config": _scheduler_config(settings),
        "scheduler-gc-config": {
            "broken-service-min-hosts": settings.autoscaler.broken_service_min_hosts
            or (1 if settings.scheduler.kind == "local" else 2),
            "broken-service-timeout-mins": settings.autoscaler.broken_service_timeout_mins,
            "scheduler-gc-interval-ms": int(settings.autoscaler.idle_check_secs * 1000),
        },
        "scheduler-syncer-interval-secs": settings.discovery.scheduler_interval_secs,
        "service-description-constraints": {
            "cmd": {"max": settings.constraints.cmd_length},
            "cpus": {"max": settings.constraints.cpus},
            "mem": {"max": settings.constraints.mem},
        },
        "service-description-defaults": {**BUILT_IN, **settings.defaults},
        "started-at": started_at,
        "state-dir": str(settings.state_path),
        "statsd": "disabled",
        "support-info": [],
        "token-config": {
            "cluster-calculator": {"kind": "configured", "configured": {"default-cluster": settings.cluster.name}},
            "history-length": settings.tokens.history_length,
            "limit-per-owner": settings.tokens.limit_per_owner,
        },
        "zookeeper": settings.zookeeper.model_dump(by_alias=True, mode="json", exclude={"digest"}),
    }


def _scheduler_config(settings: Settings) -> dict[str, Any]:
    if settings.scheduler.kind == "local":
        return {"kind": "local", "local": settings.scheduler.model_dump(by_alias=True, mode="json", exclude={"kind"})}
    given = settings.marathon
    marathon = given.model_dump(
        by_alias=True,
        mode="json",
        exclude={"password", "token", "urls", "framework_id_ttl_ms", "agent_port", "agent_directory", "min_hosts"},
    )
    return {
        "kind": "marathon",
        "marathon": {
            **marathon,
            "deployment-error-config": {"min-hosts": given.min_hosts},
            "framework-id-ttl": given.framework_id_ttl_ms,
            "mesos-slave-port": given.agent_port,
            "slave-directory": given.agent_directory,
            "url": list(given.urls),
        },
    }
