"""What a service must be to run as processes of this machine: pure rules."""

from waiter.errors import ServiceForbidden, ServiceMisconfigured
from waiter.model.description import ServiceDescription


def check_runs_here(description: ServiceDescription, *, user: str) -> None:
    """
    @param user: who Waiter runs as.
    @raise ServiceMisconfigured: a service described so cannot run here.
    @raise ServiceForbidden: it may not.
    """
    for name, proto in (
        ("backend-proto", description.backend_proto),
        ("health-check-proto", description.health_check_proto),
    ):
        if proto not in {None, "http"}:
            raise ServiceMisconfigured(
                f"{name} {proto} is not supported for instances on this machine: leave it out or use http"
            )
    if description.run_as_user != user:
        raise ServiceForbidden(
            f"cannot run as user '{description.run_as_user}': Waiter runs as '{user}' and starts every service as itself"
        )
