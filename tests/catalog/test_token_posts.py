"""L{waiter.catalog.token_posts}."""

import contextlib
import json

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.admin.token_views import iso_of
from waiter.catalog.hosts import own_hosts
from waiter.catalog.token_posts import (
    check_name,
    check_not_reserved,
    is_name,
    milliseconds_of,
    understand_post,
    unquoted,
)
from waiter.errors import BadRequest, Forbidden

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


def understood(body, **arguments):
    given_arguments = {"asked_name": "a-token", "by": "alice", "update_mode": None, "if_match": None, **arguments}
    return understand_post(body if isinstance(body, bytes) else json.dumps(body).encode(), **given_arguments)


class UnderstandPostTests(SynchronousTestCase):
    def refused(self, *arguments, **more):
        return str(self.assertRaises(BadRequest, understood, *arguments, **more))

    def test_theKeysAreToldApart(self):
        post = understood({"cmd": "x", "owner": "bob", "root": "r", "zzz": 1, "aaa": 2, "name": None})
        self.assertEqual(post.data, {"cmd": "x", "owner": "bob"})
        self.assertEqual((post.system, post.other, post.metadata), ({"root": "r"}, ("aaa", "zzz"), {"owner": "bob"}))

    def test_theNameIsInTheQueryOrInTheBody(self):
        self.assertEqual(understood({"cmd": "x"}).name, "a-token")
        self.assertEqual(understood({"cmd": "x", "token": "b-token"}, asked_name=None).name, "b-token")
        both = "The token should be provided only as a query parameter or in the json payload"
        self.assertEqual(self.refused({"token": "b-token"}), both)
        for name in (None, "", " ", 5, []):
            self.assertEqual(self.refused({"token": name}, asked_name=None), "Must provide the token")
        self.assertEqual(self.refused({}, asked_name=""), "Must provide the token")

    def test_theModeIsForAdministratorsOrNone(self):
        self.assertTrue(understood({}, update_mode="admin").admin)
        self.assertFalse(understood({}, update_mode="").admin)
        self.assertEqual(self.refused({}, update_mode="x"), "Invalid update-mode: x")

    def test_onlyAnAdministratorDeletesByPosting(self):
        self.assertTrue(understood({"deleted": True}, update_mode="admin").deletes)
        self.assertFalse(understood({"deleted": 1}, update_mode="admin").deletes)
        self.assertFalse(understood({"deleted": True}).deletes)

    def test_whatIsNoJsonObjectIsRefused(self):
        deep = b"[" * 100000 + b"]" * 100000
        for body in (b"", b"{", b"[]", b"3", b"\xff", b'{"a": NaN}', b'{"a": "\\ud800"}', b'{"a": 1e999}', deep):
            self.assertTrue(self.refused(body).startswith("Invalid JSON payload"), body)
        self.assertTrue(self.refused(b'{"cpus": 123456789012345678901234567890}').startswith("Invalid JSON payload"))

    @given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
    def test_anyBodyIsUnderstoodOrRefused(self, body):
        with contextlib.suppress(BadRequest):
            understood(body)

    def test_aVersionMayBeQuoted(self):
        for header, version in (("E-1", "E-1"), ('"E-1"', "E-1"), ("", ""), (" ", ""), ('"', '"'), ('""', "")):
            self.assertEqual(unquoted(header), version)


class NameTests(SynchronousTestCase):
    def test_namesAreTakenOrRefusedWithAReason(self):
        for name in ("ab", "a-b_c$d.e", "A1", "x" * 255):
            check_name(name)
            self.assertTrue(is_name(name))
        for name, reason in (
            ("a#b", 'Token contains invalid character: "#"'),
            ("a b\n", 'Token contains invalid character: " "'),
            ("^SERVICE-ID#x", 'Token contains invalid character: "^"'),
            ("ab\n", 'Token contains invalid character: "\\u000a"'),
            ("a", "Token must match pattern"),
            ("1a", "Token must match pattern"),
            ("x" * 256, "Token must have at most 255 characters"),
        ):
            self.assertTrue(str(self.assertRaises(BadRequest, check_name, name)).startswith(reason), name)
            self.assertFalse(is_name(name))

    def test_WaitersHostsAreReserved(self):
        hosts = own_hosts(["waiter.example"])
        for name in ("localhost", "LocalHost", "127.0.0.1", "waiter.example", "waiter.example."):
            error = self.assertRaises(Forbidden, check_not_reserved, name, hosts)
            self.assertEqual(str(error), "Token name is reserved")
        check_not_reserved("token.example", hosts)


class MillisecondsTests(SynchronousTestCase):
    def test_momentsComeAsNumbersOrWritten(self):
        for moment, expected in (
            (1767225600123, 1767225600123),
            ("2026-01-01T00:00:00.123456+00:00", 1767225600123),
            ("2026-01-01T00:00:00.123Z", 1767225600123),
            ("2026-01-01T01:00:00.999+01:00", 1767225600999),
            ("2026-01-01T00:00:00", 1767225600000),
            (0, 0),
        ):
            self.assertEqual(milliseconds_of(moment), expected)

    def test_whatIsNoMomentIsRefused(self):
        for moment in (None, True, 1.5, -1, 10**20, "now", "", [], "0001-01-01T00:00:00Z"):
            self.assertRaises(BadRequest, milliseconds_of, moment)

    @given(st.integers(0, 253402300799999))
    @example(70368744177661)
    def test_aWrittenMomentIsReadAsItWas(self, milliseconds):
        self.assertEqual(milliseconds_of(iso_of(milliseconds)), milliseconds)
