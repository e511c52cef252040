"""
Kazoo's side of the client. The one module that imports kazoo, and itself imported only when a client starts.

What is called here by kazoo runs in kazoo's threads.
"""

import logging
from collections.abc import Callable
from typing import Any

from kazoo import exceptions
from kazoo.client import KazooClient
from kazoo.protocol.serialization import Connect
from kazoo.security import CREATOR_ALL_ACL

from waiter.fleet import nodes
from waiter.fleet.ensemble import Ensemble

# Grows from 0.1 s; an ensemble that comes back is to be found within a second or two.
_LONGEST_PAUSE_SECS = 1.0

_MEANINGS: tuple[tuple[type[Exception], type[nodes.ZooKeeperError]], ...] = (
    (exceptions.NoNodeError, nodes.NoNode),
    (exceptions.NodeExistsError, nodes.NodeExists),
    (exceptions.BadVersionError, nodes.BadVersion),
    (exceptions.NotEmptyError, nodes.NotEmpty),
    (exceptions.ConnectionLoss, nodes.ConnectionLost),
    # A closed connection is one of these to kazoo.
    (exceptions.SessionExpiredError, nodes.ConnectionLost),
    (exceptions.OperationTimeoutError, nodes.ConnectionLost),
    (exceptions.SessionMovedError, nodes.ConnectionLost),
)


def make_client(ensemble: Ensemble, said: Callable[[str, int], object]) -> Any:
    """
    A client that is not started.

    @param said: told each message that kazoo logs, with its level; called from any thread.
    """
    # One of its own each time: nothing is to be said to handlers that are not ours.
    logger = logging.Logger("waiter.zookeeper", logging.WARNING)  # noqa: LOG001
    logger.addHandler(_Passing(said))
    tls = ensemble.tls
    return _Client(
        hosts=ensemble.hosts,
        timeout=ensemble.session_timeout_secs,
        auth_data=[] if ensemble.digest is None else [("digest", ensemble.digest)],
        default_acl=None if ensemble.digest is None else CREATOR_ALL_ACL,
        connection_retry={"max_tries": -1, "max_delay": _LONGEST_PAUSE_SECS},
        logger=logger,
        use_ssl=tls is not None,
        verify_certs=True,
        check_hostname=tls is not None,
        ca=None if tls is None else tls.ca_file,
        certfile=None if tls is None else tls.certificate_file,
        keyfile=None if tls is None else tls.key_file,
    )


def translated(error: BaseException) -> BaseException:
    """What kazoo raised, in L{waiter.fleet.nodes}' words."""
    for theirs, ours in _MEANINGS:
        if isinstance(error, theirs):
            return ours(str(error) or type(error).__name__)
    if isinstance(error, exceptions.KazooException):
        return nodes.ZooKeeperError(f"{type(error).__name__} {error}".strip())
    return error


class _Client(KazooClient):  # type: ignore[misc]
    """
    Knows what kazoo keeps to itself.

    @ivar granted_secs: the session timeout that the server has granted, which may be another than was asked for; C{None} if it is
        not known.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.granted_secs: float | None = None
        invoke = self._connection._invoke  # noqa: SLF001 - there is no public way

        def invoke_and_note(timeout_secs: float, request: Any, xid: int | None = None) -> Any:
            answer = invoke(timeout_secs, request, xid)
            if isinstance(request, Connect):
                self.granted_secs = answer[0].time_out / 1000
            return answer

        self._connection._invoke = invoke_and_note  # noqa: SLF001


class _Passing(logging.Handler):
    def __init__(self, said: Callable[[str, int], object]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said(record.getMessage(), record.levelno)
