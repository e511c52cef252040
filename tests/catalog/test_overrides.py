"""L{waiter.catalog.overrides}, and what L{waiter.catalog.services} makes of it."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.memory import MemoryStore
from waiter.catalog.overrides import KEY_PREFIX, Override, Overrides
from waiter.catalog.rules import Constraints
from waiter.catalog.services import ServiceCatalog
from waiter.catalog.validation import make_rules
from waiter.errors import BadRequest, ServiceMisconfigured

GIVEN = {"cmd": "run", "cpus": 1, "mem": 64, "run-as-user": "alice", "version": "v1", "scale-factor": 0.5}


class Router:
    """What one router makes of a store that others may share."""

    def __init__(self, test, store, **rules):
        self.test = test
        self.overrides = Overrides(store, wall=lambda: 12.5)
        self.services = ServiceCatalog(store, rules=make_rules(**rules), overrides=self.overrides.parameters)
        self.overrides.changes.subscribe(self.services.reconsider)
        self.redescribed = []
        self.services.redescribed.subscribe(self.redescribed.append)
        for service in (self.overrides, self.services):
            test.successResultOf(service.startService())

    def set(self, service, parameters):
        self.test.successResultOf(Deferred.fromCoroutine(self.overrides.set(service.id, parameters, by="alice")))


class OverridesTests(SynchronousTestCase):
    def setUp(self):
        self.store = MemoryStore()
        self.store.startService()
        self.router = Router(self, self.store)
        self.service = self.successResultOf(self.router.services.remember(self.router.services.describe(GIVEN)))

    def factor(self, router):
        return router.services.get(self.service.id).description.scale_factor

    def test_theyHoldAtOnceAndTheIdStays(self):
        self.router.set(self.service, {"scale-factor": 1})
        self.assertEqual(self.factor(self.router), 1)
        self.assertEqual([service.id for service in self.router.redescribed], [self.service.id])
        again = self.router.services.describe(GIVEN)
        self.assertEqual((again.id, again.core), (self.service.id, self.service.core))
        self.assertEqual(again.description.scale_factor, 1)

    def test_whoSetThemAndWhenIsKnown(self):
        self.assertIsNone(self.router.overrides.get(self.service.id))
        self.router.set(self.service, {"pin": True})
        self.assertEqual(
            self.router.overrides.get(self.service.id), Override(parameters={"pin": True}, by="alice", at=12.5)
        )

    def test_takenBackTheyHoldNoMore(self):
        self.router.set(self.service, {"scale-factor": 1})
        self.router.set(self.service, {})
        self.assertEqual(self.factor(self.router), 0.5)
        self.assertEqual(len(self.router.redescribed), 2)

    def test_theyHoldOnOtherRoutersAndAfterAStart(self):
        other = Router(self, self.store)
        self.router.set(self.service, {"scale-factor": 1})
        self.assertEqual(self.factor(other), 1)
        self.assertEqual(self.factor(Router(self, self.store)), 1)

    def test_theyAreCheckedForTheService(self):
        check = self.router.services.check_overrides
        self.assertEqual(check(self.service, {"scale-factor": 1.0}), {"scale-factor": 1})
        self.assertRaises(BadRequest, check, self.service, {"mem": 1})
        self.assertRaises(ServiceMisconfigured, check, self.service, {"min-instances": 501})

    def test_thoseThatDoNotHoldAnyMoreAreLeftOut(self):
        self.router.set(self.service, {"min-instances": 300})
        later = Router(self, self.store, defaults={"max-instances": 200})
        self.assertEqual(later.services.get(self.service.id).description.min_instances, 1)

    def test_aRecordThatCannotBeReadIsLeftOut(self):
        for record in (b"", b"[]", b'{"parameters": [], "by": "x", "at": 1}'):
            self.successResultOf(self.store.put(KEY_PREFIX + self.service.id, record))
            self.assertEqual(Router(self, self.store).overrides.parameters(self.service.id), {})

    def test_moreThanADescriptionMayAskForTodayCanBeOverriddenAllTheSame(self):
        strict = Router(self, self.store, constraints=Constraints(cpus=0.5))
        revived = strict.services.revive(self.service.id, GIVEN)
        strict.set(revived, {"scale-factor": 1})
        self.assertEqual(self.factor(strict), 1)
