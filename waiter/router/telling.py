"""What is made of the headers of requests, once for all that are alike."""

from waiter.catalog.descriptor import Descriptor
from waiter.router.forwarding import Forwarding
from waiter.router.headers import RequestHeaders, for_instance
from waiter.router.parts import RouterParts
from waiter.router.told import Told

# The same headers come from so many addresses before what was made of them is made anew.
_MOST_WAYS = 4


def told_of(headers: RequestHeaders, forwarding: Forwarding) -> Told:
    """The place for what is made of these headers, which have not come this way before."""
    if len(headers.told) >= _MOST_WAYS:
        headers.told.clear()
    told = headers.told[forwarding] = Told()
    return told


def lines_for_instance(
    headers: RequestHeaders, descriptor: Descriptor, forwarding: Forwarding, parts: RouterParts
) -> bytes:
    """The header lines of a request for an instance."""
    told = headers.told.get(forwarding) or told_of(headers, forwarding)
    if told.descriptor is not descriptor:
        told.descriptor = descriptor
        told.lines = for_instance(
            headers,
            product=parts.product,
            forwarding=forwarding,
            principal=descriptor.principal,
            password=parts.password(descriptor.service.id),
        )
    return told.lines
