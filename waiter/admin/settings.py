"""C{/settings}."""

from twisted.web.server import Request

from waiter.admin.endpoint import Answer, Routes, json_answer
from waiter.admin.parts import Parts


def settings_routes(parts: Parts) -> Routes:
    """The area."""

    def show(_request: Request) -> Answer:
        """The settings in force."""
        return json_answer(parts.settings_view())

    routes = Routes(parts)
    routes.add("/settings", show)
    return routes
