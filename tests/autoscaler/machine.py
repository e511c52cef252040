"""A machine with little room on a simulated clock: everything but processes, health checks and HTTP is the real thing."""

from functools import partial
from pathlib import Path

from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from tests.scheduler.local.fakes import HEALTHY, REFUSED, FakeRunner
from waiter.autoscaler.autoscaler import Autoscaler
from waiter.autoscaler.collection import IdleCollector
from waiter.autoscaler.evictor import Evictor
from waiter.autoscaler.executor import ScalingExecutor
from waiter.autoscaler.stopping import always_approved
from waiter.discovery.aggregator import Aggregator
from waiter.discovery.collectors import RouterCollector, ServiceCollector
from waiter.discovery.routers import StaticRouterDirectory
from waiter.model.outcome import Outcome
from waiter.model.resources import Resources
from waiter.reservation.lease import Lease
from waiter.reservation.manager import ReserverManager
from waiter.scheduler.local.scheduler import LocalScheduler
from waiter.support.turns import SLICE_SECS


class _Probe:
    """Finds an instance healthy C{start_secs} after its start."""

    def __init__(self, clock, start_secs):
        self._clock = clock
        self._start_secs = start_secs

    def check(self, instance, description, **_):
        ready = self._clock.seconds() >= instance.started_at + self._start_secs
        return succeed(HEALTHY if ready else REFUSED)


class _Runner(FakeRunner):
    """What it starts takes C{end_secs} to end."""

    def __init__(self, clock, end_secs):
        super().__init__(clock)
        self._end_secs = end_secs
        self.ended = []

    def start(self, service):
        running = super().start(service)
        terminate = running.terminate
        running.lingers = True

        def end(grace_secs):
            if running.id not in self.ended:
                self.ended.append(running.id)
                self.clock.callLater(self._end_secs, running.vanish)
            return terminate(grace_secs)

        running.terminate = end
        return running


class Machine:
    """
    All parts from the scheduler to the reservation, wired as in production.

    @ivar leader: whether this router leads.
    @ivar approve: who is asked before a kill.
    """

    def __init__(self, case, *services, mem=800.0, start_secs=0.2, end_secs=0.01, lag_secs=None):
        self.case = case
        self.clock = clock = Clock()
        clock.advance(1000)
        self.services = {service.id: service for service in services}
        self.leader = True
        self.approve = always_approved
        self.runner = _Runner(clock, end_secs)
        wall = clock.seconds
        self.scheduler = LocalScheduler(
            clock,
            directory=Path(case.mktemp()),
            cluster="waiter",
            wall=wall,
            probe=_Probe(clock, start_secs),
            describe=self.services.get,
            secret=lambda: b"secret",
            machine=Resources(cpus=100, mem=mem / 0.8),
            user="somebody",
            runner=self.runner,
        )
        self.reservers = ReserverManager(clock, wall=wall)
        self.aggregator = Aggregator(
            clock, router_id="r", wall=wall, describe=self.services.get, failing=self.reservers.failing
        )
        directory = StaticRouterDirectory("r", "http://r")
        collectors = [
            RouterCollector(clock, directory, self.aggregator.router_news),
            ServiceCollector(
                clock,
                self.scheduler,
                self.aggregator.scheduler_news,
                probe=None,
                describe=self.services.get,
                wall=wall,
            ),
        ]
        self.executor = ScalingExecutor(
            clock,
            self.scheduler,
            self.reservers,
            killed=self.aggregator.killed,
            approve=self._approve,
        )
        rules = {"loads": self.reservers.loads, "is_leader": lambda: self.leader}
        self.autoscaler = Autoscaler(clock, self.executor, describe=self.services.get, **rules)
        self.collector = IdleCollector(clock, self.executor, **rules)
        self.evictor = Evictor(clock, self.executor, self.reservers, self.scheduler, **rules)
        states = self.aggregator.states
        for part in (self.reservers, self.autoscaler, self.collector, self.evictor):
            states.subscribe(part.update if lag_secs is None else partial(clock.callLater, lag_secs, part.update))
        self.reservers.demands.subscribe(self.autoscaler.demand)
        self.reservers.demands.subscribe(self.evictor.demand)
        self.reservers.idles.subscribe(self.evictor.became_idle)
        for part in (
            self.scheduler,
            self.reservers,
            *collectors,
            self.executor,
            self.autoscaler,
            self.collector,
            self.evictor,
        ):
            part.startService()
        self.run(0.1 + (lag_secs or 0))

    def _approve(self, instance):
        return self.approve(instance)

    def takes_turns(self):
        """From now on each service keeps the aggregator for a whole turn."""

        def describe(service_id):
            self.clock.rightNow += 2 * SLICE_SECS
            return self.services.get(service_id)

        self.aggregator._describe = describe

    def run(self, secs, step=0.01):
        """Let time pass."""
        for _ in range(round(secs / step)):
            self.clock.advance(step)

    def at_once(self):
        """Let everything happen that needs no time."""
        for _ in range(20):
            self.clock.advance(0)

    def wait(self, service, timeout_secs=300):
        """A request that may have to wait: a list that gets its lease or its failure, and the Deferred, if there is one."""
        got = []
        answer = self.reservers.reserver(service).reserve(timeout_secs=timeout_secs)
        if isinstance(answer, Lease):
            return [answer], None
        answer.addBoth(got.append)
        return got, answer

    def take(self, service, within_secs=10):
        """A request that gets a slot, which it keeps."""
        got, _ = self.wait(service)
        for _ in range(round(within_secs / 0.01)):
            if got:
                break
            self.clock.advance(0.01)
        self.case.assertTrue(got, f"{service.id} got no instance; {self.scheduler.state()}")
        self.case.assertIsInstance(got[0], Lease)
        return got[0]

    def use(self, service, within_secs=10):
        """A request from its beginning to its end; the id of its instance."""
        lease = self.take(service, within_secs)
        lease.release(Outcome.SUCCESS)
        return lease.instance.id

    def running(self, service=None):
        """The ids of what runs and is not ending, in the order of their starts."""
        return [
            running.id
            for running in self.runner.started
            if running.id not in self.runner.ended and (service is None or running.service_id == service.id)
        ]

    @property
    def ended(self):
        """The ids of what was ended, in this order."""
        return self.runner.ended

    def status(self, service):
        """What users are told of it."""
        state = self.aggregator.state.services.get(service.id)
        return "Inactive" if state is None else state.status
