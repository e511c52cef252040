"""Which service a request would be for."""

from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from waiter.admin.arguments import arguments, is_true
from waiter.admin.endpoint import Answer, Routes, text_answer
from waiter.admin.parts import Parts


def resolving_routes(parts: Parts) -> Routes:
    """The area: C{/service-id} and, the same, C{/app-name}."""

    async def service_id(request: Request) -> Answer:
        """
        The id of the service that a request with this host and these headers would be for; its description is remembered.
        With C{latest} that of the newest version of a token, even if requests go to the one before for now.

        @raise WaiterError: there is no such service, or the caller may not use it.
        """
        headers = waiter_headers(request.requestHeaders)
        newest = is_true(arguments(request), "latest")
        resolve = parts.resolver.resolve_newest if newest else parts.resolver.resolve
        resolved = resolve(request.getHeader(b"host") or b"", headers)
        descriptor = await resolved if isinstance(resolved, Deferred) else resolved
        return text_answer(descriptor.service.id)

    routes = Routes(parts)
    routes.add("/service-id", service_id, methods=None)
    routes.add("/app-name", service_id, methods=None)
    return routes


def waiter_headers(headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
    """
    The C{x-waiter-*} headers as a request for a service has them: names in lower case, values without the blanks that may
    follow them.
    """
    return tuple(
        (name.lower(), value.rstrip(b" \t"))
        for name, values in headers.getAllRawHeaders()
        if name.lower().startswith(b"x-waiter-")
        for value in values
    )
