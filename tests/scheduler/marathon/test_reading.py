"""Reading large answers bit by bit."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.scheduler.marathon.reading import apps

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
APPS = st.lists(st.dictionaries(st.text() | st.just("tasks"), VALUES, max_size=5), max_size=5)


def read(text):
    return [app for app in apps(text) if app is not None]


class ReadingTests(SynchronousTestCase):
    @given(APPS, st.dictionaries(st.text().filter(lambda key: key != "apps"), VALUES, max_size=3), st.booleans())
    def test_itIsWhatTheJSONModuleReads(self, listed, others, indent):
        text = json.dumps({**others, "apps": listed}, indent=2 if indent else None)
        self.assertEqual(read(text), json.loads(text)["apps"])

    @given(APPS, st.data())
    def test_whatIsCutOffIsNotUnderstood(self, listed, data):
        text = json.dumps({"apps": listed})
        cut = data.draw(st.integers(min_value=0, max_value=len(text) - 1))
        with self.assertRaises(ValueError):
            read(text[:cut])

    def test_whatIsNoListOfAppsIsNotUnderstood(self):
        for text in ("", "null", "[]", "{}", '{"apps": 7}', '{"apps": [7]}', '{"apps": []} x', "{7: 8}", '{"a" 1}'):
            with self.assertRaises(ValueError):
                read(text)

    def test_insideALargeAppThereArePauses(self):
        text = json.dumps({"apps": [{"tasks": [{"id": str(number)} for number in range(1000)]}]})
        found = list(apps(text))
        self.assertGreater(found.count(None), 10)
        self.assertEqual(len(found[-1]["tasks"]), 1000)
