"""L{waiter.catalog.tokens}."""

import attrs
from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.doubles.slow_store import SlowStore
from tests.model.test_token import make_token
from waiter.catalog.interface import Conflict, StoreUnusable
from waiter.catalog.memory import MemoryStore
from waiter.catalog.token_records import written
from waiter.catalog.tokens import TokenCatalog
from waiter.errors import BadRequest, ServiceUnavailable


class TokenCatalogTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.memory = MemoryStore()
        self.memory.startService()
        self.store = SlowStore(self.memory)

    def started(self):
        catalog = TokenCatalog(self.clock, self.store)
        self.successResultOf(catalog.startService())
        self.addCleanup(catalog.stopService)
        return catalog

    def write(self, catalog, token):
        return self.successResultOf(catalog.write(token.name, lambda _: token))

    def test_whatIsWrittenIsThereAndToldOnce(self):
        catalog = self.started()
        told = []
        catalog.changes.subscribe(lambda name: told.append((name, catalog.get(name))))
        token = make_token()
        self.assertEqual(self.write(catalog, token), token)
        self.assertEqual(catalog.get("a-token"), token)
        self.assertEqual(told, [("a-token", token)])

    def test_whatIsWrittenIsThereAfterTheNextStart(self):
        names = [f"token-{number}" for number in range(200)]
        tokens = [make_token(name, previous=make_token(name, updated_at=0.001)) for name in names]
        catalog = self.started()
        for token in tokens:
            self.write(catalog, token)
        self.assertEqual(sorted(self.started().all(), key=tokens.index), tokens)

    def test_aDeletedTokenIsFoundByThoseWhoLookForItAlone(self):
        catalog = self.started()
        token = make_token(deleted=True)
        self.write(catalog, token)
        self.assertIsNone(catalog.get("a-token"))
        self.assertEqual(catalog.find("a-token"), token)
        self.assertEqual((list(catalog.owned_by("alice")), catalog.active_count("alice")), ([token], 0))

    def test_whatOneCatalogWritesTheOtherHas(self):
        one, other = self.started(), self.started()
        told = []
        other.changes.subscribe(told.append)
        token = make_token()
        self.write(one, token)
        self.assertEqual(other.get("a-token"), token)
        self.successResultOf(one.remove("a-token", lambda _: None))
        self.assertEqual((one.find("a-token"), other.find("a-token")), (None, None))
        self.assertEqual(told, ["a-token"] * 2)

    def test_whenTheChangeIsNone_nothingIsWritten(self):
        catalog = self.started()
        token = self.write(catalog, make_token())
        before = self.successResultOf(self.memory.get("token/a-token"))
        self.assertEqual(self.successResultOf(catalog.write("a-token", lambda current: current)), token)
        self.assertEqual(self.successResultOf(self.memory.get("token/a-token")), before)

    def test_whenTheChangeRaises_nothingIsWritten(self):
        catalog = self.started()

        def refuse(_):
            raise BadRequest("no")

        self.failureResultOf(catalog.write("a-token", refuse), BadRequest)
        self.assertEqual(self.successResultOf(self.memory.keys("")), [])

    def test_whenSomebodyElseWasFaster_theChangeIsDecidedAnew(self):
        one, other = self.started(), self.started()
        self.store.held = []
        writings = [
            catalog.write("a-token", lambda current, by=by: make_token(updated_by=by, previous=current))
            for catalog, by in ((one, "one"), (other, "other"))
        ]
        self.store.release()
        self.assertEqual([self.successResultOf(each).updated_by for each in writings], ["one", "other"])
        versions = self.successResultOf(one.latest("a-token")).history()
        self.assertEqual([version.updated_by for version in versions], ["other", "one"])

    def test_whenManyWriteTheSame_noneIsLost(self):
        catalogs = [self.started() for _ in range(3)]
        self.store.held = []
        writings = [
            catalogs[number % 3].write(
                "a-token", lambda current, n=number: make_token(updated_at=float(n), previous=current)
            )
            for number in range(200)
        ]
        while self.store.held:
            self.store.release()
            self.store.held = []
        self.store.held = None
        for each in writings:
            self.successResultOf(each)
        versions = list(self.successResultOf(catalogs[0].latest("a-token")).history())
        self.assertEqual(sorted(version.updated_at for version in versions), [float(n) for n in range(200)])
        for catalog in catalogs:
            self.assertEqual(list(catalog.get("a-token").history()), versions)

    def test_whenItIsAlwaysChangedMeanwhile_theWriterIsToldSo(self):
        catalog = self.started()
        self.patch(self.memory, "put", lambda *_: fail(Conflict("again")))
        self.failureResultOf(catalog.write("a-token", lambda _: make_token()), ServiceUnavailable)

    def test_whatIsRemovedIsGone_andCanBeMadeAgain(self):
        catalog = self.started()
        self.write(catalog, make_token())
        self.successResultOf(catalog.remove("a-token", lambda _: None))
        self.assertIsNone(catalog.find("a-token"))
        self.assertEqual((catalog.owners(), catalog.active_count("alice")), ([], 0))
        again = self.write(catalog, make_token(updated_by="bob"))
        self.assertEqual(catalog.find("a-token"), again)

    def test_whenTheCheckRaises_nothingIsRemoved(self):
        catalog = self.started()
        token = self.write(catalog, make_token())

        def refuse(current):
            self.assertEqual(current, token)
            raise BadRequest("no")

        self.failureResultOf(catalog.remove("a-token", refuse), BadRequest)
        self.assertEqual(self.started().find("a-token"), token)

    def test_whenAnOldReadingComesLate_theNewStays(self):
        catalog = self.started()
        self.write(catalog, make_token())
        self.store.held = []
        # Told of by another router, read slowly.
        self.successResultOf(self.memory.put("token/a-token", written(make_token(updated_by="old"))))
        slow, self.store.held = self.store.held, None
        new = self.write(catalog, make_token(updated_by="new"))
        for each in slow:
            each()
        self.assertEqual(catalog.get("a-token"), new)
        self.successResultOf(self.memory.delete("token/a-token"))
        self.assertIsNone(catalog.get("a-token"))

    def test_whenRemovedWhileAnOldReadingIsUnderWay_itStaysGone(self):
        catalog = self.started()
        self.write(catalog, make_token())
        self.store.held = []
        self.successResultOf(self.memory.put("token/a-token", written(make_token(updated_by="old"))))
        slow, self.store.held = self.store.held, None
        told = []
        catalog.changes.subscribe(lambda name: told.append(catalog.find(name)))
        self.successResultOf(catalog.remove("a-token", lambda _: None))
        for each in slow:
            each()
        self.assertEqual((catalog.find("a-token"), told), (None, [None]))

    def test_whenTheStoreCannotBeAsked_theChangeIsReadLater(self):
        catalog = self.started()
        self.store.failing = StoreUnusable("gone")
        token = make_token()
        self.successResultOf(self.memory.put("token/a-token", written(token)))
        self.assertIsNone(catalog.get("a-token"))
        self.clock.advance(1)
        self.assertIsNone(catalog.get("a-token"))
        self.assertEqual(catalog.state(), {"count": 0, "to-be-read": 1})
        self.store.failing = None
        self.clock.advance(1)
        self.assertEqual(catalog.get("a-token"), token)
        self.assertEqual(catalog.state(), {"count": 1, "to-be-read": 0})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whenTheStoreCannotBeUsed_theWriterIsToldSo(self):
        catalog = self.started()
        self.successResultOf(self.memory.stopService() or catalog.latest("a-token").addErrback(lambda f: f.value))
        for asked in (
            catalog.write("a-token", lambda _: make_token()),
            catalog.remove("a-token", lambda _: None),
            catalog.latest("a-token"),
            catalog.reread(),
        ):
            self.failureResultOf(asked, ServiceUnavailable)

    def test_aRecordThatCannotBeReadIsLeftOutAndKept(self):
        for value in (b"{", b"[]", b"{}", b'{"cmd": "x"}', b'{"previous": 7, "owner": "x"}', b"\xff"):
            self.successResultOf(self.memory.put("token/a-token", value))
            catalog = self.started()
            self.assertIsNone(catalog.find("a-token"))
            self.failureResultOf(catalog.write("a-token", lambda _: make_token()), ServiceUnavailable)
            self.assertEqual(self.successResultOf(self.memory.get("token/a-token"))[0], value)

    def test_whenReread_itHasWhatTheStoreHas(self):
        catalog = self.started()
        self.write(catalog, make_token("gone"))
        self.patch(catalog, "_changed", lambda _: None)
        self.successResultOf(self.memory.put("token/new", written(make_token("new"))))
        self.successResultOf(self.memory.delete("token/gone"))
        del catalog._changed
        self.assertEqual(self.successResultOf(catalog.reread()), 1)
        self.assertEqual([token.name for token in catalog.all()], ["new"])

    def test_whenStopped_itFollowsNoChanges(self):
        catalog = self.started()
        self.store.held = []
        self.successResultOf(self.memory.put("token/a-token", written(make_token())))
        self.successResultOf(catalog.stopService())
        self.store.release()
        self.successResultOf(self.memory.put("token/b-token", written(make_token("b-token"))))
        self.assertEqual(list(catalog.all()), [])

    def test_whatTheStoreCannotHoldOfTheHistoryIsLeftOut(self):
        catalog = self.started()
        self.patch(self.memory, "largest_value", 3 * len(written(make_token())) - 5)
        token = make_token(previous=make_token(previous=make_token()))
        stored = self.write(catalog, token)
        self.assertEqual(stored, token.with_history(1))
        self.assertEqual((catalog.get("a-token"), self.started().get("a-token")), (stored, stored))
        self.memory.largest_value = 10
        self.failureResultOf(catalog.write("a-token", lambda _: make_token(updated_by="bob")), BadRequest)

    def test_ofAnOwnerThereAreTheTokensByName(self):
        catalog = self.started()
        for name in ("c", "a", "b"):
            self.write(catalog, make_token(name))
        self.write(catalog, make_token("x", data={"owner": "bob"}))
        self.assertEqual([token.name for token in catalog.owned_by("alice")], ["a", "b", "c"])
        self.write(catalog, attrs.evolve(catalog.get("b"), data={"owner": "bob"}))
        self.assertEqual([token.name for token in catalog.owned_by("alice")], ["a", "c"])
        self.assertEqual([token.name for token in catalog.owned_by("bob")], ["b", "x"])
        self.assertEqual((catalog.owners(), catalog.active_count("alice")), (["alice", "bob"], 2))
