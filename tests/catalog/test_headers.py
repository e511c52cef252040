"""L{waiter.catalog.headers}."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.headers import describes_service, understand
from waiter.errors import BadRequest


def understood(*headers):
    return understand((f"x-waiter-{name}".encode(), value) for name, value in headers)


class ParameterTests(SynchronousTestCase):
    def assertParameters(self, expected, *headers):
        self.assertEqual(understood(*headers).parameters, expected)

    def test_textIsTakenAsItIs(self):
        for name in ("cmd", "version", "name", "run-as-user", "permitted-user", "health-check-url", "load-balancing"):
            for value in ("true", "1", '"x"', "{}", "a b"):
                self.assertParameters({name: value}, (name, value.encode()))

    def test_textIsUtf8(self):
        self.assertParameters({"name": "Zähler"}, ("name", "Zähler".encode()))

    def test_theOthersAreJson(self):
        for name in ("cpus", "mem", "pin", "ports", "min-instances", "scale-factor", "idle-timeout-mins"):
            for text, value in [
                (b"1", 1),
                (b"0.25", 0.25),
                (b"1e2", 100.0),
                (b'"1"', "1"),
                (b"true", True),
                (b"null", None),
            ]:
                self.assertParameters({name: value}, (name, text))

    def test_whatIsNoJsonIsTakenAsItIs(self):
        for text in ("", "abc", "1,5", "0x10", "1" * 5000, "[" * 20000, "0.1 "):
            value = text if text != "0.1 " else 0.1
            self.assertParameters({"cpus": value}, ("cpus", text.encode()))

    def test_parametersThatAreNotSupportedAreNotPassedOver(self):
        self.assertParameters(
            {"image": "x/y", "scheduler": "k8s", "liveness-check-url": "/x", "profile": "p"},
            ("image", b"x/y"),
            ("scheduler", b"k8s"),
            ("liveness-check-url", b"/x"),
            ("profile", b"p"),
        )

    def test_unheardOfHeadersArePassedOverWhateverTheyHold(self):
        asked = understood(("unheard-of", b"\xff"), ("unheard-of", b""), ("health_check_url", b"/"), ("", b"x"))
        self.assertEqual(asked.parameters, {})
        self.assertFalse(asked.describes_service)

    def test_allowedParamsAreSeparatedByCommas(self):
        for text, names in [
            (b"A,B", ["A", "B"]),
            (b" A , B ", ["A", "B"]),
            (b"", []),
            (b"  ", []),
            (b"A,,B", ["A", "", "B"]),
        ]:
            self.assertParameters({"allowed-params": names}, ("allowed-params", text))


class MappingTests(SynchronousTestCase):
    def test_variablesAreUpperCase(self):
        asked = understood(("env-foo", b"1"), ("env-foo_bar", b"true"), ("env-a-b", b"x"))
        self.assertEqual(asked.parameters, {"env": {"FOO": "1", "FOO_BAR": "true", "A-B": "x"}})

    def test_metadataIsLowerCase(self):
        self.assertEqual(understood(("metadata-team-1", b"x")).parameters, {"metadata": {"team-1": "x"}})

    def test_aWholeMapIsJson(self):
        asked = understood(("env", b'{"foo": "1"}'), ("metadata", b'{"a": "b"}'))
        self.assertEqual(asked.parameters, {"env": {"foo": "1"}, "metadata": {"a": "b"}})

    def test_bothFormsAreOneMap(self):
        asked = understood(("env", b'{"foo": "1"}'), ("env-bar", b"2"))
        self.assertEqual(asked.parameters, {"env": {"foo": "1", "BAR": "2"}})

    def test_whenBothSetTheSame_itIsRefused(self):
        error = self.assertRaises(BadRequest, understood, ("env", b'{"FOO": "1"}'), ("env-foo", b"1"))
        self.assertIn("FOO", error.message)

    def test_whatIsNoMapIsLeftToValidation(self):
        self.assertEqual(understood(("env", b"[1]"), ("env-foo", b"1")).parameters, {"env": [1]})

    def test_paramsAreApart(self):
        asked = understood(("param-size", b"10"), ("param-my_x", b"y"))
        self.assertEqual(asked.params, {"SIZE": "10", "MY_X": "y"})
        self.assertEqual(asked.parameters, {})
        self.assertTrue(asked.describes_service)


class RefusalTests(SynchronousTestCase):
    def refused(self, *headers):
        return self.assertRaises(BadRequest, understood, *headers).message

    def test_aHeaderThatIsThereTwice(self):
        for name in ("cmd", "cpus", "env-foo", "metadata-a", "param-x", "token", "timeout", "debug", "image"):
            message = self.refused((name, b"1"), ("version", b"v"), (name, b"1"))
            self.assertIn(f"x-waiter-{name}", message)

    def test_aValueThatIsNotUtf8(self):
        for name in ("cmd", "cpus", "env-foo", "metadata-a", "param-x", "token"):
            message = self.refused((name, b"a\xffb"))
            self.assertIn(f"x-waiter-{name}", message)
            self.assertIn("UTF-8", message)

    def test_maintenance(self):
        self.assertEqual(self.refused(("maintenance", b"x")), "Unsupported waiter headers found")

    def test_authentication(self):
        self.assertEqual(
            self.refused(("authentication", b"disabled")),
            "An authentication parameter is not supported for on-the-fly headers",
        )

    def test_anIdleTimeoutOfZero(self):
        for zero in (b"0", b"0.0", b"-0", b"0e5"):
            self.assertEqual(
                self.refused(("idle-timeout-mins", zero)),
                "idle-timeout-mins on-the-fly header configured to a value of zero is not supported",
            )
        for other in (b"false", b'"0"', b"0.1", b"[]"):
            understood(("idle-timeout-mins", other))


class OtherTests(SynchronousTestCase):
    def test_tokensAreSeparatedByCommas(self):
        self.assertEqual(understood(("token", b"a, b,,c")).tokens, ("a", "b", "c"))
        self.assertEqual(understood(("token", b" ")).tokens, ())
        self.assertEqual(understood(("cmd", b"x")).tokens, ())

    def test_whatConcernsTheRequestAloneDescribesNothing(self):
        asked = understood(
            ("timeout", b"10"),
            ("queue-timeout", b"\xff"),
            ("streaming-timeout", b"x"),
            ("debug", b""),
            ("async-check-interval", b"1"),
            ("async-request-timeout", b"1"),
            ("fallback-period-secs", b"1"),
        )
        self.assertFalse(asked.describes_service)
        self.assertEqual(asked.per_request[b"x-waiter-timeout"], b"10")
        self.assertIn(b"x-waiter-debug", asked.per_request)

    def test_whatDescribesAService(self):
        for name in (
            b"cmd",
            b"cpus",
            b"image",
            b"env-a",
            b"metadata-a",
            b"param-a",
            b"allowed-params",
            b"authentication",
        ):
            self.assertTrue(describes_service([b"x-waiter-debug", b"x-waiter-" + name]), name)
        for name in (
            b"token",
            b"timeout",
            b"queue-timeout",
            b"debug",
            b"unheard-of",
            b"fallback-period-secs",
            b"env"[:2],
        ):
            self.assertFalse(describes_service([b"x-waiter-" + name]), name)
        self.assertFalse(describes_service([]))

    NAMES = st.sampled_from(
        [
            "cmd",
            "cpus",
            "env",
            "env-a",
            "env-",
            "metadata",
            "metadata-b",
            "param-c",
            "allowed-params",
            "token",
            "x",
            "ports",
        ]
    )

    @given(st.lists(st.tuples(NAMES, st.binary(max_size=12)), max_size=5))
    def test_whateverIsSent_itIsUnderstoodOrRefused(self, headers):
        try:
            asked = understood(*headers)
        except BadRequest as error:
            error.message.encode()
        else:
            names = [f"x-waiter-{name}".encode() for name, _ in headers]
            self.assertEqual(asked.describes_service, describes_service(names))
