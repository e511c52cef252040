"""C{/openapi.json} and C{/profiles}: what can be asked for here."""

from functools import cache

from twisted.web.server import Request

from waiter.admin.encoding import json_bytes
from waiter.admin.endpoint import Answer, Routes, json_answer
from waiter.admin.negotiation import CONTENT_TYPES
from waiter.admin.openapi.document import document
from waiter.admin.parts import Parts


def reference_routes(parts: Parts) -> Routes:
    """The areas C{/openapi.json} and C{/profiles}."""

    def openapi(_request: Request) -> Answer:
        """The API, for programs."""
        return Answer(body=_document(), content_type=CONTENT_TYPES["json"])

    def profiles(_request: Request) -> Answer:
        """The profiles that descriptions may name."""
        found = parts.services.rules.profiles
        return json_answer([{"name": name, "defaults": found[name].defaults} for name in sorted(found)])

    routes = Routes(parts)
    routes.add("/openapi.json", openapi)
    routes.add("/profiles", profiles)
    return routes


@cache
def _document() -> bytes:
    return json_bytes(document()) + b"\n"
