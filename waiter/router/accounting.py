"""What is counted and written down about a request when it is over."""

from typing import TYPE_CHECKING

from waiter.model.outcome import Outcome
from waiter.router.telling import told_of
from waiter.telemetry.metrics import ServiceMetrics
from waiter.telemetry.request_line import common_members, request_line

if TYPE_CHECKING:
    from waiter.router.exchange import Exchange


def count_end(numbers: ServiceMetrics, exchange: "Exchange", outcome: Outcome, now: float) -> None:
    """
    Count a request whose service was known.

    @param now: the clock's seconds.
    """
    if exchange.started_at is not None:
        numbers.process_secs.observe(now - exchange.started_at)
    numbers.response_bytes += exchange.response_bytes
    numbers.request_bytes += exchange.request.arrived
    status = exchange.status
    if status is not None:
        numbers.status[status] = numbers.status.get(status, 0) + 1
    if exchange.error is None and (outcome is Outcome.SUCCESS or outcome is Outcome.INSTANCE_BUSY):
        numbers.successful += 1
    elif outcome is Outcome.CLIENT_ERROR:
        numbers.client_error += 1
    elif outcome is Outcome.INSTANCE_ERROR:
        numbers.instance_error += 1
    else:
        numbers.generic_error += 1


def log_line(exchange: "Exchange", now: float, wall: float) -> str:
    """
    All that is known of a request, as a line for the log.

    @param now: the clock's seconds.
    @param wall: the same moment in seconds since the epoch.
    """
    request = exchange.request
    answer = exchange.answer
    started_at = exchange.started_at
    leased_at = exchange.leased_at
    tunnelled = exchange.status == 101
    path, _, query = request.target.partition(b"?")
    response_length = None
    if answer is not None:
        response_length = exchange.response_bytes if tunnelled else answer.content_length
    return request_line(
        common=_common(exchange),
        request_time=wall if started_at is None else wall - (now - started_at),
        cid=exchange.cid,
        request_id=exchange.unique_id,
        path=path,
        query_string=query or None,
        response_content_length=response_length,
        get_instance_latency_ns=_ns(started_at, leased_at),
        backend_response_latency_ns=None if answer is None else _ns(exchange.asked_at, exchange.answered_at),
        handle_request_latency_ns=_ns(started_at, now),
        retries=exchange.tries - 1 if exchange.tries > 1 else None,
    )


def _ns(since: float | None, until: float | None) -> int | None:
    return None if since is None or until is None else int((until - since) * 1e9)


def _common(exchange: "Exchange") -> str:
    """What was written for the last request of the same kind, if it is the same, as mostly it is."""
    request = exchange.request
    answer = exchange.answer
    client = exchange.client
    told = request.headers.told.get(client.forwarding) or told_of(request.headers, client.forwarding)
    key = (
        request.method,
        exchange.status,
        exchange.descriptor if exchange.known else None,
        exchange.instance if exchange.leased_at is not None else None,
        answer and answer.content_type,
        answer and answer.minor,
        # Not the error: its traceback would keep all alive that was there.
        exchange.error.__class__,
    )
    if key != told.logged:
        told.logged = key
        told.members = _members(exchange)
    return told.members


def _members(exchange: "Exchange") -> str:
    request = exchange.request
    headers = request.headers
    forwarding = exchange.client.forwarding
    answer = exchange.answer
    descriptor = exchange.descriptor if exchange.known else None
    instance = exchange.instance if exchange.leased_at is not None else None
    return common_members(
        request_type="websocket" if request.tunnel else "proxy",
        method=request.method,
        scheme=forwarding.proto,
        host=headers.host,
        client_protocol=_protocol(headers.minor),
        remote_addr=forwarding.address,
        user_agent=headers.user_agent,
        referer=headers.referer,
        # What went through a tunnel is its content.
        request_content_length=request.arrived if exchange.status == 101 else headers.content_length,
        request_content_type=headers.content_type,
        principal=None if descriptor is None else descriptor.principal,
        status=None if exchange.status == 101 else exchange.status,
        response_content_type=None if answer is None else answer.content_type,
        token=None if descriptor is None else descriptor.token,
        service_id=None if descriptor is None else descriptor.service.id,
        instance_id=None if instance is None else instance.id,
        instance_host=None if instance is None else instance.host,
        instance_port=None if instance is None else instance.port,
        instance_proto=None if instance is None else instance.protocol,
        backend_protocol=None if answer is None else _protocol(answer.minor),
        error=exchange.error,
    )


def _protocol(minor: int) -> str:
    return "HTTP/1.1" if minor else "HTTP/1.0"
