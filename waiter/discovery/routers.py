"""Who the routers of the cluster are."""

from collections.abc import Callable, Mapping

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from zope.interface import Interface, implementer


class IRouterDirectory(Interface):
    """
    Knows the routers of the cluster, this one among them.

    An implementation is also an C{IService}: this router is listed once the Deferred of C{startService} has fired.
    Cancelling a Deferred: the caller is told C{CancelledError}; nothing changes.
    """

    def members() -> Deferred[Mapping[str, str]]:
        """
        Router id to the router's URL, which ends with a slash. The mapping is the caller's and does not change later.

        Fails if the directory cannot be asked; never answers with a part.
        """

    def leader() -> Deferred[str | None]:
        """The router that acts for all; C{None} while there is none."""

    def subscribe(changed: Callable[[], object]) -> None:
        """Call C{changed} soon after members or the leader have changed."""


@implementer(IRouterDirectory)
class StaticRouterDirectory(Service):
    """A directory of one router, which always leads."""

    def __init__(self, router_id: str, url: str) -> None:
        self._router_id = router_id
        self._url = url if url.endswith("/") else f"{url}/"

    def members(self) -> Deferred[Mapping[str, str]]:
        """This router alone."""
        return succeed({self._router_id: self._url})

    def leader(self) -> Deferred[str | None]:
        """This router."""
        return succeed(self._router_id)

    def subscribe(self, changed: Callable[[], object]) -> None:
        """Nothing ever changes, so C{changed} is never called."""
