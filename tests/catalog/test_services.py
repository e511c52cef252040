"""L{waiter.catalog.services}."""

import json

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from waiter.catalog.interface import IStore, StoreUnusable
from waiter.catalog.memory import MemoryStore
from waiter.catalog.rules import Constraints
from waiter.catalog.services import KEY_PREFIX, ServiceCatalog
from waiter.catalog.validation import make_rules
from waiter.errors import ServiceMisconfigured, ServiceUnavailable

NOW = 1_800_000_000
DAY = 86400
GIVEN = {"cmd": "run", "cpus": 1, "mem": 64.0, "run-as-user": "alice", "version": "v1", "env": {"A": "1"}}


@implementer(IStore)
class SlowStore(MemoryStore):
    """A store whose writes wait until the test lets them happen, or fail."""

    def __init__(self):
        super().__init__()
        self.writes = []

    def put(self, key, value, expected_version=None):
        gate = Deferred()
        self.writes.append((key, gate))
        return gate.addCallback(lambda _: MemoryStore.put(self, key, value, expected_version))


class CatalogTestCase(SynchronousTestCase):
    def setUp(self):
        self.store = MemoryStore()
        self.store.startService()

    def started(self, store=None, **kwargs):
        catalog = ServiceCatalog(store or self.store, **kwargs)
        self.successResultOf(catalog.startService())
        return catalog


class DescribeTests(CatalogTestCase):
    def test_aServiceHasItsIdCoreAndDescription(self):
        service = self.started(prefix="mine-", rules=make_rules(defaults={"ports": 2})).describe(
            {**GIVEN, "name": "Demo"}
        )
        self.assertRegex(service.id, r"\Amine-demo-[0-9a-f]{32}\Z")
        self.assertEqual(service.core["mem"], 64)
        self.assertEqual((service.description.ports, service.description.name), (2, "Demo"))

    def test_whatDoesNotHoldIsRefused(self):
        catalog = self.started(rules=make_rules(constraints=Constraints(cpus=0.5)))
        self.assertRaises(ServiceMisconfigured, catalog.describe, GIVEN)

    def test_describingMakesNothingKnown(self):
        catalog = self.started()
        service = catalog.describe(GIVEN)
        self.assertIsNone(catalog.get(service.id))
        self.assertEqual(dict(catalog.services), {})

    def test_wrongPrefixesAreNoticedAtOnce(self):
        for prefix in ("", "a.b-", "A-", "a/b"):
            self.assertRaises(ValueError, ServiceCatalog, self.store, prefix=prefix)


class RememberTests(CatalogTestCase):
    def test_whenRemembered_itIsKnownAndStored(self):
        catalog = self.started(wall=lambda: NOW + 0.5)
        service = catalog.describe(GIVEN)
        self.assertIs(self.successResultOf(catalog.remember(service)), service)
        self.assertIs(catalog.get(service.id), service)
        self.assertEqual(list(catalog.services), [service.id])
        value, _ = self.successResultOf(self.store.get(KEY_PREFIX + service.id))
        self.assertEqual(json.loads(value), {"core": {**GIVEN, "mem": 64}, "used-at": NOW})

    def test_itIsKnownOnlyWhenItIsStored(self):
        store = SlowStore()
        store.startService()
        catalog = self.started(store)
        service = catalog.describe(GIVEN)
        remembering = catalog.remember(service)
        self.assertNoResult(remembering)
        self.assertIsNone(catalog.get(service.id))
        [(_, gate)] = store.writes
        remembering.addCallback(lambda remembered: self.assertIs(catalog.get(service.id), remembered))
        gate.callback(None)
        self.successResultOf(remembering)

    def test_whenManyAskAtOnce_itIsWrittenOnceForAll(self):
        store = SlowStore()
        store.startService()
        catalog = self.started(store)
        waits = [catalog.remember(catalog.describe(GIVEN)) for _ in range(5)]
        other = catalog.remember(catalog.describe({**GIVEN, "version": "v2"}))
        self.assertEqual(len(store.writes), 2)
        store.writes[0][1].callback(None)
        self.assertEqual(len({id(self.successResultOf(wait)) for wait in waits}), 1)
        self.assertNoResult(other)

    def test_whenItIsKnown_nothingIsWritten(self):
        store = SlowStore()
        store.startService()
        catalog = self.started(store)
        first = catalog.remember(catalog.describe(GIVEN))
        store.writes[0][1].callback(None)
        again = self.successResultOf(catalog.remember(catalog.describe(GIVEN)))
        self.assertIs(again, self.successResultOf(first))
        self.assertEqual(len(store.writes), 1)

    def test_whenOneStopsWaiting_theOthersDoNotNotice(self):
        store = SlowStore()
        store.startService()
        catalog = self.started(store)
        one, other = (catalog.remember(catalog.describe(GIVEN)) for _ in range(2))
        one.cancel()
        self.failureResultOf(one, CancelledError)
        store.writes[0][1].callback(None)
        self.successResultOf(other)

    def test_whenItCannotBeStored_everybodyIsToldAndTheNextTriesAgain(self):
        store = SlowStore()
        store.startService()
        catalog = self.started(store)
        service = catalog.describe(GIVEN)
        waits = [catalog.remember(service) for _ in range(2)]
        store.writes[0][1].errback(StoreUnusable("the disk is full"))
        for wait in waits:
            error = self.failureResultOf(wait, ServiceUnavailable).value
            self.assertIn("the disk is full", error.message)
        self.assertIsNone(catalog.get(service.id))
        self.assertEqual(len(self.flushLoggedErrors(StoreUnusable)), 1)
        again = catalog.remember(service)
        store.writes[1][1].callback(None)
        self.successResultOf(again)

    def test_whenTheStoreFailsAtOnce_theNextTriesAgain(self):
        catalog = self.started()
        self.store.stopService()
        service = catalog.describe(GIVEN)
        self.failureResultOf(catalog.remember(service), ServiceUnavailable)
        self.flushLoggedErrors(StoreUnusable)
        self.store.startService()
        self.successResultOf(catalog.remember(service))


class LoadTests(CatalogTestCase):
    def test_whatWasRememberedIsKnownAfterARestart(self):
        catalog = self.started()
        services = [catalog.describe({**GIVEN, "version": f"v{i}"}) for i in range(200)]
        for service in services:
            self.successResultOf(catalog.remember(service))
        again = self.started()
        self.assertEqual(set(again.services), {service.id for service in services})
        for service in services:
            self.assertEqual(again.get(service.id).core, service.core)
            self.assertEqual(again.get(service.id).description, service.description)

    def test_theDefaultsOfNowHold(self):
        catalog = self.started(rules=make_rules(defaults={"ports": 2}))
        service = self.successResultOf(catalog.remember(catalog.describe(GIVEN)))
        self.assertEqual(self.started(rules=make_rules(defaults={"ports": 3})).get(service.id).description.ports, 3)

    def test_whatDoesNotHoldAnyMoreIsLoggedAndLeftOut(self):
        catalog = self.started()
        good = self.successResultOf(catalog.remember(catalog.describe(GIVEN)))
        bad = self.successResultOf(catalog.remember(catalog.describe({**GIVEN, "cpus": 8})))
        for key, value in [
            ("a", b"\xff"),
            ("b", b"[]"),
            ("c", b"{}"),
            ("d", b'{"core": 1}'),
            ("e", b""),
            ("f", b"null"),
        ]:
            self.successResultOf(self.store.put(KEY_PREFIX + key, value))
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        again = self.started(rules=make_rules(constraints=Constraints(cpus=4)))
        self.assertEqual(list(again.services), [good.id])
        (text,) = [formatEvent(event) for event in events if event["service_id"] == bad.id]
        self.assertIn("[defaults] and [constraints]", text)
        self.assertIn("cpus is 8 but the max allowed is 4", text)
        self.assertIn("set back what was changed", text)
        self.assertEqual({event["service_id"] for event in events}, {bad.id, *"abcdef"})

    def test_otherRecordsAreNotRead(self):
        self.successResultOf(self.store.put("token/x", b"{}"))
        self.assertEqual(dict(self.started().services), {})

    def test_whenThePrefixChanged_aServiceKeepsItsId(self):
        service = self.started().describe(GIVEN)
        self.successResultOf(self.started().remember(service))
        again = self.started(prefix="other-")
        self.assertEqual(again.get(service.id).id, service.id)

    def test_whenTheStoreFails_soDoesTheStart(self):
        self.store.stopService()
        self.failureResultOf(ServiceCatalog(self.store).startService(), StoreUnusable)


class SharedStoreTests(CatalogTestCase):
    def test_whatOthersRememberBecomesKnown(self):
        ours, theirs = self.started(), self.started()
        service = self.successResultOf(theirs.remember(theirs.describe(GIVEN)))
        self.assertEqual(ours.get(service.id).description, service.description)

    def test_whatOthersForgetStaysKnownHere(self):
        ours, theirs = self.started(), self.started()
        service = self.successResultOf(theirs.remember(theirs.describe(GIVEN)))
        self.successResultOf(self.store.delete(KEY_PREFIX + service.id))
        self.assertIsNotNone(ours.get(service.id))

    def test_whenWhatOthersRememberCannotBeRead_thatIsLogged(self):
        self.started()
        self.store.get = lambda key: fail(StoreUnusable("gone"))
        self.successResultOf(self.store.put(f"{KEY_PREFIX}x", b"{}"))
        self.assertEqual(len(self.flushLoggedErrors(StoreUnusable)), 1)

    def test_whenItHasStopped_itHearsNoMore(self):
        ours, theirs = self.started(), self.started()
        ours.stopService()
        service = self.successResultOf(theirs.remember(theirs.describe(GIVEN)))
        self.assertIsNone(ours.get(service.id))

    def test_whatIsRememberedHereIsNotReadAgain(self):
        catalog = self.started()
        self.store.get = lambda key: self.fail("it was read")
        store = SlowStore()
        store.startService()
        catalog = self.started(store)
        store.get = self.store.get
        remembering = catalog.remember(catalog.describe(GIVEN))
        store.writes[0][1].callback(None)
        self.successResultOf(remembering)


class ReviveTests(CatalogTestCase):
    def test_whatARunningInstanceSaysOfItsServiceIsKnownAndStored(self):
        catalog = self.started()
        described = catalog.describe(GIVEN)
        revived = catalog.revive(described.id, dict(described.core))
        self.assertEqual((revived.id, revived.core), (described.id, described.core))
        self.assertIs(catalog.get(described.id), revived)
        self.assertIs(catalog.services[described.id], revived)
        self.assertEqual(catalog._revived, {})
        self.assertEqual(self.started().get(described.id).core, described.core)

    def test_whenItIsMoreThanMayBeAskedForToday_itIsKnownButNotStored(self):
        described = self.started().describe(GIVEN)
        catalog = self.started(rules=make_rules(constraints=Constraints(cpus=0.5)))
        self.assertEqual(catalog.revive(described.id, described.core).description.cpus, 1)
        self.assertIsNotNone(catalog.get(described.id))
        self.assertRaises(ServiceMisconfigured, catalog.describe, GIVEN)
        self.assertIsNone(self.started().get(described.id))

    def test_whenItCannotBeStored_itIsKnownAllTheSame(self):
        store = SlowStore()
        store.startService()
        catalog = self.started(store)
        described = catalog.describe(GIVEN)
        catalog.revive(described.id, described.core)
        store.writes[0][1].errback(StoreUnusable("the disk is full"))
        self.assertIsNotNone(catalog.get(described.id))
        self.assertEqual(len(self.flushLoggedErrors(StoreUnusable)), 1)

    def test_whatDescribesNothingIsNotRevived(self):
        catalog = self.started()
        for core in ({}, {"cmd": 3}, {**GIVEN, "no-such-parameter": 1}, {**GIVEN, 5: 1}):
            self.assertIsNone(catalog.revive("waiter-service-a", core))
        self.assertIsNone(catalog.get("waiter-service-a"))


class ForgettingTests(CatalogTestCase):
    """Services that nobody needs are forgotten after 30 days."""

    def setUp(self):
        super().setUp()
        self.now = NOW

    def begin(self, **kwargs):
        return self.started(keep_unused_secs=30 * DAY, wall=lambda: self.now, **kwargs)

    def remembered(self, catalog, version="v1"):
        return self.successResultOf(catalog.remember(catalog.describe({**GIVEN, "version": version})))

    def tidied(self, catalog, needed=()):
        """The ids it told to be forgotten."""
        told = []
        end = catalog.forgotten.subscribe(told.extend)
        self.successResultOf(catalog.tidy(needed))
        end()
        return told

    def stored(self):
        return [key.removeprefix(KEY_PREFIX) for key in self.successResultOf(self.store.keys(KEY_PREFIX))]

    def test_whatNobodyUsesIsForgotten(self):
        catalog = self.begin()
        service = self.remembered(catalog)
        self.now += 30 * DAY
        self.assertEqual(self.tidied(catalog), [])
        self.now += 1
        self.assertEqual(self.tidied(catalog), [service.id])
        self.assertIsNone(catalog.get(service.id))
        self.assertEqual(self.stored(), [])
        self.assertEqual(self.tidied(catalog), [])
        again = self.remembered(catalog)
        self.assertEqual(again.id, service.id)
        self.assertEqual(self.stored(), [service.id])
        self.assertEqual(self.tidied(catalog), [])

    def test_whatIsInUseOrNeededStays(self):
        catalog = self.begin()
        used, needed = self.remembered(catalog, "v1"), self.remembered(catalog, "v2")
        catalog.see_in_use([used.id])
        self.now += 100 * DAY
        self.assertEqual(self.tidied(catalog, {needed.id}), [])

    def test_theTimeCountsFromTheEndOfTheLastUse(self):
        catalog = self.begin()
        service = self.remembered(catalog)
        catalog.see_in_use([service.id])
        self.now += 100 * DAY
        catalog.see_in_use([])
        self.now += 30 * DAY
        self.assertEqual(self.tidied(catalog), [])
        self.now += 1
        self.assertEqual(self.tidied(catalog), [service.id])

    def test_aShortUseBetweenTwoLooksCounts(self):
        catalog = self.begin()
        service = self.remembered(catalog)
        self.now += 29 * DAY
        catalog.see_in_use([service.id])
        catalog.see_in_use([])
        self.now += 2 * DAY
        self.assertEqual(self.tidied(catalog), [])

    def test_aRestartDoesNotBeginTheTimeAnew(self):
        service = self.remembered(self.begin())
        self.now += 20 * DAY
        again = self.begin()
        self.assertEqual(self.tidied(again), [])
        self.now += 10 * DAY + 1
        self.assertEqual(self.tidied(again), [service.id])

    def test_theLastUseIsStoredOnceADayAndNoMoreOften(self):
        catalog = self.begin()
        service = self.remembered(catalog)
        catalog.see_in_use([service.id])

        def version():
            return self.successResultOf(self.store.get(KEY_PREFIX + service.id))[1]

        first = version()
        self.now += DAY - 1
        self.tidied(catalog)
        self.assertEqual(version(), first)
        self.now += 1
        self.tidied(catalog)
        self.tidied(catalog)
        self.assertEqual(version(), first + 1)
        self.now += 30 * DAY
        self.assertEqual(self.tidied(self.begin()), [])
        self.now += 1
        self.assertEqual(self.tidied(self.begin()), [service.id])

    def test_recordsFromBeforeThisWasStoredBeginTheirTimeNow(self):
        self.successResultOf(self.store.put(KEY_PREFIX + "old", json.dumps({"core": GIVEN}).encode()))
        catalog = self.begin()
        self.assertEqual(self.tidied(catalog), [])
        self.now += 20 * DAY
        again = self.begin()
        self.assertEqual(again.get("old").core["cmd"], "run")
        self.now += 10 * DAY + 1
        self.assertEqual(self.tidied(again), ["old"])

    def test_whatDoesNotHoldAnyMoreIsForgottenToo(self):
        self.remembered(self.begin())
        self.now += 31 * DAY
        catalog = self.begin(rules=make_rules(constraints=Constraints(cpus=0.5)))
        self.assertEqual(dict(catalog.services), {})
        self.tidied(catalog)
        self.assertEqual(self.stored(), [])

    def test_onlySoManyAreForgottenAtATimeTheOldestFirst(self):
        catalog = self.begin()
        ids = []
        for number in range(250):
            ids.append(self.remembered(catalog, f"v{number}").id)
            self.now += 1
        self.now += 100 * DAY
        self.assertEqual(self.tidied(catalog), ids[:200])
        self.assertEqual(self.tidied(catalog), ids[200:])

    def test_whenTheStoreFails_itGoesOnTheNextTime(self):
        catalog = self.begin()
        service = self.remembered(catalog)
        catalog.see_in_use([service.id])
        self.now += 2 * DAY
        self.store.stopService()
        self.failureResultOf(catalog.tidy(), StoreUnusable)
        self.store.startService()
        self.tidied(catalog)
        self.now += 29 * DAY
        self.assertEqual(self.tidied(self.begin()), [])

    def test_whoAsksWhileItIsDeletedHasItStoredAgain(self):
        catalog = self.begin()
        service = self.remembered(catalog)
        self.now += 31 * DAY
        tidying = catalog.tidy()
        self.remembered(catalog)
        self.successResultOf(tidying)
        self.assertEqual(self.stored(), [service.id])
        self.assertIsNotNone(catalog.get(service.id))
