"""C{/apps/<service-id>/override}: parameters of a service set to something else while it runs."""

import json
from collections.abc import Mapping
from typing import Any, cast

from twisted.web.server import Request

from waiter.admin.endpoint import Answer, Routes, json_answer
from waiter.admin.parts import Parts
from waiter.catalog.overrides import Override
from waiter.errors import BadRequest, Forbidden, MethodNotAllowed, ServiceNotFound
from waiter.model.service import Service
from waiter.telemetry.timing import iso_time


def override_routes(parts: Parts, routes: Routes) -> None:
    """Add to the area below C{/apps}."""
    area = _Overrides(parts)
    routes.add("/apps/<service_id>/override", area.answer, methods=None)


def override_view(override: Override | None) -> dict[str, Any]:
    """What is overridden, by whom and since when."""
    if override is None:
        return {"overrides": {}, "last-updated-by": None, "time": None}
    return {
        "overrides": dict(override.parameters),
        "last-updated-by": override.by,
        "time": iso_time(override.at),
    }


class _Overrides:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def answer(self, request: Request, service_id: str) -> Answer:
        """
        Show, set or take back what holds for a service instead of what was asked for.

        @raise WaiterError: the caller may not, there is no such service, or what is to hold cannot.
        """
        if request.method not in {b"GET", b"HEAD", b"POST", b"DELETE"}:
            request.setHeader(b"allow", b"DELETE, GET, HEAD, POST")
            raise MethodNotAllowed("Unsupported request method")
        service = self._parts.services.get(service_id)
        if service is None:
            raise ServiceNotFound("Service not found", details={"service-id": service_id})
        user = self._parts.principal(request)
        if not self._parts.may_manage(user, service_id):
            raise Forbidden(f"{user} not allowed to modify {service_id}", details={"service-id": service_id})
        if request.method == b"POST":
            await self._parts.overrides.set(service_id, self._asked(request, service), by=user)
        elif request.method == b"DELETE":
            await self._parts.overrides.set(service_id, {}, by=user)
        else:
            return json_answer({"service-id": service_id, **override_view(self._parts.overrides.get(service_id))})
        return json_answer({"service-id": service_id, "success": True})

    def _asked(self, request: Request, service: Service) -> Mapping[str, Any]:
        try:
            asked = json.loads(request.content.read() if request.content is not None else b"")
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            raise BadRequest('Invalid JSON payload: the body must be a map of parameters, such as {"max-instances": 5}')
        return self._parts.services.check_overrides(service, cast("Mapping[str, Any]", asked))
