"""L{waiter.telemetry.json_log}."""

import json
from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from waiter.telemetry.json_log import line, observer

NAMES = st.text(min_size=1).filter(lambda name: not name.startswith("log_"))
VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.binary(), inner, max_size=3),
    max_leaves=5,
)


class Unspeakable:
    def __str__(self):
        raise ZeroDivisionError


class JsonLogTests(SynchronousTestCase):
    def setUp(self):
        self.out = StringIO()
        publisher = LogPublisher(observer(self.out))
        self.log = Logger(namespace="here", observer=publisher)

    def only(self):
        (text,) = self.out.getvalue().splitlines()
        return json.loads(text)

    def test_anEventIsALineWithItsFields(self):
        self.log.error("{service_id} has {count}", service_id="s", count=3)
        event = self.only()
        self.assertRegex(event.pop("time"), r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
        self.assertEqual(event, {"level": "error", "from": "here", "message": "s has 3", "service_id": "s", "count": 3})

    def test_aFailureHasItsTraceback(self):
        self.log.failure("It went wrong", Failure(ZeroDivisionError("nothing to divide")))
        event = self.only()
        self.assertEqual((event["level"], event["message"]), ("critical", "It went wrong"))
        self.assertIn("nothing to divide", event["traceback"])

    def test_whatIsNoJsonIsShownAsText(self):
        self.log.info("a\nb", thing=self.only, other=Unspeakable(), mapping={b"key": 1})
        event = self.only()
        self.assertIn("JsonLogTests", event["thing"])
        self.assertEqual(event["other"], "<Unspeakable that cannot be shown>")
        self.assertEqual(event["message"], "a\nb")

    @given(st.dictionaries(NAMES, VALUES, max_size=4))
    def test_anyEventIsOneValidLine(self, fields):
        text = line({"log_format": "x", "log_time": 0.0, **fields})
        self.assertEqual(text.count("\n"), 1)
        self.assertEqual(json.loads(text, parse_constant=self.fail)["message"], "x")
