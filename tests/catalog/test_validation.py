"""L{waiter.catalog.validation}."""

import json

from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.validation import IMPROPER, Constraints, coerced_defaults, describe
from waiter.errors import ServiceMisconfigured

GIVEN = {"cmd": "run", "cpus": 1, "mem": 64, "run-as-user": "alice", "version": "v1"}


def described(given=None, *, defaults=None, constraints=None, **more):
    parameters = {
        **(GIVEN if given is None else given),
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return describe(parameters, defaults=defaults or {}, constraints=constraints or Constraints())


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
            ("profile", "fast", "Unsupported profile: fast, there are no supported profiles."),
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
        for name in ("image", "scheduler", "liveness-check-url", "liveness-check-port-index"):
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
        self.assertRaises(ValueError, coerced_defaults, {"mem": 10**6}, Constraints())


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
            coerced_defaults({"ports": 3.0, "metadata": {"A": "b"}}, Constraints()),
            {"ports": 3, "metadata": {"a": "b"}},
        )
        self.assertEqual(coerced_defaults({}, Constraints()), {})
        for wrong in ({"ports": 99}, {"port": 1}, {"min-instances": 10, "max-instances": 5}, {"env": {"HOME": "/"}}):
            error = self.assertRaises(ValueError, coerced_defaults, wrong, Constraints())
            self.assertIn("defaults for services", str(error))
