"""Sending browsers to the page that they see while a service starts."""

from typing import TYPE_CHECKING

from waiter.catalog.interstitial import page_of, shows_pages, without_bypass
from waiter.router.fields import safe

if TYPE_CHECKING:
    from waiter.router.exchange import Exchange

# The page asks again with GET: what a form has sent would be lost.
_LOOKS = frozenset({b"GET", b"HEAD"})


def waiting_page(exchange: "Exchange", secs: float) -> bytes | None:
    """
    The header lines that send a request to the page, while its service is started; C{None} if an instance is to answer. Then
    what the page may have put at the end of the target is gone.

    @param secs: the service's C{interstitial-secs}.
    @raise WaiterError: the service is not going to start.
    """
    request = exchange.request
    parts = exchange.client.parts
    target, until_ms = without_bypass(request.target)
    if (
        request.method in _LOOKS
        and not request.tunnel
        and shows_pages(request.headers.accept)
        and (until_ms is None or until_ms < parts.wall() * 1000)
        and (page := page_of(request.target)) is not None
        and parts.interstitials.awaited(exchange.descriptor.service.id, secs)
    ):
        exchange.reserver.want()
        exchange.numbers.interstitials += 1
        return b"location: %b\r\nx-waiter-interstitial: true\r\n" % safe(page)
    request.target = target
    return None
