"""The page that browsers see while a service starts."""

from html import escape

from twisted.web.server import Request

from waiter.admin.endpoint import Answer, Routes
from waiter.admin.negotiation import CONTENT_TYPES, NO_SCRIPTS, html_page
from waiter.admin.parts import Parts
from waiter.admin.resolving import waiter_headers
from waiter.catalog.admission import host_name, is_own_page
from waiter.catalog.headers import understand
from waiter.catalog.interstitial import PAGE, way_back
from waiter.errors import NotFound

# Of a page that belongs to no site, what it asks for comes from another one: who was sent here by another site's page must
# not look as if the service's own had sent him. It could not ask by itself if there could be no scripts, of which it allows none.
_OF_NOWHERE = "sandbox allow-scripts"


def interstitial_routes(parts: Parts) -> Routes:
    """The area C{/waiter-interstitial}."""
    area = _Interstitial(parts)
    routes = Routes(parts)
    routes.add(f"{PAGE}/", area.show)
    routes.add(f"{PAGE}/<path:asked_path>", area.show)
    return routes


class _Interstitial:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def show(self, request: Request, asked_path: str = "") -> Answer:  # noqa: ARG002 - the URI has it as it was sent
        """
        The page. It asks again at once, and that request waits for its answer while the page is seen. Frames may show it:
        what is in one may have to start, too, and there is nothing to be clicked by mistake.

        @raise NotFound: the request names no token. Where Waiter itself is, other sites could have it ask for anything.
        """
        name = self._token(request)
        back = escape(way_back(request.uri, self._parts.wall()))
        inside = (
            f"<p>{escape(name)} is not running yet, or has just begun to. It opens here as soon as it is ready.</p>\n"
            f'<p>If nothing happens, <a href="{back}">open it by hand</a>.</p>'
        )
        head = f'<meta http-equiv="refresh" content="0; url={back}">'
        policy = NO_SCRIPTS if is_own_page(request.getHeader(b"sec-fetch-site")) else f"{NO_SCRIPTS}; {_OF_NOWHERE}"
        return Answer(
            body=html_page("The service is starting", inside, NO_SCRIPTS, head),
            content_type=CONTENT_TYPES["html"],
            headers={b"content-security-policy": policy.encode(), b"referrer-policy": b"no-referrer"},
        )

    def _token(self, request: Request) -> str:
        named = understand(waiter_headers(request.requestHeaders)).tokens
        host = host_name(request.getHeader(b"host") or b"")
        for name in (*named, host):
            token = self._parts.tokens.get(name)
            if token is not None and not token.deleted:
                return name
        raise NotFound(f"Unable to load description for token {host}: there is none.")
