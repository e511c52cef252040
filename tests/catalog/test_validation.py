"""L{waiter.catalog.validation}."""

import json

from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.rules import Constraints, Rules
from waiter.catalog.validation import (
    IMPROPER,
    check_overrides,
    check_token_parameters,
    describe,
    make_rules,
    missing_parameters,
)
from waiter.errors import BadRequest, ServiceMisconfigured

GIVEN = {"cmd": "run", "cpus": 1, "mem": 64, "run-as-user": "alice", "version": "v1"}


def described(given=None, *, rules=None, defaults=None, constraints=None, profiles=None, **more):
    parameters = {
        **(GIVEN if given is None else given),
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return describe(parameters, rules or make_rules(defaults=defaults, constraints=constraints, profiles=profiles))


class ErrorTests(SynchronousTestCase):
    def lines(self, *args, **kwargs):
        """The friendly lines; C{self.error} is the error."""
        self.error = self.assertRaises(ServiceMisconfigured, described, *args, **kwargs)
        first, *lines = self.error.message.splitlines()
        self.assertEqual(first, IMPROPER)
        json.dumps(self.error.details)
        self.assertEqual(self.error.details["friendly-error-message"], "\n".join(lines))
        return lines

    def test_eachParameterHasItsWords(self):
        for name, value, words in [
            ("cmd", "", "cmd must be a non-empty string."),
            ("cpus", 0, "cpus must be a positive number."),
            ("cpus", "0.1", "cpus must be a positive number."),
            ("mem", True, "mem must be a positive number."),
            ("mem", float("nan"), "mem must be a positive number."),
            ("version", " ", "version must be a non-empty string."),
            ("version", "v" * 2049, "version must have at most 2048 characters."),
            ("backend-proto", "x", "backend-proto must be one of http or https."),
            ("concurrency-level", 0, "concurrency-level must be an integer in the range [1, 10000]."),
            ("distribution-scheme", "x", "distribution-scheme must be one of balanced or simple."),
            ("interstitial-secs", 3601, "interstitial-secs must be an integer in the range [0, 3600]."),
            ("interstitial-secs", -1, "interstitial-secs must be an integer in the range [0, 3600]."),
            ("grace-period-secs", 3601, "grace-period-secs must be an integer in the range [0, 3600]."),
            ("health-check-port-index", 10, "health-check-port-index must be an integer in the range [0, 9]."),
            ("health-check-proto", "x", "health-check-proto, when provided, must be one of http or https."),
            (
                "health-check-url",
                "/\xe9",
                "health-check-url must begin with / and have at most 2048 ASCII characters and no spaces.",
            ),
            ("idle-timeout-mins", 43201, "idle-timeout-mins must be a number in the range [0, 43200]."),
            ("load-balancing", "x", "load-balancing must be one of 'oldest', 'youngest' or 'random'."),
            ("max-instances", 0, "max-instances must be between 1 and 2000."),
            ("min-instances", -1, "min-instances must be between 0 and 2000."),
            ("ports", 11, "ports must be an integer in the range [1, 10]."),
            ("scale-down-factor", 1, "scale-down-factor must be a double in the range (0, 1)."),
            ("scale-up-factor", 0, "scale-up-factor must be a double in the range (0, 1)."),
            ("scale-factor", 2.1, "scale-factor must be a double in the range (0, 2]."),
            (
                "termination-grace-period-secs",
                301,
                "termination-grace-period-secs must be an integer in the range [0, 300].",
            ),
            ("profile", "fast", "Unsupported profile: fast, there are no supported profiles"),
        ]:
            self.assertEqual(self.lines({**GIVEN, name: value}), [words])
            self.assertEqual(self.error.details["issue"], {name: words})
            self.assertEqual(self.error.status, 400)

    def test_whatIsMissingIsNamed(self):
        self.assertEqual(
            self.lines({}),
            [
                "cmd must be a non-empty string.",
                "cpus must be a positive number.",
                "mem must be a positive number.",
                "run-as-user must be a non-empty string of at most 256 characters.",
                "version must be a non-empty string.",
            ],
        )
        self.assertEqual(set(self.error.details["issue"]), set(GIVEN))

    def test_aParameterWithoutWordsInTheOriginalIsNamedAllTheSame(self):
        for name, value in [("health-check-interval-secs", 1), ("jitter-threshold", 1), ("max-queue-length", 0)]:
            [line] = self.lines({**GIVEN, name: value})
            self.assertTrue(line.startswith(f"{name} must be"), line)
            self.assertEqual(list(self.error.details["issue"]), [name])

    def test_whatIsNotSupportedIsNamed(self):
        for name in ("image", "scheduler"):
            [line] = self.lines({**GIVEN, name: "x"})
            self.assertTrue(line.startswith(f"{name} is not supported: "), line)
        [line] = self.lines(cmd_type="docker")
        self.assertTrue(line.startswith("Command type docker is not supported"), line)

    def test_anUnknownParameterIsNamedPrintably(self):
        self.assertEqual(
            self.lines({**GIVEN, "col\nour\ud800": 1}), ["col\\u000aour\\ud800 is not a parameter of a service."]
        )
        self.error.message.encode()

    def test_theNameOfAFieldIsNoParameter(self):
        self.assertEqual(self.lines({**GIVEN, "min_instances": 1}), ["min_instances is not a parameter of a service."])

    def test_everythingIsSaidAtOnce(self):
        self.assertEqual(len(self.lines(cpus=33, mem="x", image="y", ports=0)), 4)
        self.assertEqual(set(self.error.details["issue"]), {"cpus", "mem", "image", "ports"})

    def test_contradictionsNameTheirParameters(self):
        self.assertEqual(
            self.lines(min_instances=10, max_instances=5),
            ["min-instances (10) must be less than or equal to max-instances (5)"],
        )
        self.assertEqual(set(self.error.details["issue"]), {"min-instances", "max-instances"})


class ConstraintTests(SynchronousTestCase):
    def exceeded(self, **more):
        error = self.assertRaises(ServiceMisconfigured, described, **more)
        return error.message.removeprefix(f"{IMPROPER}\n"), error.details["issue"]

    def test_theyAreJoinedInOneLine(self):
        line, issue = self.exceeded(cpus=33, cmd="x" * 1201, mem=131072.5)
        self.assertEqual(
            line,
            "The following fields exceed their allowed limits: cmd must be at most 1200 characters, "
            "cpus is 33 but the max allowed is 32, mem is 131072.5 but the max allowed is 131072",
        )
        self.assertEqual(set(issue), {"cmd", "cpus", "mem"})

    def test_atTheLimitIsFine(self):
        described(cpus=32, cmd="x" * 1200, mem=131072)

    def test_theyCanBeSet(self):
        constraints = Constraints(cmd_length=5, cpus=0.5, mem=10.0)
        line, _ = self.exceeded(constraints=constraints, cpus=1.0, cmd="123456", mem=11)
        self.assertEqual(
            line,
            "The following fields exceed their allowed limits: cmd must be at most 5 characters, "
            "cpus is 1 but the max allowed is 0.5, mem is 11 but the max allowed is 10",
        )
        described(constraints=Constraints(cpus=64), cpus=33)

    def test_absurdNumbersAreSaidShortly(self):
        for absurd in (10**300, 10**5000, 1e308):
            line, issue = self.exceeded(cpus=absurd)
            self.assertLess(len(line), 300)
            self.assertEqual(set(issue), {"cpus"})

    def test_defaultsAreConstrainedToo(self):
        self.assertRaises(ValueError, make_rules, defaults={"mem": 10**6})


class CoreTests(SynchronousTestCase):
    def test_theCoreIsWhatWasGivenCoerced(self):
        core, _ = described(
            mem=64.0, ports=2.0, env={"B": "1", "A": "2"}, metadata={"Team": "x"}, allowed_params=["Y", "X"], name=None
        )
        self.assertEqual(
            json.dumps(core),
            '{"allowed-params": ["X", "Y"], "cmd": "run", "cpus": 1, "env": {"A": "2", "B": "1"}, "mem": 64, '
            '"metadata": {"team": "x"}, "ports": 2, "run-as-user": "alice", "version": "v1"}',
        )

    def test_itCannotBeChanged(self):
        core, _ = described(env={"A": "1"})
        with self.assertRaises(TypeError):
            core["cmd"] = "other"
        with self.assertRaises(TypeError):
            core["env"]["A"] = "2"

    def test_itIsItsOwnCore(self):
        core, description = described(cpus=0.5, env={"A": "1"}, allowed_params=["A"])
        self.assertEqual(described(core), (core, description))


class DefaultsTests(SynchronousTestCase):
    def test_theyStandBeforeTheBuiltInOnes(self):
        core, description = described(defaults={"ports": 3, "grace-period-secs": 60}, grace_period_secs=5)
        self.assertEqual((description.ports, description.grace_period_secs, description.concurrency_level), (3, 5, 1))
        self.assertNotIn("ports", core)

    def test_mappingsAreMergedKeyByKey(self):
        defaults = {"env": {"A": "default", "B": "default"}, "metadata": {"team": "default"}}
        core, description = described(defaults=defaults, env={"B": "given"}, metadata={"Team": "given"})
        self.assertEqual(description.env, {"A": "default", "B": "given"})
        self.assertEqual(core["env"], {"B": "given"})
        self.assertEqual(core["metadata"], {"team": "given"})

    def test_theDefaultMinimumIsLoweredSilently(self):
        defaults = {"min-instances": 5, "max-instances": 50}
        self.assertEqual(described(defaults=defaults, max_instances=2)[1].min_instances, 2)
        self.assertEqual(described(defaults=defaults, max_instances=10)[1].min_instances, 5)
        self.assertRaises(ServiceMisconfigured, described, defaults=defaults, max_instances=2, min_instances=3)
        self.assertRaises(ServiceMisconfigured, described, defaults=defaults, min_instances=51)

    def test_theyMayStandForRequiredParameters(self):
        given = {name: value for name, value in GIVEN.items() if name != "cpus"}
        core, description = described(given, defaults={"cpus": 2})
        self.assertEqual(description.cpus, 2)
        self.assertNotIn("cpus", core)

    def test_theyAreCheckedByThemselves(self):
        self.assertEqual(
            make_rules(defaults={"ports": 3.0, "metadata": {"A": "b"}}).defaults,
            {"ports": 3, "metadata": {"a": "b"}},
        )
        self.assertEqual(make_rules(), Rules())
        for wrong in ({"ports": 99}, {"port": 1}, {"min-instances": 10, "max-instances": 5}, {"env": {"HOME": "/"}}):
            error = self.assertRaises(ValueError, make_rules, defaults=wrong)
            self.assertIn("defaults for services", str(error))


class OrderTests(SynchronousTestCase):
    """Wrong values come first, then limits, then what does not go together; each in an order that does not change."""

    def test_whatDoesNotGoTogetherIsSaidInOrder(self):
        error = self.assertRaises(
            ServiceMisconfigured,
            described,
            min_instances=10,
            max_instances=5,
            authentication="disabled",
            health_check_authentication="standard",
            liveness_check_authentication="standard",
            liveness_check_port_index=0,
            liveness_check_proto="https",
            health_check_port_index=3,
            namespace="bob",
            profile="fast",
            cpus=33,
        )
        self.assertEqual(
            error.message.splitlines(),
            [
                IMPROPER,
                "The following fields exceed their allowed limits: cpus is 33 but the max allowed is 32",
                "min-instances (10) must be less than or equal to max-instances (5)",
                "The health check authentication (standard) cannot be enabled when authentication (disabled) is disabled",
                "The liveness check authentication (standard) cannot be enabled when authentication (disabled) is disabled",
                "The health check port index (3) must be smaller than ports (1)",
                "The backend-proto (http) and liveness check proto (https) must match when liveness-check-port-index is zero",
                "Service namespace must either be omitted or match the run-as-user.",
                "Unsupported profile: fast, there are no supported profiles",
            ],
        )

    def test_wrongValuesComeBeforeLimitsAndTheKindOfCommandAfterThem(self):
        error = self.assertRaises(ServiceMisconfigured, described, ports=0, cpus=33, cmd_type="docker")
        first, second, third = error.message.splitlines()[1:]
        self.assertEqual(first, "ports must be an integer in the range [1, 10].")
        self.assertIn("exceed", second)
        self.assertIn("Command type docker is not supported", third)


class ProfileTests(SynchronousTestCase):
    def test_aProfileStandsBetweenDefaultsAndWhatIsGiven(self):
        core, description = described(
            defaults={"ports": 2, "scale-factor": 0.5, "env": {"A": "default", "B": "default", "C": "default"}},
            profiles={"fast": {"ports": 3, "concurrency-level": 7, "env": {"B": "profile", "C": "profile"}}},
            profile="fast",
            concurrency_level=8,
            env={"C": "given"},
        )
        self.assertEqual((description.ports, description.scale_factor, description.concurrency_level), (3, 0.5, 8))
        self.assertEqual(description.env, {"A": "default", "B": "profile", "C": "given"})
        self.assertEqual(core["profile"], "fast")
        self.assertEqual(core["env"], {"C": "given"})

    def test_itMayStandForRequiredParameters(self):
        _, description = described(
            {"run-as-user": "alice", "profile": "echo"},
            profiles={"echo": {"cmd": "echo", "cpus": 1, "mem": 8, "version": "v"}},
        )
        self.assertEqual(description.cmd, "echo")

    def test_theKnownOnesAreNamed(self):
        for wrong in ("slow", "", "\ud800"):
            error = self.assertRaises(ServiceMisconfigured, described, profiles={"b": {}, "a": {}}, profile=wrong)
            error.message.encode()
        error = self.assertRaises(ServiceMisconfigured, described, profiles={"b": {}, "a": {}}, profile="slow")
        self.assertIn("Unsupported profile: slow, supported profile(s) are a, b", error.message)
        self.assertRaises(ServiceMisconfigured, described, profile=["a"])

    def test_whatAnUnknownOneMightHaveGivenIsNotMissed(self):
        error = self.assertRaises(ServiceMisconfigured, described, {"profile": "slow"})
        self.assertEqual(error.message, f"{IMPROPER}\nUnsupported profile: slow, there are no supported profiles")

    def test_theyAreCheckedBeforeAnybodyAsks(self):
        for wrong in ({"ports": 99}, {"colour": "red"}, {"profile": "b"}, {"cpus": 33}):
            error = self.assertRaises(ValueError, make_rules, profiles={"a": wrong})
            self.assertIn("'a'", str(error))
        self.assertRaises(ValueError, make_rules, defaults={"max-instances": 3}, profiles={"a": {"min-instances": 4}})

    def test_theyMayHoldMetadataOfTokens(self):
        values = {"ports": 2.0, "stale-timeout-mins": 5}
        profile = make_rules(profiles={"a": values}, token_metadata=frozenset({"stale-timeout-mins"})).profiles["a"]
        self.assertEqual((profile.parameters, profile.metadata), ({"ports": 2}, {"stale-timeout-mins": 5}))
        self.assertEqual(profile.defaults, values)


class MetricGroupTests(SynchronousTestCase):
    def group(self, **more):
        mappings = [("web-.*", "web"), (".*-2", "second")]
        return described(rules=make_rules(metric_groups=mappings), **more)[1].metric_group

    def test_theFirstMappingThatMatchesTheWholeNameCounts(self):
        self.assertEqual(self.group(name="web-2"), "web")
        self.assertEqual(self.group(name="db-2"), "second")
        self.assertEqual(self.group(name="my-web-1"), "other")
        self.assertEqual(self.group(), "other")

    def test_whatIsGivenCountsMore(self):
        self.assertEqual(self.group(name="web-2", metric_group="mine"), "mine")

    def test_mappingsThatCannotBeAreRefused(self):
        self.assertRaises(ValueError, make_rules, metric_groups=[("(", "web")])
        self.assertRaises(ValueError, make_rules, metric_groups=[("web", "W e b")])


class LivenessTests(SynchronousTestCase):
    def test_itIsTheHealthCheckWhereNothingElseIsSaid(self):
        _, description = described(
            health_check_url="/up", health_check_interval_secs=20, liveness_check_interval_secs=30
        )
        self.assertEqual(description.liveness_check_url, "/up")
        self.assertEqual(description.liveness_check_interval_secs, 30)
        self.assertEqual(description.liveness_check_max_consecutive_failures, 5)
        self.assertIsNone(description.liveness_check_proto)

    def test_itHasItsWords(self):
        error = self.assertRaises(ServiceMisconfigured, described, liveness_check_port_index=10)
        self.assertIn("liveness-check-port-index must be an integer in the range [0, 9].", error.message)


class TokenTests(SynchronousTestCase):
    def test_whatATokenLeavesOutIsNotMissed(self):
        self.assertEqual(check_token_parameters({}, Rules()), {})
        self.assertEqual(check_token_parameters({"cpus": 1.0, "mem": None}, Rules()), {"cpus": 1})

    def test_metadataIsPassedOver(self):
        self.assertEqual(check_token_parameters({"owner": "alice", "cmd": "run"}, Rules()), {"cmd": "run"})

    def test_whatIsThereMustHold(self):
        for wrong in (
            {"cpus": 0},
            {"cpus": 33},
            {"image": "x"},
            {"profile": "x"},
            {"min-instances": 3, "max-instances": 2},
            {"namespace": "alice"},
            {"namespace": "alice", "run-as-user": "bob"},
        ):
            self.assertRaises(ServiceMisconfigured, check_token_parameters, wrong, Rules())

    def test_whoAsksMayBeTheUserAndTheNamespace(self):
        for given in ({"run-as-user": "*"}, {"namespace": "*"}, {"run-as-user": "*", "namespace": "*"}):
            self.assertEqual(check_token_parameters(given, Rules()), given)

    def test_whatAProfileSuppliesIsNotMissing(self):
        rules = make_rules(profiles={"a": {"cpus": 1, "mem": 2}}, defaults={"version": "v"})
        self.assertEqual(missing_parameters({}, rules), ("cmd", "cpus", "mem", "run-as-user"))
        self.assertEqual(missing_parameters({"profile": "a", "run-as-user": "*"}, rules), ("cmd",))
        self.assertEqual(missing_parameters({"profile": "unknown", "cmd": "x"}, rules), ("cpus", "mem", "run-as-user"))


class OverrideTests(SynchronousTestCase):
    def test_theyHoldInsteadOfWhatWasGivenAndLeaveTheCoreAlone(self):
        core, description = describe(
            {**GIVEN, "scale-factor": 0.5}, Rules(), overrides={"scale-factor": 1, "pin": True}
        )
        self.assertEqual((description.scale_factor, description.pin), (1, True))
        self.assertEqual(core, {**GIVEN, "scale-factor": 0.5})

    def test_onlySomeCanBeOverridden(self):
        error = self.assertRaises(BadRequest, check_overrides, GIVEN, {"mem": 1, "cmd": "x", "ports": 2}, Rules())
        self.assertEqual(error.message, "Cannot override the following parameter(s): cmd, mem, ports")

    def test_theyMustHoldTogetherWithTheService(self):
        core = {**GIVEN, "min-instances": 3}
        self.assertEqual(check_overrides(core, {"max-instances": 3.0, "pin": None}, Rules()), {"max-instances": 3})
        self.assertRaises(ServiceMisconfigured, check_overrides, core, {"max-instances": 2}, Rules())
        self.assertRaises(ServiceMisconfigured, check_overrides, core, {"scale-factor": 3}, Rules())
