"""L{waiter.catalog.service_id}."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.rules import Rules
from waiter.catalog.service_id import service_id
from waiter.catalog.validation import describe, make_rules

REQUIRED = {
    "cmd": "python3 -m http.server $PORT0",
    "cpus": 0.1,
    "mem": 128,
    "run-as-user": "alice",
    "version": "v1",
    "permitted-user": "alice",
}


GOLDEN = [
    ({}, "waiter-service-7c41372a04be5d47fdeed2d0ad2dd9de"),
    ({"name": "Demo 1"}, "waiter-service-demo1-a79b7b3afec46d3744d7c9877797601e"),
    ({"cpus": 1}, "waiter-service-670de98e1d5855177a48f5995b4ace0f"),
    ({"cpus": 2.5e-07}, "waiter-service-d9c6962fe064713e1f00b9a51292a6fa"),
    ({"env": {"FOO": "bar", "GREETING": 'grüß "dich"\n🙂'}}, "waiter-service-e423364b392a55470770734c7027d50d"),
    (
        {"metadata": {"team": "x"}, "allowed_params": ["B", "A"], "ports": 3},
        "waiter-service-2cf696b51b287b01c54678720859afbd",
    ),
    (
        {"run_as_user": "bob", "permitted_user": "*", "idle_timeout_mins": 0.5, "min_instances": 0},
        "waiter-service-70fe0654d895f703e936147eb72f4dc8",
    ),
    ({"authentication": "disabled"}, "waiter-service-2c830a3d519d5feffbd1f70d7e858e2c"),
    (
        {"liveness_check_url": "/alive", "liveness_check_port_index": 0},
        "waiter-service-2393ecffd43c2ffdd27d8e8ec8fa85d1",
    ),
    ({"pin": True}, "waiter-service-1ff5fc503942f67a88b771da2d709f4b"),
]


def id_of(**more):
    given = REQUIRED | {name.replace("_", "-"): value for name, value in more.items()}
    core, _ = describe(given, Rules())
    return service_id(core)


class GoldenTests(SynchronousTestCase):
    """Ids that must never change: running instances and every client know them."""

    def test_ids(self):
        for more, expected in GOLDEN:
            self.assertEqual(id_of(**more), expected, more)

    def test_theHashIsOfCanonicalJson(self):
        canonical = (
            '{"cmd":"python3 -m http.server $PORT0","cpus":0.1,"mem":128,"name":"Demo","permitted-user":"alice",'
            '"run-as-user":"alice","version":"v1"}'
        )
        digest = hashlib.md5(canonical.encode()).hexdigest()
        self.assertEqual(id_of(name="Demo"), f"waiter-service-demo-{digest}")


class FormTests(SynchronousTestCase):
    def test_theNameIsLoweredAndStripped(self):
        for name, begin in [
            ("My App.2", "waiter-service-myapp2-"),
            ("Zähler", "waiter-service-zhler-"),
            ("a" * 128, f"waiter-service-{'a' * 128}-"),
        ]:
            self.assertTrue(id_of(name=name).startswith(begin), name)

    def test_ifNothingIsLeftOfTheName_itIsLeftOut(self):
        self.assertRegex(id_of(name="数 --"), r"\Awaiter-service-[0-9a-f]{32}\Z")

    def test_thePrefixIsGiven(self):
        self.assertRegex(service_id({"cmd": "x"}, prefix="mine-"), r"\Amine-[0-9a-f]{32}\Z")


class MeaningTests(SynchronousTestCase):
    """What means the same has the same id, and what does not has another."""

    def test_theKindOfNumberDoesNotMatter(self):
        self.assertEqual(id_of(cpus=1, mem=1024, ports=2), id_of(cpus=1.0, mem=1024.0, ports=2.0))
        self.assertEqual(id_of(jitter_threshold=0), id_of(jitter_threshold=-0.0))

    def test_orderDoesNotMatter(self):
        self.assertEqual(id_of(env={"A": "1", "B": "2"}), id_of(env={"B": "2", "A": "1"}))
        self.assertEqual(id_of(allowed_params=["A", "B"]), id_of(allowed_params=["B", "A", "B"]))
        self.assertEqual(id_of(metadata={"Team": "x"}), id_of(metadata={"team": "x"}))

    def test_nullIsNotGiven(self):
        self.assertEqual(id_of(health_check_proto=None), id_of())

    def test_aDefaultThatIsGivenIsAnotherService(self):
        self.assertNotEqual(id_of(ports=1), id_of())

    def test_whoRunsAndWhoMayUseItMatter(self):
        ids = {id_of(), id_of(run_as_user="bob"), id_of(permitted_user="*"), id_of(permitted_user="bob")}
        self.assertEqual(len(ids), 4)

    def test_defaultsOfTheInstallationDoNotMatter(self):
        one, _ = describe(REQUIRED, Rules())
        other, _ = describe(REQUIRED, make_rules(defaults={"ports": 3, "env": {"A": "1"}}))
        self.assertEqual(service_id(one), service_id(other))

    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "env": st.dictionaries(
                    st.from_regex(r"[A-Z]{2,5}", fullmatch=True), st.text("xyzü\U0001f600", min_size=1)
                ),
                "cpus": st.floats(0.001, 32),
                "mem": st.integers(1, 131072) | st.floats(0.5, 131072),
                "concurrency-level": st.integers(1, 10000),
                "name": st.text("aZ09 .-ü", min_size=1, max_size=20).filter(str.strip),
            },
        )
    )
    def test_describingACoreAgainGivesTheSameIdWithoutADot(self, more):
        core, description = describe(REQUIRED | more, Rules())
        again, same = describe(core, Rules())
        self.assertEqual((again, same), (core, description))
        self.assertEqual(service_id(again), service_id(core))
        self.assertNotIn(".", service_id(core))
