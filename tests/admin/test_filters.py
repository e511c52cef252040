"""Which services a query asks for."""

import time

from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import make_service
from waiter.admin.filters import service_filter
from waiter.errors import BadRequest
from waiter.model.source import References, SourceToken

SERVICE = make_service(name="my-service", env={"FOO": "bar"}, metadata={"team": "x"}, cpus=2)
REFERENCES = References(
    sources=((SourceToken("one", "E-1"),), (SourceToken("two", "E-2"), SourceToken("three", "E-3")))
)


def matches(**given):
    return service_filter(
        {key.replace("__", ".").replace("_", "-"): values for key, values in given.items()}, lambda _: REFERENCES
    )(SERVICE)


class FilterTests(SynchronousTestCase):
    def test_nothingAskedForIsEverything(self):
        self.assertTrue(matches())
        self.assertTrue(matches(effective_parameters=["true"], include=["references"], nonsense=["x"]))

    def test_valuesAreComparedLiterally(self):
        self.assertTrue(matches(name=["my-service"]))
        self.assertFalse(matches(name=["my-serv"]))
        self.assertTrue(matches(run_as_user=["alice"]))
        self.assertFalse(matches(run_as_user=["bob"]))

    def test_defaultsAreComparedToo(self):
        self.assertTrue(matches(concurrency_level=["1"]))
        self.assertFalse(matches(concurrency_level=["2"]))

    def test_numbersMatchAsTheyAreWritten(self):
        for text in ("2", "2.0"):
            self.assertTrue(matches(cpus=[text]), text)
        self.assertFalse(matches(cpus=["2.1"]))

    def test_valuesAreRegularExpressionsForTheWhole(self):
        self.assertTrue(matches(name=["my-.*"]))
        self.assertTrue(matches(name=["(?:my|your)-service"]))
        self.assertTrue(matches(name=["my|your|my-service"]))
        self.assertTrue(matches(name=[r"my\-\w+"]))
        self.assertFalse(matches(name=[".y"]))

    def test_invalidExpressionsMatchOnlyThemselves(self):
        self.assertFalse(matches(name=["(my"]))
        self.assertTrue(service_filter({"name": ["(a"]})(make_service(name="(a")))
        self.assertFalse(matches(name=["my-service" * 1000]))

    def test_dotsGoIntoMaps(self):
        self.assertTrue(matches(env__FOO=["bar"]))
        self.assertFalse(matches(env__FOO=["baz"]))
        self.assertFalse(matches(env__BAR=["bar"]))
        self.assertFalse(matches(env__FOO__x=["bar"]))
        self.assertTrue(matches(metadata__team=["x|y"]))
        self.assertFalse(matches(env=["bar"]))
        self.assertFalse(matches(name__x=["my-service"]))

    def test_oneOfTheValuesAndAllOfTheKeysMustMatch(self):
        self.assertTrue(matches(name=["other", "my-service"]))
        self.assertTrue(matches(name=["my-service"], version=["v1"]))
        self.assertFalse(matches(name=["my-service"], version=["v2"]))

    def test_starIsAnyValueUnlessStarModeSaysOtherwise(self):
        self.assertTrue(matches(name=["*"]))
        self.assertTrue(matches(name=["*"], star_mode=["all"]))
        self.assertFalse(matches(name=["*"], star_mode=["exact"]))
        self.assertFalse(service_filter({"name": ["*"]})(make_service()))
        self.assertTrue(matches(permitted_user=["*"], star_mode=["exact"]))

    def test_emptyRunAsUserIsNoFilter(self):
        self.assertTrue(matches(run_as_user=[""]))
        self.assertFalse(matches(name=[""]))

    def test_servicesOfHeadersHaveNoTokens(self):
        self.assertFalse(matches(token=["x"]))
        self.assertTrue(matches(token=[""]))

    def test_tokensAreThoseTheServiceWasAskedForBy(self):
        self.assertTrue(matches(token=["three"]))
        self.assertTrue(matches(token=["t.*"], **{"token-version": ["E-1"]}))
        self.assertTrue(matches(token=["*"]))
        self.assertFalse(matches(token=["one"], **{"token-version": ["E-4"]}))

    def test_expressionsThatCouldTakeForEverAreRefused(self):
        long = make_service(name="a" * 100 + "!")
        for pattern in (
            "(a+)+b",
            "(a|a)*b",
            "((a|a)+)b",
            ".*.*.*.*.*.*b",
            "a?" * 40 + "a" * 40,
            "(a|aa)" * 40,
            r"(a*)\1*b",
            "(?=a*)*b",
            "(?:a*){20}b",
            "([^b]+)+b",
            r"(\w|a)*b",
        ):
            self.assertRaises(BadRequest, service_filter({"name": [pattern]}), long)
        # More steps than a float can count.
        longest = make_service(version="a" * 2048)
        self.assertRaises(BadRequest, service_filter({"version": ["a*" * 250]}), longest)

    def test_costlyExpressionsThatAreLetThroughEndSoon(self):
        # The longest of what passes: each bound is reached by one of them.
        for text, pattern in (("a" * 120, ".*.*.*b"), ("a" * 60, ".*a.*a.*a.*b"), ("a" * 100, "(a|a)(a|a)(a|a).*.*b")):
            service = make_service(name=text)
            began = time.monotonic()
            self.assertFalse(service_filter({"name": [pattern]})(service))
            self.assertLess(time.monotonic() - began, 10, pattern)

    def test_manyExpressionsThatTogetherCouldTakeForEverAreRefused(self):
        # Each alone is let through.
        long = make_service(name="a" * 100 + "!")
        several = [f".*.*.*b{number}" for number in range(10)]
        self.assertFalse(service_filter({"name": several})(long))
        wanted = service_filter({"name": several * 100})
        self.assertRaises(BadRequest, wanted, long)
        # What one service has cost is not held against the next.
        short = make_service(name="a")
        self.assertFalse(wanted(short))
        wanted = service_filter({"name": several})
        self.assertEqual([wanted(long) for _ in range(100)], [False] * 100)

    def test_costlyExpressionsMatchThemselves(self):
        self.assertTrue(service_filter({"name": ["(a+)+b"]})(make_service(name="(a+)+b")))
