"""How far one request for a service has come."""

from waiter.catalog.descriptor import Descriptor
from waiter.errors import WaiterError
from waiter.model.instance import Instance
from waiter.reservation.reserver import InstanceReserver
from waiter.router.answers import Answer
from waiter.telemetry.metrics import ServiceMetrics


class Course:
    """
    What is known of a request's way, for numbers, log, errors and curious clients. What few requests change is not set for
    each.

    @ivar known: the service is: C{descriptor}, C{numbers} and C{reserver} are there.
    @ivar instance: the one that was tried last; it is there when C{leased_at} is set.
    @ivar started_at: when the request came, in the clock's seconds, like those that follow.
    @ivar leased_at: when there was a slot for the first time.
    @ivar asked_at: when the request was sent to C{instance}.
    @ivar answered_at: when the answer's head came, which is in C{answer} then.
    @ivar status: of the answer the client has been sent.
    @ivar error: what it was told instead of an instance's answer.
    @ivar cors_lines: what tells a browser that another site's page may have the answer.
    @ivar response_bytes: of the answer's body, as they came.
    @ivar tries: how often the request was sent, or would have been if the instance could have been reached.
    """

    descriptor: Descriptor
    numbers: ServiceMetrics
    reserver: InstanceReserver
    instance: Instance
    known = False
    started_at: float | None = None
    leased_at: float | None = None
    asked_at = 0.0
    answered_at = 0.0
    answer: Answer | None = None
    status: int | None = None
    error: WaiterError | None = None
    cors_lines = b""
    response_bytes = 0
    tries = 1
