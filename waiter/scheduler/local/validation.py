"""What a service must be to run as processes of this machine: pure rules."""

from collections.abc import Callable

from waiter.errors import ServiceForbidden
from waiter.model.checks import shown
from waiter.model.description import ServiceDescription


def check_runs_here(
    description: ServiceDescription, *, user: str, privileged: bool, exists: Callable[[str], bool]
) -> None:
    """
    @param user: who Waiter runs as.
    @param privileged: whether it can run instances as others.
    @param exists: whether there is a user of a name on this machine.
    @raise ServiceForbidden: a service described so may not run here.
    """
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
