"""One running (or failed) copy of a service."""

from enum import Enum

import attrs


class Flag(str, Enum):
    """What has been noticed about an instance."""

    EXPIRED = "expired"
    MEMORY_LIMIT_EXCEEDED = "memory-limit-exceeded"
    PROCESS_LIMIT_EXCEEDED = "process-limit-exceeded"
    NEVER_PASSED_HEALTH_CHECKS = "never-passed-health-checks"
    HAS_CONNECTED = "has-connected"
    HAS_RESPONDED = "has-responded"
    HANGUP_EXCEPTION = "hangup-exception"
    SSL_EXCEPTION = "ssl-exception"
    TIMEOUT_EXCEPTION = "timeout-exception"


@attrs.frozen(kw_only=True)
class Instance:
    """
    An instance as its scheduler describes it.

    @ivar id: C{<service-id>.<unique>}.
    @ivar started_at: seconds since the epoch, or C{None} if not known.
    @ivar healthy: C{None} when the scheduler does not know and the collector has to check.
    @ivar port: the first port; 0 when there is none.
    @ivar protocol: C{http} or C{https}.
    @ivar exit_code: C{None} while it runs and when the code is not known.
    @ivar health_check_status: the HTTP status of the last check that was answered.
    @ivar message: what happened to it, in words for a user: why it failed, or what its checks show while it starts.
    @ivar advice: what a user can do about that.
    @ivar last_output: the last lines the instance wrote, for explaining a failure.
    """

    id: str
    service_id: str
    started_at: float | None = None
    healthy: bool | None = None
    host: str = "0.0.0.0"  # noqa: S104 - the word for an unknown host, never bound
    port: int = 0
    extra_ports: tuple[int, ...] = ()
    protocol: str = "http"
    flags: frozenset[Flag] = frozenset()
    exit_code: int | None = None
    health_check_status: int | None = None
    log_directory: str | None = None
    message: str | None = None
    advice: str | None = None
    last_output: tuple[str, ...] = ()
    status: str | None = None

    @property
    def explanation(self) -> str | None:
        """The message and the advice as one text; C{None} if there is neither."""
        return " ".join(filter(None, (self.message, self.advice))) or None

    @property
    def order(self) -> tuple[str, float, str]:
        """The instance order used everywhere: by service, then start (unknown first), then id."""
        return (self.service_id, -1.0 if self.started_at is None else self.started_at, self.id)
