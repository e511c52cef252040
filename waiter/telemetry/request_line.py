"""What is written about one request, and how: one line of JSON."""

from json.encoder import encode_basestring_ascii

from waiter.errors import WaiterError
from waiter.telemetry.timing import IsoClock

Text = bytes | str

# Only a memory of the second that was written last.
_iso = IsoClock()


def request_line(
    *,
    common: str,
    request_time: float,
    cid: Text,
    request_id: Text,
    path: Text,
    query_string: Text | None = None,
    response_content_length: int | None = None,
    get_instance_latency_ns: int | None = None,
    backend_response_latency_ns: int | None = None,
    handle_request_latency_ns: int | None = None,
    retries: int | None = None,
) -> str:
    """
    The line of a request that is over, its end included. Always valid JSON in ASCII.

    Texts may be bytes as the client sent them, whatever they contain. What is C{None} is not written.

    @param common: from L{common_members}; encoded once for many requests.
    @param request_time: when the head was there, seconds since the epoch.
    @param get_instance_latency_ns: time until a slot was there.
    @param backend_response_latency_ns: time until the head of the instance's answer was there.
    @param handle_request_latency_ns: time until all was over.
    """
    written = _written(cid)
    unique = written if request_id is cid else _written(request_id)
    line = f'{{"request-time":"{_iso(request_time)}","cid":{written},"request-id":{unique},"path":{_written(path)}'
    if query_string is not None:
        line += f',"query-string":{_written(query_string)}'
    if response_content_length is not None:
        line += f',"response-content-length":{response_content_length}'
    if get_instance_latency_ns is not None:
        line += f',"get-instance-latency-ns":{get_instance_latency_ns}'
    if backend_response_latency_ns is not None:
        line += f',"backend-response-latency-ns":{backend_response_latency_ns}'
    if handle_request_latency_ns is not None:
        line += f',"handle-request-latency-ns":{handle_request_latency_ns}'
    if retries is not None:
        line += f',"retries":{retries}'
    return f"{line}{common}}}\n"


def common_members(
    *,
    request_type: str,
    method: Text,
    scheme: Text,
    host: Text,
    client_protocol: str,
    remote_addr: Text,
    user_agent: Text | None = None,
    referer: Text | None = None,
    request_content_length: int | None = None,
    request_content_type: Text | None = None,
    principal: str | None = None,
    status: int | None = None,
    response_content_type: Text | None = None,
    token: str | None = None,
    service_id: str | None = None,
    instance_id: str | None = None,
    instance_host: str | None = None,
    instance_port: int | None = None,
    instance_proto: str | None = None,
    backend_protocol: str | None = None,
    error: WaiterError | None = None,
) -> str:
    """
    What is the same for many requests of a client, for L{request_line}.

    @param request_type: C{proxy}, C{websocket} or C{waiter-api}.
    @param error: what Waiter has answered, if it was an error of its own.
    """
    members = {
        "method": method,
        "scheme": scheme,
        "host": host,
        "client-protocol": client_protocol,
        "remote-addr": remote_addr,
        "user-agent": user_agent,
        "referer": referer,
        "request-content-length": request_content_length,
        "request-content-type": request_content_type,
        "request-type": request_type,
        "principal": principal,
        "status": status,
        "response-content-type": response_content_type,
        "token": token,
        "service-id": service_id,
        "instance-id": instance_id,
        "instance-host": instance_host,
        "instance-port": instance_port,
        "instance-proto": instance_proto,
        "backend-protocol": backend_protocol,
        "waiter-error-class": None if error is None else error.error_class or type(error).__name__,
    }
    return "".join(
        f',"{name}":{value if isinstance(value, int) else _written(value)}'
        for name, value in members.items()
        if value is not None
    )


def _written(text: Text) -> str:
    """A text as JSON in ASCII, whatever is in it."""
    if isinstance(text, bytes):
        try:
            decoded = text.decode()
        except UnicodeDecodeError:
            decoded = text.decode("utf-8", "backslashreplace")
        return encode_basestring_ascii(decoded)
    if not text.isascii():
        # Halves of surrogate pairs have no valid form in JSON.
        text = text.encode("utf-8", "backslashreplace").decode()
    return encode_basestring_ascii(text)
