"""What a service must be to run as processes of this machine: pure rules."""

from collections.abc import Callable

from waiter.errors import ServiceForbidden, ServiceMisconfigured
from waiter.model.checks import shown
from waiter.model.description import ServiceDescription


def check_runs_here(
    description: ServiceDescription, *, user: str, privileged: bool, exists: Callable[[str], bool]
) -> None:
    """
    @param user: who Waiter runs as.
    @param privileged: whether it can run instances as others.
    @param exists: whether there is a user of a name on this machine.
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
    wanted = description.run_as_user
    if wanted == user:
        return
    if not privileged:
        why = (
            f"Waiter runs as '{user}' and can start services only as itself. Leave run-as-user out, or let the machine's "
            "administrator run Waiter as root"
        )
    elif not exists(wanted):
        why = "there is no such user on this machine"
        if wanted.isdecimal():
            why += "; give the user's name, not the number"
    else:
        return
    raise ServiceForbidden(f"cannot run as user '{shown(wanted)}': {why}", details={"run-as-user": shown(wanted)})
