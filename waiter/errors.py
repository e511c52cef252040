"""Every failure a caller can see: its status, its cause and its words."""

from collections.abc import Mapping
from typing import Any, ClassVar


class WaiterError(Exception):
    """
    A failure that a caller is told.

    @cvar status: the HTTP status.
    @cvar cause: the machine-readable side it is on (spec/surface 4.4): C{client-error}, C{instance-error},
        C{deployment-error}, C{service-error}, C{service-description-error}, C{generic-error}.
    @cvar error_class: the name in the request log and in C{details}; C{None} for most.
    @cvar title: the headline; C{None} for C{Waiter Error <status>}.
    @ivar message: one or more lines for a person, saying what to do where that is known.
    @ivar details: JSON-able data about this very failure.
    @ivar retry_after_secs: when it is worth trying again, if known: becomes C{Retry-After}.
    @ivar members: JSON-able data that stands beside the message and not among the details.
    """

    status: ClassVar[int] = 500
    cause: ClassVar[str] = "generic-error"
    error_class: ClassVar[str | None] = None
    title: ClassVar[str | None] = None

    def __init__(
        self, message: str, *, details: Mapping[str, Any] | None = None, retry_after_secs: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after_secs = retry_after_secs
        self.members: Mapping[str, Any] = {}


class BadRequest(WaiterError):
    """The request itself is wrong."""

    status = 400
    cause = "client-error"


class ServiceUnknown(WaiterError):
    """Nothing in the request names or describes a service."""

    status = 400
    cause = "service-description-error"
    error_class = "waiter.ServiceUnknown"
    title = "Service Cannot be Identified"


class ServiceMisconfigured(WaiterError):
    """The description does not hold."""

    status = 400
    cause = "service-description-error"
    error_class = "waiter.ServiceMisconfigured"
    title = "Service Configured Incorrectly"


class Unauthorized(WaiterError):
    """It is not known who asks."""

    status = 401
    cause = "client-error"


class Forbidden(WaiterError):
    """Who asks may not."""

    status = 403
    cause = "client-error"


class ServiceForbidden(Forbidden):
    """The caller may not run or use the service."""

    cause = "service-description-error"
    error_class = "waiter.ServiceForbidden"
    title = "Service Forbidden"


class CrossOriginForbidden(Forbidden):
    """Another site's page asked."""

    cause = "cors-error"
    error_class = "waiter.CorsRequestForbidden"
    title = "CORS Request Forbidden"


class PreflightForbidden(Forbidden):
    """A browser asked whether another site's page may ask, and it may not."""

    cause = "cors-error"
    error_class = "waiter.CorsPreflightForbidden"
    title = "CORS Preflight Forbidden"


class NotFound(WaiterError):
    """There is no such thing."""

    status = 404
    cause = "client-error"


class ServiceNotFound(NotFound):
    """There is no such service."""


class MethodNotAllowed(WaiterError):
    """The thing exists but does not take this method."""

    status = 405
    cause = "client-error"


class RequestTimeout(WaiterError):
    """The client stopped sending."""

    status = 408
    cause = "client-error"


class LengthRequired(WaiterError):
    """The body has to come with its length."""

    status = 411
    cause = "client-error"


class PreconditionFailed(WaiterError):
    """The thing is at another version than the client expects."""

    status = 412
    cause = "client-error"


class BodyTooLarge(WaiterError):
    """The body is over the limit."""

    status = 413
    cause = "client-error"


class HeadTooLarge(WaiterError):
    """The request line and headers are over the limit."""

    status = 431
    cause = "client-error"


class NotImplementedHere(WaiterError):
    """Waiter does not do that."""

    status = 501
    cause = "client-error"


class InstanceUnreachable(WaiterError):
    """The instance could not be connected to."""

    status = 502
    cause = "instance-error"


class InstanceUnproven(WaiterError):
    """The instance has not the certificate that it should have."""

    status = 502
    cause = "instance-error"


class InstanceFailed(WaiterError):
    """The instance broke the exchange before its answer began."""

    status = 502
    cause = "instance-error"


class InstanceTimedOut(WaiterError):
    """The instance did not answer in time."""

    status = 504
    cause = "instance-error"


class ServiceUnavailable(WaiterError):
    """The service cannot take the request now."""

    status = 503
    cause = "service-error"


class NoInstanceInTime(ServiceUnavailable):
    """The queue timeout passed."""

    error_class = "waiter.RequestTimeout"
    title = "Request Timeout"


class QueueFull(ServiceUnavailable):
    """Too many requests wait already."""

    error_class = "waiter.QueueLength"
    title = "Service Queue Length Exceeded"


class ServiceSuspended(ServiceUnavailable):
    """Somebody has suspended the service."""

    error_class = "waiter.Suspended"
    title = "Service Suspended"


class Maintenance(ServiceUnavailable):
    """The token's owner says that it is out of service."""

    error_class = "waiter.Maintenance"
    title = "Service Under Maintenance"


class ServiceFailing(ServiceUnavailable):
    """No instance of the service starts."""

    cause = "deployment-error"
    error_class = "waiter.DeploymentError"
    title = "Service Deployment Error"


class StreamTimeout(ServiceUnavailable):
    """The instance stopped reading the request's body."""

    cause = "instance-error"
    error_class = "waiter.StreamTimeout"
    title = "Request Stream Timeout"


class ShuttingDown(ServiceUnavailable):
    """This router is stopping."""
