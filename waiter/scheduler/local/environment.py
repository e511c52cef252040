"""The environment of an instance: pure rules."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from waiter.model.description import ServiceDescription

#: What an instance inherits from Waiter itself, beside every C{LC_} variable.
INHERITED = ("PATH", "LANG", "TZ")
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
#: Variables that are not written to disk.
SECRET = frozenset({"WAITER_PASSWORD"})


def service_password(secret: bytes, service_id: str) -> str:
    """The password with which Waiter authenticates to a service: as secret as C{secret}, and another for each service."""
    return hmac.new(secret, b"waiter-password:" + service_id.encode(), hashlib.sha256).hexdigest()


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
    given = dict(description.env)
    token = given.pop("WAITER_CONFIG_TOKEN", None)
    own = {
        "HOME": home,
        "LOGNAME": description.run_as_user,
        "USER": description.run_as_user,
        "MESOS_SANDBOX": sandbox,
        "WAITER_CLUSTER": cluster,
        "WAITER_CONCURRENCY_LEVEL": str(description.concurrency_level),
        "WAITER_CPUS": f"{description.cpus:g}",
        "WAITER_INSTANCE_ID": instance_id,
        "WAITER_MEM_MB": f"{description.mem:.15g}",
        "WAITER_PASSWORD": password,
        "WAITER_SANDBOX": sandbox,
        "WAITER_SERVICE_ID": service_id,
        "WAITER_USERNAME": "waiter",
    }
    if ports:
        own["PORT"] = str(ports[0])
    own |= {f"PORT{index}": str(port) for index, port in enumerate(ports)}
    if description.metric_group is not None:
        own["WAITER_METRIC_GROUP"] = description.metric_group
    if token is not None:
        own["WAITER_TOKEN"] = token
    return inherited(parent) | given | own


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What may be written to disk."""
    return {name: text for name, text in environment.items() if name not in SECRET}
