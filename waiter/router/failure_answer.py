"""What a client is told when its request for a service fails."""

from typing import TYPE_CHECKING

from waiter.errors import InstanceFailed, InstanceTimedOut, InstanceUnreachable, WaiterError
from waiter.router.debug import debug_lines
from waiter.router.own_answer import error_answer

if TYPE_CHECKING:
    from waiter.router.exchange import Exchange


def failure_answer(exchange: "Exchange", error: WaiterError, *, keep: bool) -> bytes:
    """
    The whole answer for a client that has been sent nothing yet. An instance's failures are told with how its service was
    doing, which is added to the error's details.

    @param keep: whether the connection may be used for another request.
    """
    parts = exchange.client.parts
    if exchange.known and isinstance(error, InstanceFailed | InstanceTimedOut | InstanceUnreachable):
        reserver = exchange.reserver
        error.details |= {
            "service-id": reserver.service.id,
            "outstanding-requests": reserver.load.outstanding,
            "slots-assigned": reserver.slots_assigned,
            "slots-available": reserver.slots_available,
            "slots-in-use": reserver.slots_in_use,
        }
        if not isinstance(error, InstanceTimedOut):
            error.message += f"\nIf the instance has ended, /apps/{reserver.service.id} tells why."
    return error_answer(
        error,
        cid=exchange.cid,
        product=parts.product,
        at=parts.wall(),
        keep=keep,
        request=exchange.request,
        descriptor=exchange.descriptor if exchange.known else None,
        instance=None if exchange.leased_at is None else exchange.instance,
        extra_lines=exchange.cors_lines + own_debug_lines(exchange),
    )


def own_debug_lines(exchange: "Exchange") -> bytes:
    """The debug headers of an exchange, if its client wants them."""
    if not exchange.known or not exchange.descriptor.debug:
        return b""
    parts = exchange.client.parts
    now = parts.clock.seconds()
    started_at = now if exchange.started_at is None else exchange.started_at
    return debug_lines(
        identity=parts.identity,
        request_id=exchange.unique_id,
        at=parts.wall() - (now - started_at),
        minor=exchange.request.headers.minor,
        descriptor=exchange.descriptor,
        instance=None if exchange.leased_at is None else exchange.instance,
        get_instance_secs=None if exchange.leased_at is None else exchange.leased_at - started_at,
        backend_response_secs=None if exchange.answer is None else exchange.answered_at - exchange.asked_at,
    )
