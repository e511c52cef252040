"""What is written about one request, and how."""

from json.encoder import encode_basestring_ascii
from operator import attrgetter

from waiter.telemetry.timing import IsoClock

Text = bytes | str | None


class RequestRecord:
    """
    What is known of one request; filled while it lives, written when it is over. What stays C{None} is not written.

    Texts may be bytes as the client sent them, whatever they contain.

    @ivar request_time: when the head was there, seconds since the epoch.
    @ivar request_type: C{proxy}, C{websocket}, C{waiter-api}, ...
    @ivar get_instance_latency_ns: time until a slot was there.
    @ivar backend_response_latency_ns: time until the head of the instance's answer was there.
    @ivar handle_request_latency_ns: time until all was over.
    @ivar waiter_error_class: the class of the error that was answered by Waiter, if it was one.
    """

    __slots__ = (
        "backend_protocol",
        "backend_response_latency_ns",
        "cid",
        "client_protocol",
        "get_instance_latency_ns",
        "handle_request_latency_ns",
        "host",
        "instance_host",
        "instance_id",
        "instance_port",
        "instance_proto",
        "method",
        "path",
        "principal",
        "query_string",
        "referer",
        "remote_addr",
        "request_content_length",
        "request_content_type",
        "request_id",
        "request_time",
        "request_type",
        "response_content_length",
        "response_content_type",
        "retries",
        "scheme",
        "service_id",
        "status",
        "user_agent",
        "waiter_error_class",
    )

    cid: Text
    request_id: Text
    host: Text
    path: Text
    method: Text
    scheme: Text
    query_string: Text
    client_protocol: Text
    remote_addr: Text
    request_time: float | None
    request_type: Text
    request_content_length: int | None
    request_content_type: Text
    user_agent: Text
    referer: Text
    principal: Text
    status: int | None
    response_content_length: int | None
    response_content_type: Text
    service_id: Text
    instance_id: Text
    instance_host: Text
    instance_port: int | None
    instance_proto: Text
    backend_protocol: Text
    get_instance_latency_ns: int | None
    backend_response_latency_ns: int | None
    handle_request_latency_ns: int | None
    retries: int | None
    waiter_error_class: Text

    def __init__(self) -> None:
        # One statement: this runs for every request.
        self.cid = self.request_id = self.host = self.path = self.method = self.scheme = self.query_string = (
            self.client_protocol
        ) = self.remote_addr = self.request_time = self.request_type = self.request_content_length = (
            self.request_content_type
        ) = self.user_agent = self.referer = self.principal = self.status = self.response_content_length = (
            self.response_content_type
        ) = self.service_id = self.instance_id = self.instance_host = self.instance_port = self.instance_proto = (
            self.backend_protocol
        ) = self.get_instance_latency_ns = self.backend_response_latency_ns = self.handle_request_latency_ns = (
            self.retries
        ) = self.waiter_error_class = None


# What a client or an instance repeats from request to request; the line begins with the rest.
_REPEATED = (
    "method",
    "scheme",
    "host",
    "client_protocol",
    "remote_addr",
    "user_agent",
    "request_content_type",
    "request_type",
    "principal",
    "status",
    "response_content_type",
    "service_id",
    "instance_id",
    "instance_host",
    "instance_port",
    "instance_proto",
    "backend_protocol",
    "waiter_error_class",
)
_VARYING = (
    "cid",
    "request_id",
    "path",
    "query_string",
    "referer",
    "request_content_length",
    "response_content_length",
    "get_instance_latency_ns",
    "backend_response_latency_ns",
    "handle_request_latency_ns",
    "retries",
)
_repeated = attrgetter(*_REPEATED)
_varying = attrgetter(*_VARYING)
_MAX_FRAGMENTS = 2048
_MAX_FRAGMENT_LENGTH = 2048


class RecordEncoder:
    """Writes L{RequestRecord}s as JSON. What records have in common is encoded once."""

    __slots__ = ("_fragments", "_iso")

    def __init__(self) -> None:
        self._iso = IsoClock()
        self._fragments: dict[tuple[Text | int, ...], str] = {}

    def __call__(self, record: RequestRecord) -> str:
        """One line, its end included. Always valid JSON in ASCII, whatever bytes a client sent."""
        at = record.request_time
        key = _repeated(record)
        members = _varying_members(record) + (self._fragments.get(key) or self._fragment(key))
        if at is None:
            return f"{{{members[1:]}}}\n"
        return f'{{"request-time":"{self._iso(at)}"{members}}}\n'

    def _fragment(self, values: tuple[Text | int, ...]) -> str:
        fragment = _members(_REPEATED_KEYS, values)
        if len(fragment) <= _MAX_FRAGMENT_LENGTH:
            if len(self._fragments) >= _MAX_FRAGMENTS:
                self._fragments.clear()
            self._fragments[values] = fragment
        return fragment


def _key(name: str) -> str:
    return f',"{name.replace("_", "-")}":'


_REPEATED_KEYS = tuple(map(_key, _REPEATED))
_VARYING_KEYS = tuple(map(_key, _VARYING))


def _members(keys: tuple[str, ...], values: tuple[Text | int, ...]) -> str:
    members = []
    for key, value in zip(keys, values, strict=True):
        if value is None:
            continue
        if isinstance(value, bytes | str):
            members.append(f"{key}{_written(value)}")
        else:
            members.append(f"{key}{int(value)}")
    return "".join(members)


def _varying_members(record: RequestRecord) -> str:
    """The same as C{_members} of what varies, written out: this runs for every request."""
    cid, request_id, path = record.cid, record.request_id, record.path
    if cid is None or request_id is None or path is None:
        return _members(_VARYING_KEYS, _varying(record))
    written = _written(cid)
    members = f',"cid":{written},"request-id":{written if request_id is cid else _written(request_id)},"path":{_written(path)}'
    if record.query_string is not None:
        members += f',"query-string":{_written(record.query_string)}'
    if record.referer is not None:
        members += f',"referer":{_written(record.referer)}'
    if record.request_content_length is not None:
        members += f',"request-content-length":{record.request_content_length}'
    if record.response_content_length is not None:
        members += f',"response-content-length":{record.response_content_length}'
    if record.get_instance_latency_ns is not None:
        members += f',"get-instance-latency-ns":{record.get_instance_latency_ns}'
    if record.backend_response_latency_ns is not None:
        members += f',"backend-response-latency-ns":{record.backend_response_latency_ns}'
    if record.handle_request_latency_ns is not None:
        members += f',"handle-request-latency-ns":{record.handle_request_latency_ns}'
    if record.retries is not None:
        members += f',"retries":{record.retries}'
    return members


def _written(text: bytes | str) -> str:
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
