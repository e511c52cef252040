"""C{/metrics}."""

from twisted.web.server import Request

from waiter.admin.arguments import arguments, first, is_true
from waiter.admin.encoding import json_bytes
from waiter.admin.endpoint import Answer, Routes, gathered
from waiter.admin.negotiation import CONTENT_TYPES, preferred
from waiter.admin.parts import Parts
from waiter.telemetry.exposition import CONTENT_TYPE


def metrics_routes(parts: Parts) -> Routes:
    """The area."""

    async def show(request: Request) -> Answer:
        """The numbers, as Prometheus reads them or as JSON."""
        if preferred(request.getHeader(b"accept"), None) != "json":
            pieces = await gathered(parts.clock, parts.metrics.exposition_pieces())
            return Answer(body=b"".join(pieces), content_type=CONTENT_TYPE)
        given = arguments(request)
        tree = parts.metrics.as_json(
            service_id=first(given, "service-id"),
            exclude_services=is_true(given, "exclude-services"),
            name=first(given, "name"),
        )
        return Answer(body=json_bytes(tree, indent=None) + b"\n", content_type=CONTENT_TYPES["json"])

    routes = Routes(parts)
    routes.add("/metrics", show)
    return routes
