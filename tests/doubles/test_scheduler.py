"""The scheduler double keeps the interface's promises."""

from inspect import Parameter, signature

from twisted.application.service import IService
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.doubles.scheduler import MemoryScheduler
from waiter.errors import ServiceNotFound
from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag, Instance
from waiter.model.service import Service
from waiter.scheduler.interface import IScheduler, Signal

SERVICE = Service(
    id="s", core={}, description=ServiceDescription(cmd="c", cpus=2, mem=64, run_as_user="u", version="1")
)


class MemorySchedulerTests(SynchronousTestCase):
    def setUp(self):
        self.scheduler = MemoryScheduler(wall=lambda: 100.0, starts=False)
        self.news = []
        self.scheduler.subscribe(lambda: self.news.append(True))

    def listed(self):
        """What it says of the one service."""
        [(record, instances)] = self.successResultOf(self.scheduler.services()).items()
        return record, instances

    def test_it_is_a_scheduler_and_a_service(self):
        self.assertTrue(verifyObject(IScheduler, self.scheduler))
        self.assertTrue(verifyObject(IService, self.scheduler))
        for name in IScheduler.names():
            parameters = signature(getattr(self.scheduler, name)).parameters.values()
            self.assertEqual([parameter.name for parameter in parameters], list(IScheduler[name].positional))
            defaults = {each.name: each.default for each in parameters if each.default is not Parameter.empty}
            self.assertEqual(defaults, IScheduler[name].optional)

    def test_when_a_service_is_created_its_instance_starts(self):
        self.assertTrue(self.successResultOf(self.scheduler.create(SERVICE)))
        self.assertFalse(self.successResultOf(self.scheduler.create(SERVICE)))
        record, instances = self.listed()
        self.assertEqual((record.id, record.instances, record.task_count), ("s", 1, 1))
        self.assertEqual(instances.active[0].started_at, 100.0)
        self.assertIs(instances.active[0].healthy, False)
        self.assertEqual(len(self.news), 1)

    def test_when_it_is_scaled_up_and_down_processes_only_start(self):
        self.scheduler.create(SERVICE)
        self.successResultOf(self.scheduler.scale("s", 3))
        self.successResultOf(self.scheduler.scale("s", 1))
        record, _ = self.listed()
        self.assertEqual((record.instances, record.task_count), (1, 3))
        self.failureResultOf(self.scheduler.scale("other", 1), ServiceNotFound)

    def test_when_an_instance_is_killed_fewer_are_requested(self):
        self.scheduler.create(SERVICE)
        [instance] = self.scheduler.active("s")
        self.assertTrue(self.successResultOf(self.scheduler.kill(instance)).killed)
        record, instances = self.listed()
        self.assertEqual((record.instances, instances.active), (0, ()))
        self.assertEqual(self.successResultOf(self.scheduler.kill(instance)).status, 404)

    def test_when_it_cannot_be_killed_it_stays(self):
        self.scheduler.create(SERVICE)
        [instance] = self.scheduler.active("s")
        self.scheduler.unkillable.add(instance.id)
        self.assertFalse(self.successResultOf(self.scheduler.kill(instance)).killed)
        self.assertEqual(self.scheduler.active("s"), (instance,))

    def test_when_an_instance_is_signalled_it_is_marked_or_killed(self):
        self.scheduler.create(SERVICE)
        [instance] = self.scheduler.active("s")
        self.successResultOf(self.scheduler.signal("s", instance.id, Signal.EXPIRE))
        self.assertEqual(self.scheduler.active("s")[0].flags, {Flag.EXPIRED})
        self.assertTrue(self.successResultOf(self.scheduler.signal("s", instance.id, Signal.SOFT_KILL)).killed)
        self.assertEqual(self.scheduler.active("s"), ())

    def test_when_an_instance_fails_it_is_listed_as_failed(self):
        self.scheduler.create(SERVICE)
        [instance] = self.scheduler.active("s")
        self.scheduler.fail(instance, exit_code=3)
        _, instances = self.listed()
        self.assertEqual((instances.active, instances.failed[0].exit_code), ((), 3))
        self.assertEqual(self.successResultOf(self.scheduler.kill(instance)).status, 400)

    def test_when_it_is_broken_everything_fails_but_kill(self):
        self.scheduler.put(SERVICE)
        instance = self.scheduler.start("s")
        self.scheduler.failure = OSError("out of order")
        for deferred in (
            self.scheduler.services(),
            self.scheduler.create(SERVICE),
            self.scheduler.scale("s", 1),
            self.scheduler.delete("s"),
            self.scheduler.signal("s", instance.id, Signal.EXPIRE),
        ):
            self.failureResultOf(deferred, OSError)
        self.assertFalse(self.successResultOf(self.scheduler.kill(instance)).killed)

    def test_when_it_is_held_it_answers_when_it_is_let_go(self):
        self.scheduler.hold()
        created = self.scheduler.create(SERVICE)
        listed = self.scheduler.services()
        cancelled = self.scheduler.delete("s")
        cancelled.addErrback(lambda _: None)
        cancelled.cancel()
        self.assertNoResult(created)
        self.assertNoResult(listed)
        self.scheduler.let_go()
        self.assertTrue(self.successResultOf(created))
        self.assertEqual(len(self.successResultOf(listed)), 1)

    def test_when_it_is_quiet_subscribers_hear_nothing(self):
        self.scheduler.quiet = True
        self.scheduler.put("s")
        self.scheduler.vanish(self.scheduler.start("s"))
        self.scheduler.forget("s")
        self.assertEqual(self.news, [])

    def test_when_a_dead_instance_was_never_active_it_can_be_put_in_as_failed(self):
        self.scheduler.put("s")
        self.scheduler.fail(Instance(id="s.x", service_id="s"), exit_code=1)
        self.assertEqual([failed.id for failed in self.listed()[1].failed], ["s.x"])
