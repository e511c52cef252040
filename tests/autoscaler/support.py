"""What the autoscaler's tests share."""

from waiter.model.description import ServiceDescription
from waiter.model.service import Service


def description(**parameters):
    """A description, with the defaults for what is not given."""
    return ServiceDescription(
        **{"cmd": "./run", "cpus": 0.1, "mem": 128, "run_as_user": "somebody", "version": "v1", **parameters}
    )


def service(service_id="waiter-service-s-1", **parameters):
    """A service with the parameters."""
    return Service(id=service_id, core={}, description=description(**parameters))
