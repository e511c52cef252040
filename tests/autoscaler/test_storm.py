"""Anything may happen, in any order; afterwards everybody has been served, and everything is gone."""

from hypothesis import given, note, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.autoscaler.support import service
from tests.autoscaler.world import World

SECS = st.floats(0.01, 15)
EVENTS = st.one_of(
    st.tuples(st.just("clients"), st.integers(1, 12), st.floats(0.01, 5), st.integers(1, 10)),
    st.tuples(st.just("pass"), SECS),
    st.tuples(st.just("scheduler fails"), SECS),
    st.tuples(st.just("scheduler is silent"), SECS),
    st.tuples(st.just("nobody leads"), SECS),
    st.tuples(st.just("load is not known"), SECS),
    st.tuples(st.just("expire"), st.integers(0, 20)),
    st.tuples(st.just("unkillable"), SECS),
    st.tuples(st.just("late news"), st.floats(0, 4)),
)
PARAMETERS = st.fixed_dictionaries(
    {
        "min_instances": st.integers(0, 3),
        "max_instances": st.integers(3, 8),
        "concurrency_level": st.integers(1, 3),
        "scale_up_factor": st.sampled_from([0.1, 0.5, 0.9]),
        "scale_down_factor": st.sampled_from([0.1, 0.5, 0.9]),
        "jitter_threshold": st.sampled_from([0.1, 0.5, 0.9]),
        "expired_instance_restart_rate": st.sampled_from([0.1, 1]),
        "idle_timeout_mins": st.just(0.1),
        "load_balancing": st.sampled_from(["oldest", "youngest", "random"]),
    }
)


class Storm:
    """
    One service, and things that happen to it.

    The surge is at most 2 here.
    """

    def __init__(self, parameters, **world):
        self.service = service(**parameters)
        self.world = World(self.service, **world, lag_secs=0.005, autoscaler={"max_surge": 2}).start()
        self.clients = []

    def run(self, secs, step=0.1):
        """Let time pass and look."""
        for _ in range(max(1, round(secs / step))):
            self.world.clock.advance(step)
            requested = self.world.requested(self.service)
            if requested is not None and requested > self.service.description.max_instances + 2:
                self.world.errors.append(f"{requested} instances were requested")

    def happen(self, event):
        """Do one of C{EVENTS}."""
        world, scheduler = self.world, self.world.scheduler
        match event:
            case ("clients", count, request_secs, requests):
                self.clients += [world.client(self.service, request_secs, requests) for _ in range(count)]
            case ("pass", secs):
                self.run(secs)
            case ("scheduler fails", secs):
                scheduler.failure = OSError("unreachable")
                self.run(secs)
                scheduler.failure = None
            case ("scheduler is silent", secs):
                scheduler.hold()
                self.run(secs)
                scheduler.let_go()
            case ("nobody leads", secs):
                world.leader = False
                self.run(secs)
                world.leader = True
            case ("load is not known", secs):
                loads, world.loads = world.loads, lambda: None
                self.run(secs)
                world.loads = loads
            case ("expire", number):
                running = world.running(self.service)
                if running:
                    world.expire(running[number % len(running)])
            case ("unkillable", secs):
                scheduler.unkillable.update(world.running(self.service))
                self.run(secs)
                scheduler.unkillable.clear()
            case ("late news", secs):
                world.lag_secs = secs

    def calm_down(self):
        """Let everybody be served, and then the service be idle for long."""
        self.world.lag_secs = 0.005
        for _ in range(1000):
            if not any(client.left for client in self.clients):
                break
            self.run(5)
        self.run(90)

    def locks(self):
        """The instances that are locked."""
        reserver = self.world.reservers.find(self.service.id)
        return [] if reserver is None else [row for row in reserver._table.rows.values() if row.lock is not None]


class StormTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=150)
    @given(
        parameters=PARAMETERS,
        start_secs=st.sampled_from([0.0, 0.3, 2.0]),
        kill_secs=st.sampled_from([None, 0.3, 8.0]),
        events=st.lists(EVENTS, max_size=12),
    )
    def test_survived(self, parameters, start_secs, kill_secs, events):
        """
        Whatever happens, every request is served, no instance is stopped while it serves, the number stays within its bounds
        and the surge, and in the end the service is gone and no lock is left.
        """
        storm = Storm(parameters, start_secs=start_secs, kill_secs=kill_secs)
        for event in events:
            storm.happen(event)
        storm.calm_down()
        self.flushLoggedErrors()
        note(f"calls: {storm.world.scheduler.calls}")
        self.assertEqual(storm.world.errors, [])
        self.assertEqual([client for client in storm.clients if client.left], [])
        self.assertEqual(storm.locks(), [])
        self.assertIsNone(storm.world.requested(storm.service))
