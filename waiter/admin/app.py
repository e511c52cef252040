"""Waiter's own API."""

from twisted.web.resource import IResource

from waiter.admin.consent import consent_routes
from waiter.admin.endpoint import ApiResource, Routes
from waiter.admin.interstitial import interstitial_routes
from waiter.admin.numbers import metrics_routes
from waiter.admin.parts import Parts
from waiter.admin.ping import ping_routes
from waiter.admin.reference import reference_routes
from waiter.admin.resolving import resolving_routes
from waiter.admin.root import root_routes
from waiter.admin.services import service_routes
from waiter.admin.settings import settings_routes
from waiter.admin.state import state_routes
from waiter.admin.tokens import token_routes

__all__ = ["Parts", "api_resource"]


def api_resource(parts: Parts) -> IResource:
    """
    The API, one Klein app for each area.

    Whether a request may come in at all is checked before, by the router; see L{waiter.admin.endpoint}.
    """
    root = root_routes(parts)
    consent = consent_routes(parts)
    reference = reference_routes(parts)
    resolving = resolving_routes(parts)
    tokens = token_routes(parts)
    areas: dict[str, Routes] = {
        "": root,
        "app-name": resolving,
        "apps": service_routes(parts),
        "favicon.ico": root,
        "metrics": metrics_routes(parts),
        "openapi.json": reference,
        "profiles": reference,
        "service-id": resolving,
        "settings": settings_routes(parts),
        "state": state_routes(parts),
        "status": root,
        "token": tokens,
        "token-history": tokens,
        "tokens": tokens,
        "waiter-consent": consent,
        "waiter-consent-cookie": consent,
        "waiter-interstitial": interstitial_routes(parts),
        "waiter-ping": ping_routes(parts),
    }
    return ApiResource(parts, areas, root)
