"""Why a service cannot serve, concluded from how its instances fail."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import attrs

from waiter.model.description import ServiceDescription
from waiter.model.failure import failure_facts, failure_lines, failures_in_words
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
        "too-many-processes": "Too many processes started",
        "tls-error": "Unable to complete TLS handshake with backend (ensure backend-proto is correctly configured)",
    }
)

#: How many instances on how many hosts must have failed before that says something about the service.
DEFAULT_CONFIG: Mapping[str, int] = MappingProxyType({"min-failed-instances": 2, "min-hosts": 2})

_WANTS_CREDENTIALS = "health-check-requires-authentication"
_ADVICE_ON_CREDENTIALS = (
    "Give health-check-url a path that answers 2xx without credentials, or set health-check-authentication to standard if it "
    "takes those that Waiter's requests carry."
)


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
        return _error("scheduler-error", supplied, _last(failed), failed, description)
    key = supplied or _conclude(unhealthy, failed, {**DEFAULT_CONFIG, **(config or {})})
    if key is None:
        return None
    witness = next(iter(unhealthy), None) if key == _WANTS_CREDENTIALS else _last(failed)
    return _error(key, MESSAGES[key], witness, failed, description)


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
        if every(Flag.PROCESS_LIMIT_EXCEEDED):
            return "too-many-processes"
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
        return _WANTS_CREDENTIALS
    return None


def _last(failed: Sequence[Instance]) -> Instance | None:
    return failed[-1] if failed else None


def _error(
    key: str, message: str, witness: Instance | None, failed: Sequence[Instance], description: ServiceDescription
) -> DeploymentError:
    """
    @param witness: the instance whose failure is shown.
    """
    if witness is None:
        return DeploymentError(key=key, message=message)
    fact, advice = _words(key, witness, description)
    witness = attrs.evolve(
        witness,
        message=witness.message or " ".join(filter(None, (fact, _ending(witness)))) or None,
        advice=witness.advice or advice or None,
    )
    lines = failure_lines(witness)
    if witness.id in {instance.id for instance in failed}:
        lines.insert(0, failures_in_words(failed))
    return DeploymentError(key=key, message=message, explanation="\n".join(lines), facts=failure_facts(witness))


def _ending(instance: Instance) -> str:
    code = instance.exit_code
    return "" if code is None else f"It ended with exit code {code}{_meaning(code)}."


def _words(key: str, instance: Instance, description: ServiceDescription) -> tuple[str, str]:
    """What happened, as far as C{key} tells, and what to do about it."""
    proto = description.health_check_proto or description.backend_proto
    check = f"The health check GET {description.health_check_url} over {proto}"
    answer = "not 2xx" if instance.health_check_status is None else str(instance.health_check_status)
    match key:
        case "not-enough-memory":
            return "It used more memory than it may.", f"mem grants {description.mem:g} MiB; ask for more."
        case "too-many-processes":
            return "It started more processes than it may.", "Let it start fewer, or raise max-processes."
        case "bad-startup-command":
            return "", "Try cmd in a shell of its own; it must stay in the foreground and serve on $PORT0."
        case "tls-error":
            return f"{check} failed in the TLS handshake.", f"Set backend-proto, now {description.backend_proto}."
        case "cannot-connect":
            port = f"$PORT{description.health_check_port_index}"
            within = f"grace-period-secs, now {description.grace_period_secs}"
            return f"{check} could not connect.", f"An instance must listen on {port} within {within}."
        case "health-check-timed-out":
            return f"{check} was not answered in time.", "Give health-check-url a path that answers fast."
        case "bad-socket":
            return f"{check} connected and got no answer.", f"Set backend-proto, now {description.backend_proto}."
        case "invalid-health-check-response":
            return f"{check} was answered with {answer}.", "Give health-check-url a path that answers 2xx."
        case "health-check-requires-authentication":
            return f"{check} was answered with {answer}.", _ADVICE_ON_CREDENTIALS
        case _:
            return "", ""


def _meaning(exit_code: int) -> str:
    if exit_code == 126:
        return " (the shell found the command but could not run it)"
    if exit_code == 127:
        return " (the shell did not find the command)"
    if exit_code > 128:
        return f" (ended by signal {exit_code - 128})"
    return f" (ended by signal {-exit_code})" if exit_code < 0 else ""
