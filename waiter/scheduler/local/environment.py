"""The environment of a local instance: pure rules."""

from collections.abc import Mapping, Sequence

from waiter.model.description import ServiceDescription
from waiter.scheduler.environment import service_environment

#: What an instance inherits from Waiter itself, beside every C{LC_} variable.
INHERITED = ("PATH", "LANG", "TZ")
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
#: Variables that are not written to disk.
SECRET = frozenset({"WAITER_PASSWORD"})


def inherited(parent: Mapping[str, str]) -> dict[str, str]:
    """What of Waiter's own environment an instance gets."""
    kept = {name: text for name, text in parent.items() if name in INHERITED or name.startswith("LC_")}
    return {"PATH": DEFAULT_PATH} | kept


def instance_environment(
    description: ServiceDescription,
    *,
    parent: Mapping[str, str],
    cluster: str,
    service_id: str,
    instance_id: str,
    ports: Sequence[int],
    home: str,
    sandbox: str,
    password: str,
) -> dict[str, str]:
    """
    All variables of an instance. What Waiter sets wins over the description, which wins over what is inherited.

    @param parent: Waiter's own environment.
    @param home: the home directory of the user whom it runs as, or what stands for it.
    @param sandbox: the instance's working directory.
    """
    told = service_environment(description, cluster=cluster, service_id=service_id, home=home, password=password)
    own = {"MESOS_SANDBOX": sandbox, "WAITER_INSTANCE_ID": instance_id, "WAITER_SANDBOX": sandbox}
    if ports:
        own["PORT"] = str(ports[0])
    own |= {f"PORT{index}": str(port) for index, port in enumerate(ports)}
    return inherited(parent) | told | own


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What may be written to disk."""
    return {name: text for name, text in environment.items() if name not in SECRET}
