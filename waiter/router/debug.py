"""The headers that tell a curious client how its request was handled."""

from email.utils import formatdate
from urllib.parse import quote

from waiter.catalog.descriptor import Descriptor
from waiter.model.identity import Identity
from waiter.model.instance import Instance
from waiter.router.fields import safe


def debug_lines(
    *,
    identity: Identity,
    request_id: bytes,
    at: float,
    minor: int,
    descriptor: Descriptor | None,
    instance: Instance | None,
    get_instance_secs: float | None,
    backend_response_secs: float | None,
) -> bytes:
    """
    Header lines with all that is known by now.

    @param at: when the request came, seconds since the epoch.
    @param minor: of the client's HTTP version.
    """
    values: dict[str, str | int | None] = {
        "request-id": request_id.decode(),
        "request-date": formatdate(at, usegmt=True),
        "router-id": identity.router_id,
        "client-protocol": f"HTTP/1.{minor}",
        "internal-protocol": f"HTTP/1.{minor}",
        "get-available-instance-ns": _ns(get_instance_secs),
        "backend-response-ns": _ns(backend_response_secs),
    }
    if descriptor is not None:
        values |= {
            "auth-method": "single-user",
            "auth-principal": descriptor.principal,
            "auth-user": descriptor.principal.partition("@")[0],
            "service-id": descriptor.service.id,
            "queue-timeout-ms": int(descriptor.queue_timeout_secs * 1000),
            "socket-timeout-ms": int(descriptor.socket_timeout_secs * 1000),
            "streaming-timeout-ms": int(descriptor.streaming_timeout_secs * 1000),
        }
    if instance is not None:
        values |= {
            "backend-id": instance.id,
            "backend-host": instance.host,
            "backend-port": instance.port,
            "backend-proto": instance.protocol,
            "backend-directory": instance.log_directory,
            "backend-log-url": _log_url(identity, instance),
        }
    return b"".join(
        b"x-waiter-%b: %b\r\n" % (name.encode(), safe(str(value).encode()))
        for name, value in values.items()
        if value is not None
    )


def _ns(secs: float | None) -> int | None:
    return None if secs is None else int(secs * 1e9)


def _log_url(identity: Identity, instance: Instance) -> str:
    return (
        f"{identity.url}/apps/{instance.service_id}/logs?instance-id={quote(instance.id)}&host={quote(instance.host)}"
    )
