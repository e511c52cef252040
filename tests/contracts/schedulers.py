"""What every scheduler does, whatever runs its instances."""

import json

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface.verify import verifyObject

from waiter.errors import NotFound, ServiceNotFound, WaiterError
from waiter.model.instance import Flag, Instance
from waiter.scheduler.interface import IScheduler, LogExtent, Signal

#: Longer than anything here takes, shorter than trial's own limit.
PATIENCE_SECS = 30


class SchedulerTools:
    """Ways to wait for what a scheduler shows. For a C{TestCase} with a C{scheduler}."""

    async def until(self, holds, scheduler=None):
        """Wait until C{holds}, a function of what C{services()} answers, is true; return the answer it was true of."""
        scheduler = scheduler or self.scheduler
        while True:
            changed = Deferred()
            scheduler.subscribe(lambda changed=changed: None if changed.called else changed.callback(None))
            services = await scheduler.services()
            if holds(services):
                return services
            await changed.addTimeout(PATIENCE_SECS, reactor)

    @staticmethod
    def find(services, service_id):
        """One service's record and instances."""
        return next(((record, found) for record, found in services.items() if record.id == service_id), None)

    async def healthy(self, service, number=1, scheduler=None):
        """Wait until C{number} instances of a service are healthy; return its active instances."""

        def holds(services):
            found = self.find(services, service.id)
            return found is not None and sum(bool(each.healthy) for each in found[1].active) >= number

        return self.find(await self.until(holds, scheduler), service.id)[1].active

    async def failed(self, service, number=1, scheduler=None):
        """Wait until C{number} instances of a service have failed; return them."""

        def holds(services):
            found = self.find(services, service.id)
            return found is not None and len(found[1].failed) >= number

        return self.find(await self.until(holds, scheduler), service.id)[1].failed

    async def record(self, service):
        """A service's record now."""
        return self.find(await self.scheduler.services(), service.id)[0]


class SchedulerContract(SchedulerTools):
    """
    Mix into a C{TestCase} that has

     - C{make_scheduler()}: a scheduler that is not started and knows no services;
     - C{working(name)}: a service whose instances become healthy, of 0.25 CPUs and 64 MiB;
     - C{failing(name)}: a service whose instances end by themselves with exit code 3;
     - C{forbidden(name)}: a service that may not run there.
    """

    async def setUp(self):
        self.scheduler = self.make_scheduler()
        await maybeDeferred(self.scheduler.startService)
        self.addCleanup(self.scheduler.stopService)

    def test_itIsAScheduler(self):
        verifyObject(IScheduler, self.scheduler)

    async def test_atFirstThereAreNoServices(self):
        self.assertEqual(dict(await self.scheduler.services()), {})

    async def test_aServiceIsCreatedWithOneInstanceThatBecomesHealthy(self):
        service = self.working("a")
        self.assertTrue(await self.scheduler.create(service))
        self.assertEqual((await self.record(service)).instances, 1)
        (instance,) = await self.healthy(service)
        self.assertEqual(instance.service_id, service.id)
        self.assertTrue(instance.id.startswith(f"{service.id}."))
        self.assertNotEqual(instance.host, "0.0.0.0")
        self.assertGreater(instance.port, 0)
        self.assertGreater(instance.started_at, 0)
        self.assertEqual((await self.record(service)).task_count, 1)

    async def test_creatingAgainChangesNothing(self):
        service = self.working("a")
        await self.scheduler.create(service)
        await self.scheduler.scale(service.id, 2)
        self.assertFalse(await self.scheduler.create(service))
        self.assertEqual((await self.record(service)).instances, 2)

    async def test_whatMayNotRunIsRefusedAndNotKnown(self):
        with self.assertRaises(WaiterError):
            await self.scheduler.create(self.forbidden("a"))
        with self.assertRaises(WaiterError):
            self.scheduler.validate(self.forbidden("a").description)
        self.assertEqual(dict(await self.scheduler.services()), {})

    async def test_scalingUpAddsInstances(self):
        service = self.working("a")
        await self.scheduler.create(service)
        await self.scheduler.scale(service.id, 3)
        self.assertEqual((await self.record(service)).instances, 3)
        active = await self.healthy(service, 3)
        self.assertEqual(len({each.id for each in active}), 3)
        self.assertEqual(len({(each.host, each.port) for each in active}), 3)

    async def test_scalingDownStopsNothing(self):
        service = self.working("a")
        await self.scheduler.create(service)
        await self.scheduler.scale(service.id, 2)
        before = await self.healthy(service, 2)
        await self.scheduler.scale(service.id, 1)
        record = await self.record(service)
        self.assertEqual((record.instances, record.task_count), (1, 2))
        after = self.find(await self.scheduler.services(), service.id)[1].active
        self.assertEqual([each.id for each in after], [each.id for each in before])

    async def test_anUnknownServiceCannotBeScaled(self):
        with self.assertRaises(ServiceNotFound):
            await self.scheduler.scale("waiter-service-unknown", 1)

    async def test_aServiceMayBeDescribedAnewAndStaysTheSame(self):
        service = self.working("a")
        self.scheduler.redescribe(service)
        self.assertEqual(dict(await self.scheduler.services()), {})
        await self.scheduler.create(service)
        before = await self.healthy(service, 1)
        description = service.description.model_copy(update={"termination_grace_period_secs": 1})
        self.scheduler.redescribe(attrs.evolve(service, description=description))
        after = self.find(await self.scheduler.services(), service.id)[1].active
        self.assertEqual([each.id for each in after], [each.id for each in before])

    async def test_itMayBeToldForWhichServicesRequestsWaitWhateverThereIs(self):
        service = self.working("a")
        self.scheduler.waited_for(frozenset({service.id, "waiter-service-unknown"}))
        await self.scheduler.create(service)
        await self.healthy(service)
        self.scheduler.waited_for(frozenset())
        self.assertEqual((await self.record(service)).shortage, None)

    async def test_aKilledInstanceIsGoneAndTheRequestedNumberIsLower(self):
        service = self.working("a")
        await self.scheduler.create(service)
        await self.scheduler.scale(service.id, 2)
        first, second = await self.healthy(service, 2)
        result = await self.scheduler.kill(first)
        self.assertEqual((result.killed, result.status), (True, 200))
        self.assertEqual((result.service_id, result.instance_id), (service.id, first.id))
        record, instances = self.find(await self.scheduler.services(), service.id)
        self.assertEqual((record.instances, record.task_count), (1, 1))
        self.assertEqual([each.id for each in instances.active], [second.id])
        self.assertEqual(instances.failed, ())

    async def test_theDeadCannotBeKilled(self):
        service = self.working("a")
        await self.scheduler.create(service)
        (instance,) = await self.healthy(service)
        await self.scheduler.kill(instance)
        result = await self.scheduler.kill(instance)
        self.assertEqual((result.killed, result.status), (False, 400))
        self.assertEqual((await self.record(service)).instances, 0)

    async def test_theUnknownCannotBeKilled(self):
        service = self.working("a")
        await self.scheduler.create(service)
        for unknown in (Instance(id=f"{service.id}.x", service_id=service.id), Instance(id="b.x", service_id="b")):
            result = await self.scheduler.kill(unknown)
            self.assertEqual((result.killed, result.status), (False, 404))
            for signal in Signal:
                result = await self.scheduler.signal(unknown.service_id, unknown.id, signal)
                self.assertEqual((result.killed, result.status), (False, 404))

    async def test_anExpiredInstanceIsFlaggedAndRunsOn(self):
        service = self.working("a")
        await self.scheduler.create(service)
        (instance,) = await self.healthy(service)
        result = await self.scheduler.signal(service.id, instance.id, Signal.EXPIRE)
        self.assertEqual((result.killed, result.status), (False, 200))
        (expired,) = await self.healthy(service)
        self.assertEqual(expired.id, instance.id)
        self.assertIn(Flag.EXPIRED, expired.flags)
        self.assertEqual((await self.record(service)).instances, 1)

    async def test_killSignalsKill(self):
        service = self.working("a")
        await self.scheduler.create(service)
        await self.scheduler.scale(service.id, 2)
        for instance, signal in zip(await self.healthy(service, 2), (Signal.SOFT_KILL, Signal.FORCE_KILL), strict=True):
            result = await self.scheduler.signal(service.id, instance.id, signal)
            self.assertEqual((result.killed, result.status), (True, 200))
            self.assertIn(signal.value, result.message)
        record, instances = self.find(await self.scheduler.services(), service.id)
        self.assertEqual((record.instances, instances.active), (0, ()))

    async def test_aDeletedServiceIsGone(self):
        service = self.working("a")
        await self.scheduler.create(service)
        await self.healthy(service)
        self.assertEqual((await self.scheduler.delete(service.id)).result, "deleted")
        self.assertEqual(dict(await self.scheduler.services()), {})
        self.assertEqual((await self.scheduler.delete(service.id)).result, "no-such-service-exists")

    async def test_aDeletedServiceCanBeCreatedAgain(self):
        service = self.working("a")
        await self.scheduler.create(service)
        await self.scheduler.delete(service.id)
        self.assertTrue(await self.scheduler.create(service))
        await self.healthy(service)

    async def test_aFailedInstanceIsListedWithItsExitCodeAndReplaced(self):
        service = self.failing("a")
        await self.scheduler.create(service)
        failed = await self.failed(service, 2)
        self.assertEqual([each.exit_code for each in failed[:2]], [3, 3])
        self.assertEqual(len({each.id for each in failed}), len(failed))
        self.assertFalse(failed[0].healthy)
        self.assertEqual((await self.record(service)).instances, 1)

    async def test_servicesDoNotDisturbEachOther(self):
        one, other = self.working("a"), self.working("b")
        await self.scheduler.create(one)
        await self.scheduler.create(other)
        (kept,) = await self.healthy(other)
        await self.healthy(one)
        await self.scheduler.delete(one.id)
        (still,) = self.find(await self.scheduler.services(), other.id)[1].active
        self.assertEqual(still.id, kept.id)

    async def test_theUsageOfAnInstanceIsWhatItsDescriptionSays(self):
        service = self.working("a")
        await self.scheduler.create(service)
        usage = self.scheduler.usage(service.id)
        self.assertEqual((usage.cpus, usage.mem), (0.25, 64))
        self.assertIsNone(self.scheduler.usage("waiter-service-unknown"))

    async def test_theDeploymentErrorRulesAreNumbersByTheirNames(self):
        config = self.scheduler.deployment_error_config("waiter-service-unknown")
        self.assertLessEqual(set(config), {"min-failed-instances", "min-hosts"})

    async def test_itsStateIsJSON(self):
        await self.scheduler.create(self.working("a"))
        self.assertIn("waiter-service-a", json.dumps(self.scheduler.state()))

    async def test_theLogsOfAnInstanceCanBeListedAndRead(self):
        service = self.working("a")
        await self.scheduler.create(service)
        (instance,) = await self.healthy(service)
        entries = {each.name: each for each in await self.scheduler.log_entries(service.id, instance.id, "")}
        self.assertEqual({entries[name].type for name in ("stdout", "stderr")}, {"file"})
        log = await self.scheduler.log(service.id, instance.id, "stdout")
        self.addCleanup(log.close)
        self.assertEqual(log.extent(), LogExtent(oldest=0, first=0, end=entries["stdout"].size))
        self.assertEqual(log.complete(), False)

    async def test_theInstancesThatHaveLogsAreNamed(self):
        service = self.working("a")
        self.assertEqual(await self.scheduler.logged_instances(service.id), ())
        await self.scheduler.create(service)
        (instance,) = await self.healthy(service)
        (logged,) = await self.scheduler.logged_instances(service.id)
        self.assertEqual(
            (logged.id, logged.service_id, logged.host, logged.state, logged.ended_at),
            (instance.id, service.id, instance.host, "running", None),
        )

    async def test_logsThatAreNotThereAreNotFound(self):
        service = self.working("a")
        await self.scheduler.create(service)
        (instance,) = await self.healthy(service)
        for service_id, instance_id, path in (
            ("waiter-service-unknown", instance.id, "stdout"),
            (service.id, "unknown", "stdout"),
            (service.id, instance.id, "nothing"),
            (service.id, instance.id, "../../../../../etc/passwd"),
        ):
            with self.assertRaises(NotFound):
                await self.scheduler.log(service_id, instance_id, path)
            with self.assertRaises(NotFound):
                await self.scheduler.log_entries(service_id, instance_id, path)
