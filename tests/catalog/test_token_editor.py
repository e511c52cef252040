"""L{waiter.catalog.token_editor}."""

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.catalog.test_token_posts import understood
from tests.catalog.test_token_rules import NOW, RULES
from tests.doubles.slow_store import SlowStore
from waiter.catalog.memory import MemoryStore
from waiter.catalog.token_editor import TokenEditor
from waiter.catalog.tokens import TokenCatalog
from waiter.errors import Forbidden, NotFound, PreconditionFailed


class TokenEditorTests(SynchronousTestCase):
    def setUp(self):
        memory = MemoryStore()
        memory.startService()
        self.store = SlowStore(memory)
        self.tokens = TokenCatalog(Clock(), self.store)
        self.successResultOf(self.tokens.startService())
        self.editor = TokenEditor(self.tokens, attrs.evolve(RULES, limit_per_owner=3), lambda: NOW)

    def post(self, name, body=None, **arguments):
        post = understood(body or {"cmd": "x"}, asked_name=name, **arguments)
        return Deferred.fromCoroutine(self.editor.post(post))

    def test_itSaysWhatItHasDone(self):
        said = [
            self.successResultOf(self.post("a-token", body)).operation
            for body in ({"cmd": "1"}, {"cmd": "1"}, {"cmd": "2"})
        ]
        self.assertEqual(said, ["token-created", "token-no-op", "token-updated"])

    def test_theLimitHoldsForPostsThatComeTogether_inTheOrderTheyCame(self):
        self.successResultOf(self.post("first"))
        self.store.held_puts = []
        again = self.post("first", {"cmd": "y"})
        posts = [self.post(f"token-{number}") for number in range(4)]
        self.store.release_puts()
        for post in posts[:2]:
            self.assertEqual(self.successResultOf(post).operation, "token-created")
        for post in posts[2:]:
            self.failureResultOf(post, Forbidden)
        self.assertEqual(self.successResultOf(again).operation, "token-updated")

    def test_whoWasRefusedTakesNobodysPlace(self):
        self.successResultOf(self.post("first"))
        self.successResultOf(self.post("second"))
        self.failureResultOf(self.post("third", if_match="E-1"), PreconditionFailed)
        self.successResultOf(self.post("fourth"))

    def test_ofManyThatHaveReadTheSame_oneWrites(self):
        etag = self.successResultOf(self.post("a-token")).token.etag
        self.store.held = []
        posts = [self.post("a-token", {"cmd": str(number)}, if_match=etag) for number in range(3)]
        while self.store.held:
            self.store.release()
            self.store.held = []
        self.assertEqual(self.successResultOf(posts[0]).operation, "token-updated")
        for post in posts[1:]:
            self.failureResultOf(post, PreconditionFailed)
        self.assertEqual(self.tokens.get("a-token").data["cmd"], "0")

    def test_whatIsNoNameIsNotDeleted(self):
        for delete in (self.editor.delete, self.editor.delete_for_good):
            asked = Deferred.fromCoroutine(delete("\n", by="root", if_match=None))
            self.failureResultOf(asked, NotFound)
