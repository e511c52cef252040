"""A small world on a simulated clock: a scheduler that starts what is requested, the real reservation, clients."""

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater

from tests.doubles.scheduler import MemoryScheduler
from waiter.autoscaler.autoscaler import Autoscaler
from waiter.autoscaler.collection import IdleCollector
from waiter.autoscaler.executor import ScalingExecutor
from waiter.errors import ServiceFailing
from waiter.model.instance import Flag
from waiter.model.outcome import Outcome
from waiter.model.routing import InstanceCounts, RoutingState, ServiceState
from waiter.reservation.lease import Lease
from waiter.reservation.manager import ReserverManager


class SlowKiller(MemoryScheduler):
    """Stops counting an instance when it is told to kill it, and answers when it is gone C{kill_secs} later."""

    def __init__(self, clock, kill_secs):
        super().__init__(wall=clock.seconds)
        self._clock = clock
        self._kill_secs = kill_secs

    def kill(self, instance):
        return (
            super().kill(instance).addCallback(lambda result: deferLater(self._clock, self._kill_secs, lambda: result))
        )


class World:
    """
    Everything that decides about the number of instances, wired as in production, around doubles.

    @ivar start_secs: how long an instance takes to become healthy; C{None} for ever.
    @ivar kill_secs: how long an instance takes to end after it was told to; C{None} for no time at all.
    @ivar lag_secs: how old the routing state is when it arrives; C{None} if the test publishes it.
    @ivar stopping: the ids of instances that are being killed.
    @ivar errors: what went against the rules, in words.
    """

    def __init__(
        self,
        *services,
        start_secs=0.0,
        lag_secs=0.0,
        kill_secs=None,
        leader=True,
        executor=None,
        autoscaler=None,
        collector=None,
    ):
        self.clock = Clock()
        self.clock.advance(1000)
        self.start_secs = start_secs
        self.lag_secs = lag_secs
        self.leader = leader
        self.services = {service.id: service for service in services}
        wall = self.clock.seconds
        self.scheduler = MemoryScheduler(wall=wall) if kill_secs is None else SlowKiller(self.clock, kill_secs)
        self.reservers = ReserverManager(self.clock, wall=self.clock.seconds)
        self.killed = []
        self.stopping = []
        self.errors = []
        self.loads = self.reservers.loads
        self.executor = ScalingExecutor(
            self.clock,
            self.scheduler,
            self.reservers,
            killed=self._note_killed,
            stopping=self._note_stopping,
            **(executor or {}),
        )
        self.autoscaler = Autoscaler(
            self.clock,
            self.executor,
            describe=self.services.get,
            loads=self._look_at_loads,
            is_leader=lambda: self.leader,
            **(autoscaler or {}),
        )
        self.collector = IdleCollector(
            self.clock, self.executor, loads=self._look_at_loads, is_leader=lambda: self.leader, **(collector or {})
        )
        self.reservers.demands.subscribe(self.autoscaler.demand)
        self.scheduler.subscribe(self._launch_missing)
        self.scheduler.subscribe(self._plan_publication)
        self._publication = None
        self._iteration = 0
        self._launching = False

    def _look_at_loads(self):
        return self.loads()

    def start(self):
        """Publish what there is and start the services."""
        self.publish()
        self.executor.startService()
        self.autoscaler.startService()
        self.collector.startService()
        return self

    def run(self, secs, step=0.01):
        """Let time pass."""
        for _ in range(round(secs / step)):
            self.clock.advance(step)

    # The scheduler's part

    def _launch_missing(self):
        if self._launching:
            return
        self._launching = True
        try:
            for service_id, held in tuple(self.scheduler._services.items()):
                while len(held.active) < held.requested:
                    instance = self.scheduler.start(service_id, healthy=self.start_secs == 0)
                    if self.start_secs:
                        self.clock.callLater(self.start_secs, self._become_healthy, instance)
        finally:
            self._launching = False

    def _become_healthy(self, instance):
        held = self.scheduler._services.get(instance.service_id)
        if held is not None and instance.id in held.active:
            self.scheduler.change(instance, healthy=True)

    def _note_stopping(self, instance):
        self.stopping.append(instance.id)
        return lambda: self.stopping.remove(instance.id)

    def _note_killed(self, instance):
        self.killed.append(instance.id)

    # Discovery's part

    def _plan_publication(self):
        if self.lag_secs is not None and self._publication is None:
            self._publication = self.clock.callLater(self.lag_secs, self.publish)

    def publish(self):
        """Tell everybody the scheduler's state."""
        self._publication = None
        self._iteration += 1
        state = RoutingState(
            iteration=self._iteration,
            services={
                service_id: self._service_state(self.services[service_id], held)
                for service_id, held in self.scheduler._services.items()
            },
        )
        self.reservers.update(state)
        self.autoscaler.update(state)
        self.collector.update(state)

    def _service_state(self, service, held):
        instances = tuple(held.active.values())
        healthy = tuple(instance for instance in instances if instance.healthy)
        unhealthy = tuple(instance for instance in instances if not instance.healthy)
        return ServiceState(
            service=service,
            healthy=healthy,
            unhealthy=unhealthy,
            starting=unhealthy,
            expired=tuple(instance for instance in instances if Flag.EXPIRED in instance.flags),
            slots={instance.id: service.description.concurrency_level for instance in healthy},
            counts=InstanceCounts(healthy=len(healthy), requested=held.requested, scheduled=len(instances)),
        )

    # What tests ask

    def requested(self, service):
        """How many instances are requested; C{None} if the scheduler does not know the service."""
        held = self.scheduler._services.get(service.id)
        return None if held is None else held.requested

    def running(self, service):
        """The ids of its instances."""
        held = self.scheduler._services.get(service.id)
        return [] if held is None else list(held.active)

    def expire(self, instance_id):
        """Let an instance be one to be replaced."""
        held = self.scheduler._services[instance_id.rpartition(".")[0]]
        instance = held.active[instance_id]
        self.scheduler.change(instance, flags=instance.flags | {Flag.EXPIRED})

    def calls(self, *names):
        """What the scheduler was asked, of these kinds."""
        return [call for call in self.scheduler.calls if call[0] in names]

    # Clients

    def reserve(self, service, timeout_secs=300):
        """One request: a lease, or a Deferred of one."""
        return self.reservers.reserver(service).reserve(timeout_secs=timeout_secs)

    def client(self, service, request_secs, requests=None):
        """A client that sends one request after the other, and one that was refused again a second later."""
        client = _Client(world=self, service=service, request_secs=request_secs, left=requests)
        client.send()
        return client


@attrs.define(kw_only=True, eq=False)
class _Client:
    world: World
    service: object
    request_secs: float
    left: int | None
    served: int = 0
    refused: int = 0
    stopped: bool = False
    waiting: Deferred | None = None
    instances: set = attrs.field(factory=set)

    def send(self):
        if self.stopped or self.left == 0:
            return
        if self.left is not None:
            self.left -= 1
        answer = self.world.reserve(self.service)
        if isinstance(answer, Lease):
            self._serve(answer)
        else:
            self.waiting = answer
            answer.addCallbacks(self._serve, self._failed)

    def stop(self):
        """Send no more; the request under way ends as it would."""
        self.stopped = True

    def _serve(self, lease):
        self.waiting = None
        self.instances.add(lease.instance.id)
        self.world.clock.callLater(self.request_secs, self._done, lease)

    def _failed(self, failure):
        self.waiting = None
        if failure.trap(CancelledError, ServiceFailing) is ServiceFailing:
            self.refused += 1
            self.left = None if self.left is None else self.left + 1
            self.world.clock.callLater(1, self.send)

    def _done(self, lease):
        if lease.instance.id not in self.world.running(self.service):
            self.world.errors.append(f"{lease.instance.id} was stopped while it served")
        self.served += 1
        lease.release(Outcome.SUCCESS)
        self.send()
