"""What every instance of a service is told, wherever it runs: pure rules."""

import hashlib
import hmac

from waiter.model.description import ServiceDescription


def service_password(secret: bytes, service_id: str) -> str:
    """The password with which Waiter authenticates to a service: as secret as C{secret}, and another for each service."""
    return hmac.new(secret, b"waiter-password:" + service_id.encode(), hashlib.sha256).hexdigest()


def service_environment(
    description: ServiceDescription, *, cluster: str, service_id: str, home: str, password: str
) -> dict[str, str]:
    """
    The environment variables of an instance, beside those that tell it from other instances. What Waiter sets wins over the
    description.

    @param home: the home directory of the user whom it runs as, or what stands for it.
    """
    given = dict(description.env)
    token = given.pop("WAITER_CONFIG_TOKEN", None)
    own = {
        "HOME": home,
        "LOGNAME": description.run_as_user,
        "USER": description.run_as_user,
        "WAITER_CLUSTER": cluster,
        "WAITER_CONCURRENCY_LEVEL": str(description.concurrency_level),
        "WAITER_CPUS": f"{description.cpus:g}",
        "WAITER_MEM_MB": f"{description.mem:.15g}",
        "WAITER_PASSWORD": password,
        "WAITER_SERVICE_ID": service_id,
        "WAITER_USERNAME": "waiter",
    }
    if description.metric_group is not None:
        own["WAITER_METRIC_GROUP"] = description.metric_group
    if token is not None:
        own["WAITER_TOKEN"] = token
    return given | own
