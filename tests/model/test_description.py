"""L{waiter.model.description}."""

import copy
import json

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from waiter.model.checks import Says, shown
from waiter.model.description import ServiceDescription
from waiter.model.environment import reserved

REQUIRED = {"cmd": "run", "cpus": 0.5, "mem": 64, "run-as-user": "alice", "version": "v1"}

# The outside name, whether it is a whole number, the least and the most, and whether they themselves hold.
RANGES = [
    ("concurrency-level", int, 1, True, 10000, True),
    ("expired-instance-restart-rate", float, 0, False, 1, True),
    ("grace-period-secs", int, 0, True, 3600, True),
    ("health-check-interval-secs", int, 5, True, 600, True),
    ("health-check-max-consecutive-failures", int, 1, True, 36, True),
    ("idle-timeout-mins", float, 0, True, 43200, True),
    ("jitter-threshold", float, 0, True, 1, False),
    ("min-instances", int, 0, True, 500, True),
    ("max-instances", int, 1, True, 2000, True),
    ("ports", int, 1, True, 10, True),
    ("restart-backoff-factor", float, 1, True, 1000, True),
    ("scale-down-factor", float, 0, False, 1, False),
    ("scale-factor", float, 0, False, 2, True),
    ("scale-up-factor", float, 0, False, 1, False),
    ("termination-grace-period-secs", int, 0, True, 300, True),
]

DEFAULTS = {
    "allowed-params": (),
    "authentication": "standard",
    "backend-proto": "http",
    "cmd-type": "shell",
    "concurrency-level": 1,
    "distribution-scheme": "balanced",
    "env": {},
    "expired-instance-restart-rate": 0.1,
    "grace-period-secs": 30,
    "health-check-authentication": "disabled",
    "health-check-interval-secs": 10,
    "health-check-max-consecutive-failures": 5,
    "health-check-port-index": 0,
    "health-check-proto": None,
    "health-check-url": "/status",
    "idle-timeout-mins": 30,
    "instance-expiry-mins": 7200,
    "interstitial-secs": 0,
    "jitter-threshold": 0.5,
    "liveness-check-authentication": "disabled",
    "liveness-check-interval-secs": 10,
    "liveness-check-max-consecutive-failures": 5,
    "liveness-check-port-index": 0,
    "liveness-check-proto": None,
    "liveness-check-url": "/status",
    "load-balancing": "oldest",
    "max-instances": 500,
    "max-queue-length": 1000000,
    "metadata": {},
    "metric-group": None,
    "min-instances": 1,
    "name": None,
    "namespace": None,
    "permitted-user": "*",
    "pin": False,
    "ports": 1,
    "profile": None,
    "restart-backoff-factor": 2,
    "routing-mode": "default",
    "scale-down-factor": 0.001,
    "scale-factor": 1,
    "scale-up-factor": 0.1,
    "termination-grace-period-secs": 0,
}


class DescriptionTestCase(SynchronousTestCase):
    def described(self, **parameters):
        given = {name.replace("_", "-"): value for name, value in parameters.items()}
        return ServiceDescription.model_validate({**REQUIRED, **given})

    def wrong(self, **parameters):
        """What is found wrong: a list of the parameter (or nothing) and the words."""
        with self.assertRaises(ValidationError) as caught:
            self.described(**parameters)
        return [(".".join(map(str, e["loc"])), e["msg"]) for e in caught.exception.errors()]

    def assertWrong(self, name, value):
        found = self.wrong(**{name: value})
        self.assertEqual([where for where, _ in found], [name], f"{name}={value!r}")


class DefaultsTests(DescriptionTestCase):
    def test_onlyFiveParametersAreRequired(self):
        with self.assertRaises(ValidationError) as caught:
            ServiceDescription.model_validate({})
        self.assertEqual({error["loc"][0] for error in caught.exception.errors()}, set(REQUIRED))

    def test_everythingElseHasItsDefault(self):
        dumped = self.described().model_dump(by_alias=True)
        self.assertEqual({name: dumped[name] for name in DEFAULTS}, DEFAULTS)
        self.assertEqual(set(dumped), set(DEFAULTS) | set(REQUIRED))

    def test_defaultsHoldThemselves(self):
        self.assertEqual(self.described(**DEFAULTS), self.described())

    def test_anUnknownParameterIsRefused(self):
        self.assertWrong("colour", "red")

    def test_everyParameterSaysWhatItWants(self):
        for name, field in ServiceDescription.model_fields.items():
            says = [note.text for note in field.metadata if isinstance(note, Says)]
            self.assertEqual(len(says), 1, name)
            self.assertTrue(field.description, name)


class RangeTests(DescriptionTestCase):
    def test_insideTheRangeHolds(self):
        for name, kind, least, least_holds, most, most_holds in RANGES:
            inside = (least + most) / 2 if kind is float else (least + most) // 2
            values = [inside, *([least] if least_holds else []), *([most] if most_holds else [])]
            for value in values:
                more = {"max-instances": 2000} if name == "min-instances" else {"min-instances": 0}
                described = ServiceDescription.model_validate({**REQUIRED, **more, name: value})
                self.assertEqual(getattr(described, name.replace("-", "_")), value, name)

    def test_outsideTheRangeIsWrong(self):
        for name, kind, least, least_holds, most, most_holds in RANGES:
            step = 0.001 if kind is float else 1
            above = 2001 if name == "min-instances" else (most + step if most_holds else most)
            for value in (least - step if least_holds else least, above, -1, 10**30, -(10**30)):
                self.assertWrong(name, value)

    def test_countsWithoutAnUpperRangeAreBoundedAllTheSame(self):
        for name in ("instance-expiry-mins", "max-queue-length"):
            self.assertEqual(getattr(self.described(**{name: 2**31 - 1}), name.replace("-", "_")), 2**31 - 1)
            self.assertWrong(name, 2**31)
        self.described(**{"instance-expiry-mins": 0})
        self.assertWrong("max-queue-length", 0)

    def test_whatIsNoNumberIsWrong(self):
        numbers = [name for name, *_ in RANGES] + ["cpus", "mem", "health-check-port-index"]
        for name in numbers:
            for value in (True, False, "1", "", None, [], {}, float("nan"), float("inf"), float("-inf"), b"1", 10**400):
                self.assertWrong(name, value)

    def test_aFractionIsNoWholeNumberButOnePointZeroIs(self):
        self.assertWrong("concurrency-level", 1.5)
        level = self.described(concurrency_level=2.0).concurrency_level
        self.assertEqual((level, type(level)), (2, int))

    def test_cpusAndMemArePositive(self):
        for name in ("cpus", "mem"):
            self.assertWrong(name, 0)
            self.assertWrong(name, -0.1)
            self.described(**{name: 0.0001})

    def test_onlyTrueAndFalseAreTruths(self):
        self.assertIs(self.described(pin=True).pin, True)
        for value in (1, 0, "true", "yes", [], None):
            self.assertWrong("pin", value)

    def test_anIdleTimeoutMayBeAFraction(self):
        self.assertEqual(self.described(idle_timeout_mins=0.05).idle_timeout_mins, 0.05)


class TextTests(DescriptionTestCase):
    def test_blankTextIsWrong(self):
        for name in ("cmd", "version", "run-as-user", "name", "permitted-user", "namespace", "health-check-url"):
            for value in ("", "   ", 1, True, [], b"x"):
                self.assertWrong(name, value)

    def test_controlCharactersAndHalfSurrogatesAreWrong(self):
        for name in ("cmd", "version", "run-as-user", "name", "permitted-user", "namespace"):
            for bad in ("\x00", "\r", "\x1b", "\x7f", "\x85", "\ud800"):
                self.assertWrong(name, f"a{bad}b")
        self.assertWrong("version", "a\nb")

    def test_aCommandMayHaveSeveralLines(self):
        self.assertEqual(self.described(cmd="a\n\tb").cmd, "a\n\tb")

    def test_otherAlphabetsAreFine(self):
        self.assertEqual(self.described(name="Zähler 数 🙂").name, "Zähler 数 🙂")

    def test_namesFitIntoServiceIds(self):
        self.described(name="n" * 128)
        self.assertWrong("name", "n" * 129)

    def test_aHealthCheckUrlIsAPath(self):
        self.assertEqual(self.described(health_check_url="/up?deep=1").health_check_url, "/up?deep=1")
        for bad in ("up", "http://elsewhere/", "/a b", "/a\r\nX: y", "/ü"):
            self.assertWrong("health-check-url", bad)

    def test_choicesAreClosed(self):
        for name in ("load-balancing", "distribution-scheme", "backend-proto", "health-check-proto", "routing-mode"):
            for bad in ("", "x", 1, [], {}, True):
                self.assertWrong(name, bad)

    def test_metricGroups(self):
        for good in ("ab", "a1", "a-b_c", "a" * 32):
            self.assertEqual(self.described(metric_group=good).metric_group, good)
        for bad in ("a", "A1", "1a", "a--b", "a-", "a" * 33, "a b", "ab\n"):
            self.assertWrong("metric-group", bad)


class NotSupportedTests(DescriptionTestCase):
    """What Waiter does not do is refused in words that name the limit."""

    def test_itIsSaid(self):
        for name, value, words in [
            ("backend-proto", "h2", "HTTP/1.1"),
            ("backend-proto", "h2c", "HTTP/1.1"),
            ("health-check-proto", "h2c", "HTTP/1.1"),
            ("cmd-type", "docker", "Command type docker is not supported"),
            ("routing-mode", "headless", "through Waiter"),
        ]:
            [(where, sentence)] = self.wrong(**{name: value})
            self.assertEqual(where, name)
            self.assertIn(words, sentence)


class EnvironmentTests(DescriptionTestCase):
    def test_reservedNames(self):
        for name in (
            "HOME",
            "LOGNAME",
            "USER",
            "PORT",
            "PORT0",
            "PORT12",
            "MARATHON_X",
            "MESOS_",
            "WAITER_X",
            "WAITER_",
        ):
            self.assertTrue(reserved(name), name)
        for name in ("HOMES", "PORTS", "PORT0X", "XPORT", "MESOS", "WAITER", "WAITER_CONFIG_X", "home", "port0"):
            self.assertFalse(reserved(name), name)

    def test_itHolds(self):
        env = {"A": "1", "b_2": "x" * 512, "WAITER_CONFIG_X": "\t\n"}
        self.assertEqual(self.described(env=env).env, env)
        self.described(env={f"A{i}": "1" for i in range(99)})
        self.described(env={"A" * 512: "1"})

    def test_eachRuleHasItsWords(self):
        for env, words in [
            ([], "must be a map"),
            ("A=1", "must be a map"),
            ({f"A{i}": "1" for i in range(100)}, "fewer than 100"),
            ({"1A": "x"}, "keys are invalid: 1A"),
            ({"A-B": "x"}, "keys are invalid: A-B"),
            ({"": "x"}, "keys are invalid"),
            ({"A\n": "x"}, "keys are invalid: A\\u000a"),
            ({"\ud800": "x"}, "keys are invalid: \\ud800"),
            ({"A" * 513: "x"}, "keys are invalid: AAA"),
            ({"HOME": "x", "PORT1": "x"}, "reserved: HOME, PORT1"),
            ({"A": 1, "B": None}, "string values: A, B"),
            ({"A": ""}, "1 to 512 characters: A"),
            ({"A": "x" * 513}, "1 to 512 characters: A"),
            ({"A": "a\x00b"}, "control characters: A"),
            ({"A": "\udfff"}, "control characters: A"),
        ]:
            [(where, sentence)] = self.wrong(env=env)
            self.assertEqual(where, "env")
            self.assertIn(words, sentence)
            sentence.encode()

    def test_allowedParamsAreASortedSet(self):
        self.assertEqual(self.described(allowed_params=["B", "A", "B"]).allowed_params, ("A", "B"))
        for bad, words in [
            ("A,B", "must be a list"),
            (["A", ""], "non-empty"),
            (["A", 1], "non-empty"),
            (["1A"], "1A"),
            (["HOME"], "reserved: HOME"),
            ([f"A{i}" for i in range(100)], "fewer than 100"),
        ]:
            [(where, sentence)] = self.wrong(allowed_params=bad)
            self.assertEqual(where, "allowed-params")
            self.assertTrue(sentence.startswith("allowed-params is invalid. "), sentence)
            self.assertIn(words, sentence)


class MetadataTests(DescriptionTestCase):
    def test_keysAreLowered(self):
        self.assertEqual(self.described(metadata={"Team-1": "x" * 999}).metadata, {"team-1": "x" * 999})

    def test_eachRuleHasItsWords(self):
        for metadata, words in [
            (1, "must be a map"),
            ({f"a{i}": "1" for i in range(100)}, "fewer than 100"),
            ({"1a": "x"}, "keys are invalid: 1a"),
            ({"a_b": "x"}, "keys are invalid: a_b"),
            ({"a": True}, "string values: a"),
            ({"a": ""}, "1 to 999 characters: a"),
            ({"a": "x" * 1000}, "1 to 999 characters: a"),
            ({"a": "x\ny"}, "control characters: a"),
            ({"a": "1", "A": "2"}, "case"),
        ]:
            [(where, sentence)] = self.wrong(metadata=metadata)
            self.assertEqual(where, "metadata")
            self.assertIn(words, sentence)


class ContradictionTests(DescriptionTestCase):
    def test_fewerAtLeastThanAtMost(self):
        self.assertEqual(
            self.wrong(min_instances=10, max_instances=5),
            [("", "min-instances (10) must be less than or equal to max-instances (5)")],
        )
        self.described(min_instances=5, max_instances=5)

    def test_theCheckedPortExists(self):
        self.assertEqual(
            self.wrong(health_check_port_index=2, ports=2),
            [("", "The health check port index (2) must be smaller than ports (2)")],
        )
        self.described(health_check_port_index=1, ports=2)

    def test_onThePortOfRequestsTheProtocolIsThatOfRequests(self):
        self.assertEqual(
            self.wrong(health_check_proto="https"),
            [
                (
                    "",
                    "The backend-proto (http) and health check proto (https) must match when health-check-port-index is zero",
                )
            ],
        )
        self.described(health_check_proto="https", ports=2, health_check_port_index=1)
        self.described(health_check_proto="https", backend_proto="https")
        self.described(backend_proto="https")

    def test_theNamespaceIsTheUser(self):
        self.described(namespace="alice")
        self.assertEqual(
            self.wrong(namespace="bob"),
            [("", "Service namespace must either be omitted or match the run-as-user.")],
        )

    def test_allContradictionsAreSaidAtOnce(self):
        [(_, sentence)] = self.wrong(min_instances=10, max_instances=5, health_check_port_index=3)
        self.assertEqual(len(sentence.splitlines()), 2)


class ValueTests(DescriptionTestCase):
    """A description is a value."""

    def test_itDoesNotChange(self):
        description = self.described(env={"A": "1"}, metadata={"a": "1"})
        with self.assertRaises(ValidationError):
            description.cmd = "other"
        with self.assertRaises(TypeError):
            description.env["A"] = "2"
        with self.assertRaises(TypeError):
            description.metadata.clear()
        with self.assertRaises(TypeError):
            self.described().env["A"] = "2"

    def test_whatWasGivenMayChangeAfterwards(self):
        env = {"A": "1"}
        description = self.described(env=env)
        env["A"] = "2"
        self.assertEqual(description.env, {"A": "1"})

    def test_equalOnesHaveEqualHashes(self):
        one = self.described(env={"A": "1", "B": "2"}, allowed_params=["X", "Y"])
        other = self.described(env={"B": "2", "A": "1"}, allowed_params=["Y", "X"])
        self.assertEqual(one, other)
        self.assertEqual(hash(one), hash(other))
        self.assertEqual(copy.deepcopy(one), one)

    def test_asJsonItIsTheSameAgain(self):
        one = self.described(env={"A": "1"}, metadata={"a": "b"}, allowed_params=["X"], name="n")
        self.assertEqual(ServiceDescription.model_validate_json(one.model_dump_json(by_alias=True)), one)
        json.dumps(one.model_dump(by_alias=True))

    def test_itHasASchema(self):
        schema = ServiceDescription.model_json_schema()
        self.assertEqual(set(schema["required"]), set(REQUIRED))
        self.assertEqual(schema["properties"]["concurrency-level"]["maximum"], 10000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


class AnythingTests(DescriptionTestCase):
    @given(st.dictionaries(st.sampled_from(sorted(DEFAULTS) + sorted(REQUIRED)), JSON, max_size=6))
    def test_whateverIsGiven_itHoldsOrAValidationErrorSaysWhy(self, given):
        try:
            description = ServiceDescription.model_validate({**REQUIRED, **given})
        except ValidationError as error:
            for wrong in error.errors():
                self.assertTrue(wrong["msg"])
                wrong["msg"].encode()
        else:
            hash(description)
            description.model_dump_json(by_alias=True).encode()

    @given(st.text(st.characters(codec=None), max_size=200))
    def test_whateverIsShown_itIsPrintableAndShort(self, text):
        self.assertTrue(shown(text).isprintable())
        self.assertLessEqual(len(shown(text)), 63)
        shown(text).encode()
