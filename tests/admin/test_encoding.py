"""Values as JSON."""

import json
from enum import Enum

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.admin.encoding import json_bytes, plain
from waiter.model.instance import Flag
from waiter.scheduler.interface import LogEntry


class Colour(Enum):
    RED = 1


@attrs.frozen
class Unknown:
    some_value: object


class EncodingTests(SynchronousTestCase):
    def test_valuesBecomeWhatJsonHasForThem(self):
        for value, expected in [
            (Flag.EXPIRED, "expired"),
            (Colour.RED, 1),
            ({Flag.EXPIRED: 1, 2: None, None: True}, {"expired": 1, "2": None, "None": True}),
            (frozenset({"b", "a"}), ["a", "b"]),
            ((1, 2.5), [1, 2.5]),
            (b"a\xff", "a\\xff"),
            (float("inf"), None),
            (float("nan"), None),
            (True, True),
            (
                LogEntry(name="n", type="file", size=1, path="p"),
                {"name": "n", "type": "file", "size": 1, "path": "p"},
            ),
            (Unknown({"a": {1}}), {"some-value": {"a": [1]}}),
            ((x for x in "ab"), ["a", "b"]),
        ]:
            self.assertEqual(plain(value), expected)
        self.assertTrue(plain(object()).startswith("<object"))

    def test_orderOfKeysIsKept(self):
        self.assertEqual(json_bytes({"b": 1, "a": 2}, indent=None), b'{"b": 1, "a": 2}')

    @given(st.text(st.characters(categories=("Cs", "L", "Cc"))))
    def test_anyTextIsValidUtf8(self, text):
        self.assertEqual(json.loads(json_bytes([text]).decode()), [text.encode("utf-8", "replace").decode()])
