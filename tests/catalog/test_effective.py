"""L{waiter.catalog.effective}."""

import copy

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.effective import ALIKE, BUILT_IN, OVERRIDABLE, PARAMETERS, REQUIRED, effective
from waiter.model.description import ServiceDescription

WORDS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "2"]))
LAYERS = st.fixed_dictionaries(
    {},
    optional={
        "ports": st.integers(1, 10),
        "min-instances": st.integers(0, 20),
        "health-check-url": st.sampled_from(["/a", "/b"]),
        "liveness-check-url": st.sampled_from(["/c", "/d"]),
        "env": WORDS,
        "metadata": WORDS,
    },
)
SCALARS = ("ports", "min-instances", "health-check-url")


class NamesTests(SynchronousTestCase):
    def test_theRequiredOnesAreFive(self):
        self.assertEqual(REQUIRED, {"cmd", "cpus", "mem", "run-as-user", "version"})

    def test_onlySomeMayBeOverridden(self):
        self.assertEqual(
            PARAMETERS & OVERRIDABLE,
            {
                "authentication",
                "concurrency-level",
                "distribution-scheme",
                "expired-instance-restart-rate",
                "grace-period-secs",
                "health-check-interval-secs",
                "health-check-max-consecutive-failures",
                "idle-timeout-mins",
                "instance-expiry-mins",
                "interstitial-secs",
                "jitter-threshold",
                "liveness-check-interval-secs",
                "liveness-check-max-consecutive-failures",
                "load-balancing",
                "max-instances",
                "max-queue-length",
                "min-instances",
                "pin",
                "restart-backoff-factor",
                "scale-down-factor",
                "scale-factor",
                "scale-up-factor",
                "termination-grace-period-secs",
            },
        )

    def test_aLivenessCheckIsByDefaultWhatTheHealthCheckIs(self):
        self.assertEqual(len(ALIKE), 6)
        for name, alike in ALIKE.items():
            self.assertEqual(BUILT_IN.get(name), BUILT_IN.get(alike), name)


class LayersTests(SynchronousTestCase):
    @given(LAYERS, LAYERS, LAYERS, LAYERS)
    def test_theLastLayerThatSaysAnythingHolds(self, defaults, profile, core, overrides):
        layers = (defaults, profile, core, overrides)
        result = effective(*layers)
        for name in SCALARS:
            said = [layer[name] for layer in layers if name in layer]
            self.assertEqual(result.get(name), said[-1] if said else None)

    @given(LAYERS, LAYERS, LAYERS)
    def test_mapsAreGatheredKeyByKey(self, defaults, profile, core):
        result = effective(defaults, profile, core, {})
        for name in ("env", "metadata"):
            expected = {**defaults.get(name, {}), **profile.get(name, {}), **core.get(name, {})}
            self.assertEqual(result.get(name, {}), expected)

    @given(st.tuples(LAYERS, LAYERS, LAYERS, LAYERS))
    def test_nothingThatIsPutInIsChanged(self, layers):
        before = copy.deepcopy(layers)
        effective(*layers)
        self.assertEqual(layers, before)

    @given(st.tuples(LAYERS, LAYERS, LAYERS, LAYERS))
    def test_livenessIsAsSaidOrElseAsHealth(self, layers):
        result = effective(*layers)
        said = [layer["liveness-check-url"] for layer in layers if "liveness-check-url" in layer]
        self.assertEqual(result.get("liveness-check-url"), said[-1] if said else result.get("health-check-url"))

    def test_whatNobodySaysIsLeftToTheDescription(self):
        self.assertEqual(effective({}, {}, {}, {}), {})
        described = ServiceDescription(cmd="x", cpus=1, mem=1, run_as_user="u", version="1")
        for name, default in BUILT_IN.items():
            self.assertEqual(getattr(described, name.replace("-", "_")), default)

    def test_theLeastOfTheDefaultsGivesWayToTheMostThatIsGiven(self):
        defaults = {"min-instances": 5, "max-instances": 50}
        for core, overrides, least in (
            ({"max-instances": 2}, {}, 2),
            ({"max-instances": 10}, {}, 5),
            ({}, {"max-instances": 3}, 3),
            ({"max-instances": 2, "min-instances": 4}, {}, 4),
            ({"max-instances": "x"}, {}, 5),
        ):
            self.assertEqual(effective(defaults, {}, core, overrides)["min-instances"], least)

    def test_theCaseOfKeysOfMetadataDoesNotMatter(self):
        result = effective({"metadata": {"team": "a"}}, {"metadata": {"Team": "b"}}, {"metadata": {"TEAM": "c"}}, {})
        self.assertEqual(result["metadata"], {"TEAM": "c"})
