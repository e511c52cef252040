"""What is counted and written down about a request when it is over."""

from typing import TYPE_CHECKING

from waiter.model.outcome import Outcome
from waiter.telemetry.metrics import ServiceMetrics
from waiter.telemetry.request_log import RequestRecord

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


def log_entry(exchange: "Exchange", now: float, wall: float) -> RequestRecord:
    """
    All that is known of a request.

    @param now: the clock's seconds.
    @param wall: the same moment in seconds since the epoch.
    """
    request = exchange.request
    headers = request.headers
    client = exchange.client
    record = RequestRecord()
    record.cid = exchange.cid
    record.request_id = exchange.unique_id
    record.request_type = "websocket" if request.tunnel else "proxy"
    record.host = headers.host
    record.method = request.method
    record.path, _, query = request.target.partition(b"?")
    if query:
        record.query_string = query
    forwarding = client.forwarding
    record.scheme = forwarding.proto
    record.remote_addr = forwarding.address
    record.client_protocol = "HTTP/1.1" if headers.minor else "HTTP/1.0"
    record.request_content_length = headers.content_length
    record.request_content_type = headers.content_type
    record.user_agent = headers.user_agent
    record.referer = headers.referer
    started_at = exchange.started_at
    if started_at is None:
        record.request_time = wall
    else:
        record.request_time = wall - (now - started_at)
        record.handle_request_latency_ns = int((now - started_at) * 1e9)
        if exchange.leased_at is not None:
            record.get_instance_latency_ns = int((exchange.leased_at - started_at) * 1e9)
    status = exchange.status
    answer = exchange.answer
    if status == 101:
        # What went through the tunnel.
        record.request_content_length = request.arrived
    else:
        record.status = status
    if answer is not None:
        record.response_content_length = exchange.response_bytes if status == 101 else answer.content_length
        record.response_content_type = answer.content_type
        record.backend_response_latency_ns = int((exchange.answered_at - exchange.asked_at) * 1e9)
        record.backend_protocol = "HTTP/1.1" if answer.minor else "HTTP/1.0"
    if exchange.known:
        descriptor = exchange.descriptor
        record.service_id = descriptor.service.id
        record.principal = descriptor.principal
    if exchange.leased_at is not None:
        instance = exchange.instance
        record.instance_id = instance.id
        record.instance_host = instance.host
        record.instance_port = instance.port
        record.instance_proto = instance.protocol
    if exchange.tries > 1:
        record.retries = exchange.tries - 1
    error = exchange.error
    if error is not None:
        record.waiter_error_class = error.error_class or type(error).__name__
    return record
