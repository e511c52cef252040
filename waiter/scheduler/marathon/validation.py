"""What a service must be to run at Marathon: pure rules."""

from waiter.errors import ServiceForbidden, ServiceMisconfigured
from waiter.model.checks import shown
from waiter.model.description import ServiceDescription


def check_may_run(description: ServiceDescription, *, user: str, privileged: bool) -> None:
    """
    @param user: who may be run as: the principal of the callers.
    @param privileged: whether anybody may be run as.
    @raise ServiceForbidden: a service described so may not run there.
    @raise ServiceMisconfigured: it could not be checked there.
    """
    if description.health_check_authentication != "disabled":
        raise ServiceMisconfigured(
            "health-check-authentication standard is not supported by Marathon: its health checks carry no credentials. "
            "Leave it out.",
            details={"issue": {"health-check-authentication": description.health_check_authentication}},
        )
    wanted = description.run_as_user
    if wanted != user and not privileged:
        raise ServiceForbidden(
            f"cannot run as user '{shown(wanted)}': Waiter runs services of Marathon as '{user}' alone. Leave run-as-user "
            "out, or let the administrator set marathon.any-user",
            details={"run-as-user": shown(wanted)},
        )
