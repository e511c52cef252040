"""Who this router is."""

import attrs


@attrs.frozen(kw_only=True)
class Identity:
    """
    One running router, as others see it.

    @ivar router_id: unique among the routers of a cluster, new at each start.
    @ivar hostnames: the hosts under which requests are for Waiter itself.
    @ivar port: the first port it listens on; 0 if there is none, as with a UNIX socket.
    @ivar started_at: seconds since the epoch.
    """

    router_id: str
    cluster: str
    version: str
    hostnames: tuple[str, ...]
    port: int
    started_at: float

    @property
    def product(self) -> str:
        """The name in C{Server} and C{Via}."""
        return f"waiter/{self.version}"

    @property
    def url(self) -> str:
        """Where other routers and people find it."""
        name = self.hostnames[0]
        host = f"[{name}]" if ":" in name and not name.startswith("[") else name
        return f"http://{host}:{self.port}" if self.port else f"http://{host}"
