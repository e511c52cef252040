"""L{waiter.model.staleness}."""

from twisted.trial.unittest import SynchronousTestCase

from tests.model.test_token import make_token
from waiter.model.source import References, SourceToken
from waiter.model.staleness import Staleness, only_token, staleness


def versions(name, *times, **data):
    """A token that was written at these times, and its versions as sources, oldest first."""
    token, sources = None, []
    for at in times:
        token = make_token(name, updated_at=at, previous=token, data={"owner": "alice", "version": str(at), **data})
        sources.append(SourceToken(name, token.etag))
    return token, sources


def of(*groups, direct=False):
    return References(sources=groups, direct=direct)


class StalenessTests(SynchronousTestCase):
    def setUp(self):
        self.one, (self.first, self.second, self.third) = versions("one", 10.0, 20.0, 30.0)
        self.tokens = {"one": self.one}

    def look(self, references):
        return staleness(references, self.tokens.get)

    def test_whatATokenStandsForNowIsNotStale(self):
        self.assertIsNone(self.look(of((self.third,))))

    def test_whatItStoodForIsStaleSinceItWasReplaced(self):
        self.assertEqual(self.look(of((self.second,))), Staleness(since=30.0, keep_secs=1200.0))
        self.assertEqual(self.look(of((self.first,))).since, 20.0)

    def test_allGroupsHaveToBeStale(self):
        self.assertEqual(self.look(of((self.first,), (self.second,))).since, 30.0)
        self.assertIsNone(self.look(of((self.first,), (self.third,))))

    def test_allTokensOfAGroupHaveToBeOthers(self):
        self.tokens["two"], (old, new) = versions("two", 5.0, 50.0)
        self.assertEqual(self.look(of((self.first, old))).since, 50.0)
        self.assertIsNone(self.look(of((self.first, new))))

    def test_whatIsAskedForDirectlyIsNeverStale(self):
        self.assertIsNone(self.look(of((self.first,), direct=True)))
        self.assertIsNone(self.look(of()))

    def test_aTokenSaysHowLongItsOldServicesAreKept(self):
        self.tokens["two"], (old, _) = versions(
            "two", 5.0, 6.0, **{"fallback-period-secs": 10, "stale-timeout-mins": 1}
        )
        self.assertEqual(self.look(of((old,))).keep_secs, 70.0)
        self.assertEqual(self.look(of((old,), (self.first,))).keep_secs, 1200.0)

    def test_whatIsNoTimeIsAsIfItWereNotSaid(self):
        self.tokens["two"], (old, _) = versions(
            "two", 5.0, 6.0, **{"fallback-period-secs": "soon", "stale-timeout-mins": None}
        )
        self.assertEqual(self.look(of((old,))).keep_secs, 1200.0)

    def test_moreThanTheTokenMaySayIt(self):
        references = of((self.first,))
        found = staleness(references, self.tokens.get, lambda token: {"stale-timeout-mins": 0, **token.data})
        self.assertEqual(found.keep_secs, 300.0)

    def test_aDeletedTokenStandsForNothing(self):
        self.tokens["one"] = make_token("one", deleted=True, updated_at=40.0, previous=self.one)
        self.assertEqual(self.look(of((self.third,))).since, 40.0)
        self.assertEqual(self.look(of((self.second,))).since, 30.0)

    def test_ofATokenThatIsGoneItIsNotKnownSinceWhen(self):
        self.tokens.clear()
        self.assertEqual(self.look(of((self.third,))), Staleness(since=None, keep_secs=1200.0))

    def test_aVersionThatHistoryHasForgottenWasReplacedBeforeTheOldest(self):
        self.assertEqual(self.look(of((SourceToken("one", "E-forgotten"),))).since, 10.0)

    def test_theOnlyToken(self):
        self.assertEqual(only_token(of((self.first,), (self.second,))), "one")
        for references in (of(), of((self.first,), (SourceToken("two", "E"),)), of((self.first, self.second))):
            self.assertIsNone(only_token(references))
