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
    if description.health_check_port_index >= description.ports:
        raise ServiceMisconfigured(
            f"The health check port index ({description.health_check_port_index}) must be smaller than ports "
            f"({description.ports})"
        )
    texts = {"cmd": description.cmd} | {f"env {name}": text for name, text in description.env.items()}
    for name, text in texts.items():
        if "\0" in text or not _is_text(text):
            raise ServiceMisconfigured(f"{name} contains characters that no command line or environment can hold")
    if any("=" in name or not name for name in description.env):
        raise ServiceMisconfigured("env contains a name that no environment can hold")
    if description.run_as_user != user:
        raise ServiceForbidden(
            f"cannot run as user '{description.run_as_user}': Waiter runs as '{user}' and starts every service as itself"
        )


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
