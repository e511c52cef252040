"""The words for a request that gets no slot."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

from waiter.errors import NoInstanceInTime, QueueFull, ServiceFailing, ShuttingDown
from waiter.model.failure import failure_facts, failure_lines, failures_in_words
from waiter.model.instance import Instance
from waiter.model.routing import DeploymentError, ServiceState

RETRY_AFTER_UNKNOWN_SECS = 5
"""When to try again if it is not known how long an instance takes to start."""


def queue_full(state: ServiceState, *, waiting: int, outstanding: int) -> QueueFull:
    """As many requests wait as may. It is worth trying again when another instance could have started."""
    start_secs = state.start_secs
    return QueueFull(
        "Max queue length exceeded",
        details={
            "current-queue-length": waiting,
            "max-queue-length": state.service.description.max_queue_length,
            "outstanding-requests": outstanding,
            "service-id": state.service.id,
        },
        retry_after_secs=RETRY_AFTER_UNKNOWN_SECS if start_secs is None else max(1, ceil(start_secs)),
    )


def service_failing(service_id: str, error: DeploymentError) -> ServiceFailing:
    """No instance starts, and why."""
    message = f"Deployment error: {error.message}"
    if error.explanation:
        message = f"{message}\n{error.explanation}"
    details: dict[str, Any] = {"deployment-error": error.key, "service-id": service_id}
    if error.facts:
        details["instance"] = dict(error.facts)
    return ServiceFailing(message, details=details)


def shutting_down(service_id: str | None) -> ShuttingDown:
    """This router stops; another one, or the next one here, will serve."""
    return ShuttingDown(
        "Waiter is shutting down.", details={"service-id": service_id}, retry_after_secs=RETRY_AFTER_UNKNOWN_SECS
    )


def no_instance_in_time(
    state: ServiceState, *, outstanding: int, queued_reason: str | None, counts: Mapping[str, int | None]
) -> Callable[[float], NoInstanceInTime]:
    """
    The queue timeout has passed.

    @param outstanding: requests of the service, those included that are about to be refused.
    @param queued_reason: why instances are held back, if they are.
    @param counts: further details.
    @return: makes the error for one request from its timeout in seconds.
    """
    details: dict[str, Any] = {"outstanding-requests": outstanding, "service-id": state.service.id, **counts}
    advice = ""
    if not state.healthy and (state.unhealthy or state.failed):
        advice = " Check that your service is able to start properly!"
        advice = "\n".join([advice, *_story(state.failed, state.unhealthy)])
        details["instance"] = failure_facts((*state.unhealthy[:1], *state.failed)[-1])
    elif state.healthy and outstanding > 0:
        advice = " Check that your service is able to scale properly!"
    if queued_reason:
        advice += f"\nInstances are held back: {queued_reason}"
        details["queued-reason"] = queued_reason

    def error(timeout_secs: float) -> NoInstanceInTime:
        return NoInstanceInTime(
            f"After {int(timeout_secs)} seconds, no instance available to handle request.{advice}", details=details
        )

    return error


def _story(failed: Sequence[Instance], waiting: Sequence[Instance]) -> list[str]:
    """What is known of the instances that do not serve; those that say nothing are left out."""
    lines = []
    if failed and (story := failure_lines(failed[-1])):
        lines += [failures_in_words(failed), *story]
    if waiting and waiting[0].message:
        lines += [f"An instance on {waiting[0].host} port {waiting[0].port} is not healthy yet.", waiting[0].message]
        lines += filter(None, (waiting[0].advice,))
    return lines
