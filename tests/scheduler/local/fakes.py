"""Stands in for processes and health checks, so that the local scheduler's rules can be driven by a clock."""

from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from waiter.model.description import ServiceDescription
from waiter.model.resources import NOTHING
from waiter.model.service import Service
from waiter.scheduler.health import HealthResult, answered, unanswered
from waiter.scheduler.local.interface import CannotStart, IRunner, IRunning

HEALTHY = answered("http://127.0.0.1:10000/status", 200)
NOT_FOUND = answered("http://127.0.0.1:10000/status", 404)
REFUSED = unanswered(
    "http://127.0.0.1:10000/status", "connect-exception", connected=False, reason="was refused: nothing listens"
)


def service(name="a", **parameters):
    """A service with what the local scheduler needs, and C{parameters} over it."""
    core = {"cmd": "serve", "cpus": 0.5, "mem": 100, "run-as-user": "tester", "version": "1"} | {
        key.replace("_", "-"): value for key, value in parameters.items()
    }
    return Service(id=f"waiter-service-{name}", core=core, description=ServiceDescription.model_validate(core))


class FakeProbe:
    """
    Answers checks at once.

    @ivar result: the next answers; C{None} leaves checks open in C{open}.
    @ivar times: when checks were made.
    @ivar patience: what time each was given.
    """

    def __init__(self, clock, result: HealthResult | None = HEALTHY):
        self.clock = clock
        self.result = result
        self.times = []
        self.patience = []
        self.open = []

    def check(self, instance, description, *, patience_secs):
        self.patience.append(patience_secs)
        self.times.append(self.clock.seconds())
        if self.result is not None:
            return succeed(self.result)
        asked = Deferred()
        self.open.append(asked)
        return asked


@implementer(IRunning)
class FakeRunning:
    """An instance whose end the test decides: C{exit} ends the command, C{vanish} removes what is left."""

    log_directory = "/nowhere"

    def __init__(self, name, service_id, ports, created_at, lingers=False):
        self.id = name
        self.service_id = service_id
        self.ports = ports
        self.created_at = created_at
        self.core = {}
        self.expired = False
        self.was_healthy = False
        self.lingers = lingers
        self.noted = {}
        self.graces = []
        self.forced = self.left = False
        self.code = None
        self.taken = None
        self.remains = False
        # None leaves the looks for it open in looks.
        self.listens = ()
        self.looks = []
        self.lack = None
        self.measurement = None
        self.kernel_kills = False
        self._exited = None
        self._waiting = []

    def watch(self, exited):
        self._exited = exited

    def limit(self, mem, exceeded):
        self.mem = mem
        self.exceed = exceeded

    def measured(self):
        return self.measurement

    def kernel_has_killed(self):
        return self.kernel_kills

    def exit(self, code):
        self.code = code
        self._exited(code)

    def terminate(self, grace_secs):
        self.graces.append(grace_secs)
        if not self.lingers:
            return succeed(None)
        self._waiting.append(Deferred())
        return self._waiting[-1]

    def vanish(self):
        self.lingers = False
        for waiting in self._waiting:
            if not waiting.called:
                waiting.callback(None)

    def force(self):
        self.forced = True

    def leave(self):
        self.left = True

    def taken_port(self):
        return self.taken

    def left_behind(self):
        return self.remains

    def exit_code(self):
        return self.code

    def listeners(self):
        if self.listens is not None:
            return succeed(self.listens)
        self.looks.append(Deferred())
        return self.looks[-1]

    def lack_of_room(self):
        return self.lack

    def last_output(self):
        return ("the last line",)

    def note(self, **changes):
        self.noted.update(changes)


@implementer(IRunner)
class FakeRunner:
    """
    Starts fake instances.

    @ivar started: all of them, in order.
    @ivar refusal: what C{start} raises, if anything.
    @ivar lingers: whether what is started stays until C{vanish}.
    @ivar earlier: what C{adopt} finds.
    """

    def __init__(self, clock):
        self.clock = clock
        self.started = []
        self.refusal: CannotStart | None = None
        self.lingers = False
        self.earlier = []
        self.closed = False
        self.others = NOTHING

    def adopt(self):
        return succeed(self.earlier)

    def start(self, service):
        if self.refusal is not None:
            raise self.refusal
        number = len(self.started)
        running = FakeRunning(
            f"{service.id}.{number}", service.id, (10000 + number,), self.clock.seconds(), lingers=self.lingers
        )
        self.started.append(running)
        return running

    def elsewhere(self):
        return self.others

    def path(self, service_id, instance_id=None):
        return Path("/nowhere") if any(each.id == instance_id for each in self.started) else None

    def cpu_share(self, cpus):
        return {"kind": "fake", "cpus": cpus}

    def state(self):
        return {}

    def close(self):
        self.closed = True
