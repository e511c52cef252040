"""Tests for L{waiter.autoscaler.executor}, with the real reservation and a scheduler in memory."""

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.autoscaler.support import service
from tests.autoscaler.world import World
from waiter.autoscaler.executor import ScalingOrder
from waiter.errors import ServiceFailing, ServiceUnavailable
from waiter.model.outcome import Outcome
from waiter.scheduler.interface import SchedulerUnavailable


class ExecutorCase(SynchronousTestCase):
    parameters = {}
    options = {}

    def setUp(self):
        self.service = service(**self.parameters)
        self.world = World(self.service, executor=self.options)
        self.scheduler = self.world.scheduler
        self.executor = self.world.executor
        self.executor.startService()
        self.clock = self.world.clock

    def have(self, instances):
        """Let that many instances run."""
        self.scheduler.put(self.service, requested=instances)
        self.clock.advance(0.01)
        self.assertEqual(len(self.world.running(self.service)), instances)
        self.scheduler.calls.clear()

    def order(self, scale_to, *, total=None, task_count=None):
        """Order a step from what there is."""
        total = self.world.requested(self.service) if total is None else total
        task_count = len(self.world.running(self.service)) if task_count is None else task_count
        self.executor.execute(ScalingOrder(service=self.service, total=total, task_count=task_count, scale_to=scale_to))

    def occupy(self, count):
        """Take that many slots."""
        return [self.world.reserve(self.service) for _ in range(count)]

    def locked(self):
        """Whether any instance is locked."""
        return any(row.lock is not None for row in self.world.reservers.find(self.service.id)._table.rows.values())

    @property
    def counters(self):
        return self.executor.state()[self.service.id]["counters"]


class ScaleUp(ExecutorCase):
    def test_number(self):
        """The number is given to the scheduler as it is."""
        self.have(2)
        self.order(5)
        self.assertEqual(self.scheduler.calls, [("scale", self.service.id, 5, False)])
        self.assertEqual(self.executor.ledger.requested(self.service.id, 2), 5)

    def test_pending_tasks(self):
        """A step up is made although an earlier one has not led to instances yet."""
        self.have(2)
        self.order(5, total=4, task_count=2)
        self.assertEqual(self.world.requested(self.service), 5)

    def test_latest_number_is_set_next(self):
        """Numbers that come while another is being set: the latest is set after it, the others never."""
        self.have(1)
        self.scheduler.hold()
        for number in (3, 4, 6):
            self.order(number, total=1)
        self.assertEqual(len(self.scheduler.calls), 1)
        self.scheduler.let_go()
        self.assertEqual([call[2] for call in self.scheduler.calls], [3, 6])
        self.assertEqual(self.world.requested(self.service), 6)

    def test_same_number_is_not_set_twice(self):
        """The number being set is not set again."""
        self.have(1)
        self.scheduler.hold()
        self.order(3, total=1)
        self.order(3, total=1)
        self.scheduler.let_go()
        self.assertEqual(len(self.scheduler.calls), 1)

    def test_number_being_set_counts(self):
        """The number being set counts as requested, so that a turn meanwhile does not take it back."""
        self.have(1)
        self.scheduler.hold()
        self.order(3)
        self.assertEqual(self.executor.ledger.requested(self.service.id, 1), 3)
        self.assertFalse(self.executor.is_settled(self.service.id))

    def test_failure(self):
        """A failure is logged and not remembered as done; the next order is tried."""
        self.have(1)
        self.scheduler.failure = OSError("unreachable")
        self.order(3)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertTrue(self.executor.ledger.is_settled(self.service.id))
        self.scheduler.failure = None
        self.order(3)
        self.assertEqual(self.world.requested(self.service), 3)
        self.assertEqual((self.counters["scale-up.fail"], self.counters["scale-up.success"]), (1, 1))

    def test_failure_with_a_number_waiting(self):
        """What was ordered before it was known that the scheduler cannot be asked is not done when it can be again."""
        self.have(1)
        self.scheduler.failure = SchedulerUnavailable("away")
        self.scheduler.hold()
        self.order(3, total=1)
        self.order(4, total=1)
        self.scheduler.let_go()
        self.assertEqual(len(self.scheduler.calls), 1)
        self.scheduler.failure = None
        self.order(2, total=1)
        self.assertEqual([call[2] for call in self.scheduler.calls], [3, 2])

    def test_no_answer(self):
        """A scheduler that does not answer is waited for half a minute."""
        self.have(1)
        self.scheduler.hold()
        self.order(3)
        self.clock.advance(29)
        self.assertTrue(self.executor._desks[self.service.id].is_busy)
        self.clock.advance(1)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertFalse(self.executor._desks[self.service.id].is_busy)

    def test_while_killing(self):
        """A step up does not wait for instances that are being stopped."""
        self.have(3)
        self.scheduler.hold()
        self.order(2)
        self.scheduler._unanswered, held = None, self.scheduler._unanswered
        self.order(5)
        self.assertEqual(self.world.requested(self.service), 5)
        self.scheduler._unanswered = held
        self.scheduler.let_go()
        self.assertEqual(len(self.world.killed), 1)
        self.assertEqual(self.executor.ledger.requested(self.service.id, 3), 5)


class Quanta(ExecutorCase):
    parameters = {"cpus": 3, "mem": 1000}

    def scaled_by(self, **quanta):
        world = World(self.service, executor=quanta)
        world.scheduler.put(self.service, requested=10)
        world.executor.execute(ScalingOrder(service=self.service, total=10, task_count=10, scale_to=20))
        return world.requested(self.service) - 10

    def test_limits(self):
        """A step up adds as much as fits into the quanta, at least one and at most what is ordered."""
        self.assertEqual(self.scaled_by(), 10)
        self.assertEqual(self.scaled_by(quanta_cpus=14), 4)
        self.assertEqual(self.scaled_by(quanta_mem=2500), 2)
        self.assertEqual(self.scaled_by(quanta_cpus=14, quanta_mem=2500), 2)
        self.assertEqual(self.scaled_by(quanta_cpus=1, quanta_mem=1), 1)


class Force(ExecutorCase):
    def test_fewer_tasks_than_wanted(self):
        """If there are fewer instances than wanted, only the requested number is lowered, by force."""
        self.have(3)
        self.order(5, total=8, task_count=3)
        self.assertEqual(self.scheduler.calls, [("scale", self.service.id, 5, True)])

    def test_as_many_tasks_as_wanted(self):
        """If there are as many as wanted, nothing is done."""
        self.have(5)
        self.order(5, total=8, task_count=5)
        self.assertEqual(self.scheduler.calls, [])


class ScaleDown(ExecutorCase):
    def test_several_at_once(self):
        """All that are too many are stopped in one turn, the youngest first, and everybody is told."""
        self.have(5)
        self.order(2)
        self.assertEqual(self.world.killed, [f"{self.service.id}.{n:04}" for n in (5, 4, 3)])
        self.assertEqual(self.world.requested(self.service), 2)
        self.assertEqual(self.executor.ledger.requested(self.service.id, 5), 2)
        self.assertFalse(self.locked())

    def test_busy_ones_stay(self):
        """Only as many as serve nobody are stopped."""
        self.have(5)
        leases = self.occupy(3)
        self.order(1)
        self.assertEqual(len(self.world.killed), 2)
        self.assertFalse({lease.instance.id for lease in leases} & set(self.world.killed))

    def test_all_busy(self):
        """If all are busy, nothing is stopped, and the next turn need not wait."""
        self.have(2)
        leases = self.occupy(2)
        self.order(1)
        self.assertEqual((self.world.killed, self.counters["scale-down.unavailable"]), ([], 1))
        leases[0].release(Outcome.SUCCESS)
        self.order(1)
        self.assertEqual(len(self.world.killed), 1)

    def test_not_below_what_is_wanted(self):
        """Instances beyond the requested number are not stopped at the price of a requested number that is too low."""
        self.have(3)
        for _ in range(3):
            self.scheduler.start(self.service.id)
        self.clock.advance(0.01)
        self.order(2, total=3, task_count=6)
        self.assertEqual((len(self.world.killed), self.world.requested(self.service)), (1, 2))

    def test_pause(self):
        """After a turn that stopped some, the next comes a second later."""
        self.have(5)
        self.order(4)
        self.clock.advance(0.99)
        self.order(3)
        self.assertEqual((len(self.world.killed), self.counters["scale-down.ignore"]), (1, 1))
        self.clock.advance(0.01)
        self.order(3)
        self.assertEqual(len(self.world.killed), 2)

    def test_one_round_at_a_time(self):
        """While instances are being stopped and that does not show, no more are, however long it takes."""
        self.have(5)
        self.scheduler.hold()
        self.order(4)
        for _ in range(25):
            self.clock.advance(1)
            self.executor.ledger.observe({self.service.id: 5}.get, self.clock.seconds())
            self.order(3)
        self.assertEqual(len(self.scheduler.calls), 1)
        self.scheduler.let_go()
        self.assertEqual(len(self.world.killed), 1)

    def test_next_round(self):
        """When the scheduler counts an instance that is being stopped no more, the next ones may be, though it is not over."""
        self.have(5)
        self.scheduler.hold()
        self.order(4)
        self.executor.ledger.observe({self.service.id: 4}.get, self.clock.seconds())
        self.clock.advance(0.9)
        self.order(3, total=4, task_count=4)
        self.assertEqual(len(self.scheduler.calls), 1)
        self.clock.advance(0.1)
        self.order(3, total=4, task_count=4)
        self.assertEqual(len(self.scheduler.calls), 2)
        self.assertEqual(self.executor.ledger.requested(self.service.id, 4), 3)
        self.scheduler.let_go()
        self.assertEqual(len(self.world.killed), 2)
        self.assertEqual(self.executor.ledger.requested(self.service.id, 4), 3)

    def test_some_survive(self):
        """If only some are stopped, those count as gone before it shows, and only those."""
        self.have(5)
        self.scheduler.quiet = True
        self.scheduler.unkillable.add(f"{self.service.id}.0005")
        self.order(2)
        self.assertEqual(len(self.world.killed), 2)
        self.assertEqual(self.executor.ledger.requested(self.service.id, 5), 3)

    def test_lock(self):
        """An instance gets no request while it is being stopped, nor afterwards."""
        self.have(2)
        self.scheduler.hold()
        self.order(1)
        first, second = self.occupy(2)
        self.assertIsInstance(second, Deferred)
        self.scheduler.let_go()
        self.assertNoResult(second)
        first.release(Outcome.SUCCESS)
        self.assertEqual(self.successResultOf(second).instance.id, f"{self.service.id}.0001")

    def test_not_killed(self):
        """An instance that survives serves again, and the next turn need not wait."""
        self.have(2)
        self.scheduler.unkillable.update(self.world.running(self.service))
        self.order(1)
        self.assertEqual((self.world.killed, self.locked()), ([], False))
        self.assertEqual(self.counters["scale-down.kill-fail"], 1)
        self.assertEqual(self.executor.ledger.requested(self.service.id, 2), 2)
        self.order(1)
        self.assertEqual(self.counters["scale-down.kill-fail"], 2)
        self.assertEqual([type(lease).__name__ for lease in self.occupy(2)], ["Lease", "Lease"])
        self.scheduler.unkillable.clear()

    def test_what_is_being_killed_is_told(self):
        """Whoever wants to know hears of each instance while it is being killed, however that goes."""
        self.have(3)
        self.scheduler.hold()
        self.order(1)
        self.assertEqual(sorted(self.world.stopping), sorted(name for _, name in self.scheduler.calls))
        self.assertEqual(len(self.world.stopping), 2)
        self.scheduler.unkillable.add(self.world.stopping[0])
        self.scheduler.let_go()
        self.assertEqual((self.world.stopping, len(self.world.killed)), ([], 1))

    def test_scheduler_raises(self):
        """A scheduler that breaks its word and fails leaves no lock behind."""
        self.have(2)

        def kill(instance):
            raise OSError("broken")

        self.scheduler.kill = kill
        self.order(1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertFalse(self.locked())
        self.assertFalse(self.executor._desks[self.service.id].is_busy)

    def test_deadline(self):
        """A kill that does not end is given up, and its lock released."""
        self.have(2)
        self.scheduler.hold()
        self.order(1)
        self.clock.advance(29.9)
        self.assertTrue(self.locked())
        self.clock.advance(0.1)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertFalse(self.locked())
        self.assertFalse(self.executor._desks[self.service.id].is_busy)

    def test_killed_callback_fails(self):
        """If whoever is told of a kill fails, it is a kill all the same."""
        self.have(3)
        self.executor._stopper._killed = lambda instance: 1 / 0
        self.order(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual((self.world.requested(self.service), self.locked()), (1, False))

    def test_stop(self):
        """Stopping the executor releases the locks and refuses further orders."""
        self.have(3)
        self.scheduler.hold()
        self.order(1)
        self.assertTrue(self.locked())
        self.successResultOf(self.executor.stopService())
        self.assertFalse(self.locked())
        self.order(1)
        self.order(5)
        self.assertFalse(self.locked())
        self.assertEqual(len(self.scheduler.calls), 2)
        self.assertEqual(self.world.killed, [])


class LongGrace(ExecutorCase):
    parameters = {"termination_grace_period_secs": 100}

    def test_deadline_follows_the_grace_period(self):
        """An instance that may take long to end is waited for longer."""
        self.have(2)
        self.scheduler.hold()
        self.order(1)
        self.clock.advance(129)
        self.assertTrue(self.locked())
        self.scheduler.let_go()
        self.assertEqual(len(self.world.killed), 1)


class FewAtATime(ExecutorCase):
    options = {"kills_per_turn": 2}

    def test_limit(self):
        """No more than the limit are stopped in one turn."""
        self.have(10)
        self.order(1)
        self.assertEqual(len(self.world.killed), 2)


class Approval(ExecutorCase):
    def setUp(self):
        self.asked = []
        self.veto = set()
        self.options = {"approve": self.approve}
        super().setUp()

    def approve(self, instance):
        self.asked.append(instance.id)
        return succeed(instance.id not in self.veto)

    def test_veto(self):
        """An instance to which others object stays, and the next best is taken."""
        self.have(3)
        youngest, next_one = f"{self.service.id}.0003", f"{self.service.id}.0002"
        self.veto.add(youngest)
        self.order(2)
        self.assertEqual((self.asked, self.world.killed), ([youngest, next_one], [next_one]))
        self.assertFalse(self.locked())
        self.assertEqual(self.counters["scale-down.vetoed-instance"], 1)

    def test_all_vetoed(self):
        """If all are objected to, nothing is stopped, and the next turn need not wait."""
        self.have(3)
        self.veto.update(self.world.running(self.service))
        self.order(1)
        self.assertEqual((self.world.killed, self.locked()), ([], False))
        self.veto.clear()
        self.order(1)
        self.assertEqual(len(self.world.killed), 2)

    def test_no_answer(self):
        """Without an answer nothing is stopped."""
        self.have(2)
        self.executor._stopper._approve = lambda instance: Deferred()
        self.order(1)
        self.clock.advance(30)
        self.flushLoggedErrors()
        self.assertEqual((self.world.killed, self.locked()), ([], False))

    def test_deletion(self):
        """A service stays if others object to the end of one instance."""
        self.have(3)
        self.veto.add(self.world.running(self.service)[1])
        self.assertIs(self.successResultOf(self.executor.delete(self.service)), False)
        self.assertEqual((self.scheduler.calls, self.locked()), ([], False))


class Deletion(ExecutorCase):
    def delete(self):
        return self.executor.delete(self.service)

    def test_idle(self):
        """A service that nobody uses is deleted with all its instances."""
        self.have(3)
        instances = set(self.world.running(self.service))
        self.assertIs(self.successResultOf(self.delete()), True)
        self.assertEqual(self.scheduler.calls, [("delete", self.service.id)])
        self.assertEqual(set(self.world.killed), instances)
        self.assertIsNone(self.executor.ledger.requested(self.service.id, 3))

    def test_busy(self):
        """If one instance serves, all stay, and none is locked."""
        self.have(3)
        self.occupy(1)
        self.assertIs(self.successResultOf(self.delete()), False)
        self.assertEqual((self.scheduler.calls, self.locked()), ([], False))

    def test_no_instances(self):
        """A service without instances is deleted, too."""
        self.have(0)
        self.assertIs(self.successResultOf(self.delete()), True)

    def test_expired_and_starting(self):
        """That some instances are to be replaced and others only start does not keep an idle service."""
        self.world.start_secs = None
        self.have(1)
        self.scheduler.start(self.service.id, healthy=True)
        self.world.expire(self.scheduler.start(self.service.id, healthy=True).id)
        self.clock.advance(0.01)
        self.assertIs(self.successResultOf(self.delete()), True)
        self.assertEqual(len(self.world.killed), 3)

    def test_being_killed(self):
        """A service of which an instance is being stopped is not deleted yet."""
        self.have(2)
        self.scheduler.hold()
        self.order(1)
        self.assertIs(self.successResultOf(self.delete()), False)

    def test_something_under_way(self):
        """A service that is being scaled is not deleted."""
        self.have(1)
        self.scheduler.hold()
        self.order(2)
        self.assertIs(self.successResultOf(self.delete()), False)

    def test_nothing_meanwhile(self):
        """While it is being deleted it is neither scaled nor deleted again."""
        self.have(2)
        self.scheduler.hold()
        self.delete()
        self.order(3, total=2, task_count=2)
        self.order(1, total=2, task_count=2)
        self.assertIs(self.successResultOf(self.delete()), False)
        self.assertEqual(len(self.scheduler.calls), 1)
        self.assertTrue(self.executor.is_deleting(self.service.id))

    def test_request_meanwhile(self):
        """A request that comes during the deletion is served by a new instance after it."""
        self.have(1)
        self.scheduler.hold()
        self.delete()
        (waiting,) = self.occupy(1)
        self.executor.create(self.service)
        self.assertEqual(self.world.calls("create"), [])
        self.scheduler.let_go()
        self.assertEqual([call[0] for call in self.scheduler.calls], ["delete", "create"])
        self.clock.advance(0.01)
        self.assertEqual(self.successResultOf(waiting).instance.id, f"{self.service.id}.0002")

    def test_failure(self):
        """If the scheduler fails, everything is as it was, and who waited meanwhile is served."""
        self.have(1)
        self.scheduler.failure = OSError("unreachable")
        self.scheduler.hold()
        deleting = self.delete()
        (waiting,) = self.occupy(1)
        self.executor.create(self.service)
        self.scheduler.let_go()
        self.assertIs(self.successResultOf(deleting), False)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.successResultOf(waiting).instance.id, f"{self.service.id}.0001")
        self.assertEqual((self.world.killed, self.world.calls("create")), ([], []))

    def test_no_answer(self):
        """A deletion that does not end is given up."""
        self.have(1)
        self.scheduler.hold()
        deleting = self.delete()
        self.clock.advance(30)
        self.assertIs(self.successResultOf(deleting), False)
        self.flushLoggedErrors()
        self.assertFalse(self.locked())

    def test_stop(self):
        """Stopping the executor ends the deletion and releases the locks."""
        self.have(1)
        self.scheduler.hold()
        deleting = self.delete()
        self.successResultOf(self.executor.stopService())
        self.assertIs(self.successResultOf(deleting), False)
        self.assertFalse(self.locked())
        self.assertIs(self.successResultOf(self.delete()), False)
        self.assertFalse(self.locked())


class Creation(ExecutorCase):
    def test_create(self):
        """A created service counts as existing before it is seen."""
        self.scheduler.quiet = True
        self.executor.create(self.service)
        self.assertEqual(self.executor.ledger.requested(self.service.id, None), 1)

    def test_refusal_reaches_those_who_wait(self):
        """What the scheduler says against the service is told to all who wait, and the next request may try again."""
        self.scheduler.refusal = ServiceUnavailable("There is no room for it.")
        waiting = self.occupy(3)
        self.executor.create(self.service)
        self.flushLoggedErrors(ServiceUnavailable)
        for request in waiting:
            self.assertIn("There is no room for it.", self.failureResultOf(request, ServiceFailing).value.message)
        self.scheduler.refusal = None
        self.clock.advance(1)
        (waiting,) = self.occupy(1)
        self.executor.create(self.service)
        self.clock.advance(0.01)
        self.assertEqual(self.successResultOf(waiting).instance.service_id, self.service.id)


class Views(ExecutorCase):
    def test_scaling_down_reaches_the_reserver(self):
        """The reserver learns that instances are to go; that a service has none is no error."""
        self.have(1)
        self.executor.set_scaling_down(self.service.id, True)
        self.assertTrue(self.world.reservers.find(self.service.id)._scaling_down)
        self.executor.set_scaling_down("unknown", True)

    def test_retain(self):
        """Services that are gone are forgotten."""
        self.have(1)
        self.order(2)
        self.executor.retain(lambda service_id: True)
        self.assertIn(self.service.id, self.executor.state())
        self.executor.retain(lambda service_id: False)
        self.assertEqual(self.executor.state(), {})
