"""Where ZooKeeper is, and how to speak to it."""

import attrs


@attrs.frozen(kw_only=True)
class TLSFiles:
    """
    What is needed for TLS to ZooKeeper, which is then always verified, names included.

    @ivar ca_file: authorities beside those of the system.
    @ivar certificate_file: the client's own certificate, with C{key_file}.
    """

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None


@attrs.frozen(kw_only=True)
class Ensemble:
    """
    The servers of one ZooKeeper.

    @ivar hosts: C{host:port,host:port}.
    @ivar session_timeout_secs: what to ask for; servers have bounds of their own.
    @ivar digest: C{user:password}; nodes are then for this user alone.
    """

    hosts: str
    session_timeout_secs: float = 10.0
    digest: str | None = attrs.field(default=None, repr=False)
    tls: TLSFiles | None = None
