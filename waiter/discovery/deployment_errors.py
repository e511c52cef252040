"""Why a service cannot serve, concluded from how its instances fail."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag, Instance
from waiter.model.routing import DeploymentError

MESSAGES: Mapping[str, str] = MappingProxyType(
    {
        "bad-socket": "Backend is closing socket without responding (ensure backend-proto is correctly configured)",
        "bad-startup-command": "Invalid startup command",
        "cannot-connect": "Unable to connect to run health checks",
        "health-check-requires-authentication": "Health check requires authentication",
        "health-check-timed-out": "Health check timed out",
        "invalid-health-check-response": "Health check returned an invalid response",
        "not-enough-memory": "Not enough memory allocated",
        "tls-error": "Unable to complete TLS handshake with backend (ensure backend-proto is correctly configured)",
    }
)

#: How many instances on how many hosts must have failed before that says something about the service.
DEFAULT_CONFIG: Mapping[str, int] = MappingProxyType({"min-failed-instances": 2, "min-hosts": 2})

_MOST_LINES = 10
_LONGEST_LINE = 300


def deployment_error(
    *,
    healthy: Collection[Instance],
    unhealthy: Sequence[Instance],
    failed: Sequence[Instance],
    description: ServiceDescription,
    supplied: str | None = None,
    config: Mapping[str, int] | None = None,
) -> DeploymentError | None:
    """
    What keeps a service from serving; C{None} while any instance is healthy or nothing is proved.

    @param unhealthy: in instance order.
    @param failed: in instance order; those that were killed on purpose count too, as they may have been killed for it.
    @param supplied: the scheduler's own word: a key of L{MESSAGES}, or any text.
    @param config: what differs from L{DEFAULT_CONFIG} at this scheduler.
    """
    if healthy:
        return None
    if supplied is not None and supplied not in MESSAGES:
        return DeploymentError(key="scheduler-error", message=supplied, explanation=_explain(None, failed, description))
    key = supplied or _conclude(unhealthy, failed, {**DEFAULT_CONFIG, **(config or {})})
    if key is None:
        return None
    witnesses = unhealthy[:1] if key == "health-check-requires-authentication" else failed
    return DeploymentError(key=key, message=MESSAGES[key], explanation=_explain(key, witnesses, description))


def instability_issue(failed: Collection[Instance]) -> str | None:
    """What troubles a service that may be serving all the same; only lack of memory is known."""
    return "not-enough-memory" if any(Flag.MEMORY_LIMIT_EXCEEDED in instance.flags for instance in failed) else None


def _conclude(unhealthy: Sequence[Instance], failed: Sequence[Instance], config: Mapping[str, int]) -> str | None:
    def every(flag: Flag) -> bool:
        return all(flag in instance.flags for instance in failed)

    def none(flag: Flag) -> bool:
        return not any(flag in instance.flags for instance in failed)

    hosts = {instance.host for instance in failed}
    if failed and len(failed) >= config["min-failed-instances"] and len(hosts) >= config["min-hosts"]:
        exit_codes = {instance.exit_code for instance in failed}
        if every(Flag.MEMORY_LIMIT_EXCEEDED):
            return "not-enough-memory"
        if len(exit_codes) == 1 and None not in exit_codes:
            return "bad-startup-command"
        if every(Flag.SSL_EXCEPTION):
            return "tls-error"
        if none(Flag.HAS_CONNECTED):
            return "cannot-connect"
        if none(Flag.HAS_RESPONDED):
            return "health-check-timed-out" if every(Flag.TIMEOUT_EXCEPTION) else "bad-socket"
        if every(Flag.NEVER_PASSED_HEALTH_CHECKS):
            return "invalid-health-check-response"
    if unhealthy and unhealthy[0].health_check_status == 401:
        return "health-check-requires-authentication"
    return None


def _explain(key: str | None, witnesses: Sequence[Instance], description: ServiceDescription) -> str:
    """What the last of C{witnesses} shows, and what to do about it: lines for a person."""
    if not witnesses:
        return ""
    last = witnesses[-1]
    lines = []
    if key != "health-check-requires-authentication":
        failures = "1 instance failed" if len(witnesses) == 1 else f"{len(witnesses)} instances failed, the last one"
        lines.append(f"{failures} on {last.host} port {last.port}.")
    if last.message:
        lines.append(last.message)
    if last.exit_code is not None and (last.message is None or str(last.exit_code) not in last.message):
        lines.append(f"It ended with exit code {last.exit_code}{_meaning(last.exit_code)}.")
    advice = _advice(key, last, description)
    if advice:
        lines.append(advice)
    if last.last_output:
        lines.append("Its last output:")
        lines.extend(f"    {_shortened(line)}" for line in last.last_output[-_MOST_LINES:])
    return "\n".join(lines)


def _advice(key: str | None, instance: Instance, description: ServiceDescription) -> str:
    check = f"GET {description.health_check_url}"
    proto = description.health_check_proto or description.backend_proto
    answer = "not 2xx" if instance.health_check_status is None else str(instance.health_check_status)
    match key:
        case "not-enough-memory":
            return f"It used more than the {description.mem:g} MiB that mem grants it; ask for more."
        case "bad-startup-command":
            return "Try cmd in a shell of its own; it must stay in the foreground and serve on $PORT0."
        case "tls-error":
            return f"The health check {check} over {proto} failed in the TLS handshake."
        case "cannot-connect":
            return (
                f"Nothing accepted a connection for the health check {check} over {proto}: an instance must listen on"
                f" $PORT{description.health_check_port_index} within grace-period-secs"
                f" ({description.grace_period_secs} s)."
            )
        case "health-check-timed-out":
            return f"The health check {check} over {proto} was not answered in time."
        case "bad-socket":
            return f"The health check {check} over {proto} got a connection, but no answer on it."
        case "invalid-health-check-response":
            return (
                f"The answer to the health check {check} was {answer}; it must be 2xx. Give health-check-url a path"
                " that answers so."
            )
        case "health-check-requires-authentication":
            return (
                f"The answer to the health check {check} was {answer}. Give health-check-url a path that answers 2xx"
                " without credentials."
            )
        case _:
            return ""


def _meaning(exit_code: int) -> str:
    if exit_code == 126:
        return " (the shell found the command but could not run it)"
    if exit_code == 127:
        return " (the shell did not find the command)"
    if exit_code > 128:
        return f" (ended by signal {exit_code - 128})"
    return f" (ended by signal {-exit_code})" if exit_code < 0 else ""


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."
