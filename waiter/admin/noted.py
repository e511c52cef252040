"""What the resources learn of a request and the request log is to tell."""

from typing import cast

import attrs
from twisted.web.server import Request
from zope.interface import Attribute, Interface, implementer

from waiter.errors import WaiterError


class INoted(Interface):
    """What is known of one request."""

    principal = Attribute("Who asks; C{None} if that is not known.")
    error = Attribute("The L{WaiterError} it was answered with; C{None} if with none.")


@implementer(INoted)
@attrs.define
class Noted:
    """See L{INoted}."""

    principal: str | None = None
    error: WaiterError | None = None


def noted(request: Request) -> Noted:
    """What is known of a request, to be read and added to."""
    found = request.getComponent(INoted)
    if found is None:
        found = Noted()
        request.setComponent(INoted, found)
    return cast("Noted", found)
