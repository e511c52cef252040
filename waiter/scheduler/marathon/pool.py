"""Connections that do not fill the log."""

from typing import Any

from twisted.web.client import HTTPConnectionPool, _HTTP11ClientFactory


class _QuietFactory(_HTTP11ClientFactory):
    # Twisted would log the beginning and the end of each connection.
    noisy = False


def quiet_pool(reactor: Any, *, persistent: bool) -> HTTPConnectionPool:
    """A pool for an agent, which does not repeat requests by itself."""
    pool = HTTPConnectionPool(reactor, persistent=persistent)
    pool._factory = _QuietFactory  # noqa: SLF001 - there is no other way to say it
    pool.retryAutomatically = False
    return pool
