"""A router's node in ZooKeeper, in the JSON that Curator's service discovery writes and reads."""

import json
from typing import Any
from urllib.parse import urlsplit

import attrs

# "{scheme}://{address}:{port}/{endpoint}", taken apart as Curator does it.
_URI_SPEC = {
    "parts": [
        {"value": "scheme", "variable": True},
        {"value": "://", "variable": False},
        {"value": "address", "variable": True},
        {"value": ":", "variable": False},
        {"value": "port", "variable": True},
        {"value": "/", "variable": False},
        {"value": "endpoint", "variable": True},
    ]
}


@attrs.frozen(kw_only=True)
class RouterNode:
    """
    What a router tells the others about itself.

    @ivar cluster: its cluster.
    @ivar address: a host name or IP address under which the others reach it.
    @ivar fqdn: the name of its host, for people.
    @ivar registered_at: seconds since the epoch.
    """

    cluster: str
    router_id: str
    address: str
    port: int
    fqdn: str
    registered_at: float

    @property
    def url(self) -> str:
        """Where the others find it, with a slash at the end."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/"

    def encode(self) -> bytes:
        """The data of its node."""
        return json.dumps(
            {
                "name": self.cluster,
                "id": self.router_id,
                "address": self.address,
                "port": self.port,
                "sslPort": None,
                "payload": {"router-fqdn": self.fqdn, "router-ssl-port": None},
                "registrationTimeUTC": round(self.registered_at * 1000),
                "serviceType": "DYNAMIC",
                "uriSpec": _URI_SPEC,
            }
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> "RouterNode":
        """
        The router of a node's data; fields that nothing here needs may be there or not.

        @raise ValueError: this is no router.
        """
        try:
            found: dict[str, Any] = json.loads(data)
            payload = found.get("payload") or {}
            node = cls(
                cluster=str(found["name"]),
                router_id=str(found["id"]),
                address=str(found["address"]),
                port=int(found["port"]),
                fqdn=str(payload.get("router-fqdn") or found["address"]),
                registered_at=float(found.get("registrationTimeUTC") or 0) / 1000,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this does not describe a router: {error!r}") from None
        if urlsplit(node.url).hostname is None or not 0 < node.port < 65536:
            raise ValueError(f"{node.url} is no address of a router")
        return node
