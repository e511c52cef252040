"""Tests for L{waiter.settings}."""

import os
import pwd
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.settings import Settings, SettingsError
from waiter.settings_sources import environment_names, read_settings


class ReadSettingsTests(SynchronousTestCase):
    def file(self, text):
        path = Path(self.mktemp())
        path.write_text(text)
        return path

    def refusal(self, text="", environment=None):
        error = self.assertRaises(SettingsError, read_settings, path=self.file(text), environment=environment or {})
        return str(error)

    def test_defaults(self):
        settings, unknown = read_settings(environment={})
        self.assertEqual(settings, Settings())
        self.assertEqual(unknown, [])
        self.assertEqual(settings.listen.http, ("tcp:9091:interface=127.0.0.1",))

    def test_file(self):
        settings, _ = read_settings(
            path=self.file('[cluster]\nname = "lab"\n[request]\nqueue-timeout-ms = 5\n'), environment={}
        )
        self.assertEqual((settings.cluster.name, settings.request.queue_timeout_ms), ("lab", 5))

    def test_environmentBeatsFileAndCommandLineBeatsBoth(self):
        settings, _ = read_settings(
            path=self.file('[cluster]\nname = "a"\n[listen]\nhttp = ["unix:/a"]\n'),
            environment={"WAITER_CLUSTER_NAME": "b", "WAITER_LISTEN_HTTP": '["unix:/b"]', "WAITER_STATE_DIR": "/b"},
            http=["unix:/c"],
            state_dir="/c",
        )
        self.assertEqual(settings.cluster.name, "b")
        self.assertEqual(settings.listen.http, ("unix:/c",))
        self.assertEqual(settings.state_path, Path("/c"))

    def test_unknownVariableIsNamedAndIgnored(self):
        _, unknown = read_settings(environment={"WAITER_NONSENSE": "1", "PATH": "/bin"})
        self.assertEqual(unknown, ["WAITER_NONSENSE"])

    def test_anEmptyVariableSaysNothing(self):
        variables = ("WAITER_STATE_DIR", "WAITER_REQUEST_QUEUE_TIMEOUT_MS", "WAITER_LISTEN_HTTP")
        settings, unknown = read_settings(environment=dict.fromkeys(variables, ""))
        self.assertEqual(settings, Settings())
        self.assertEqual(unknown, [])

    def test_aFileOrDirectoryWithoutANameIsRefused(self):
        for text, name in (
            ('state-dir = ""', "state-dir"),
            ('[request-log]\npath = ""', "request-log.path"),
            ('[backend-tls]\nca-file = ""', "backend-tls.ca-file"),
            ('[marathon]\nca-file = ""', "marathon.ca-file"),
            ('[zookeeper]\ntls = true\nca-file = ""', "zookeeper.ca-file"),
            ('[zookeeper]\ntls = true\ncertificate-file = ""\nkey-file = "a"', "zookeeper.certificate-file"),
            ('[zookeeper]\ntls = true\ncertificate-file = "a"\nkey-file = ""', "zookeeper.key-file"),
        ):
            self.assertIn(f"{name}: ", self.refusal(f"{text}\n"))
        error = self.assertRaises(SettingsError, read_settings, environment={}, state_dir="")
        self.assertIn("state-dir: ", str(error))

    def test_unknownKeyIsRefusedWithSuggestion(self):
        self.assertIn(
            "request.queue-timeout: there is no such setting; did you mean queue-timeout-ms?",
            self.refusal("[request]\nqueue-timeout = 5\n"),
        )
        self.assertIn("clutser: there is no such setting; did you mean cluster?", self.refusal("[clutser]\n"))

    def test_everyErrorIsReported(self):
        text = self.refusal('[request]\nqueue-timeout-ms = -1\nconnect-timeout-ms = "soon"\n')
        self.assertIn("request.queue-timeout-ms: ", text)
        self.assertIn("request.connect-timeout-ms: ", text)
        self.assertIn("'soon'", text)

    def test_variableThatDoesNotHoldIsRefused(self):
        self.assertIn("cluster.name", self.refusal(environment={"WAITER_CLUSTER_NAME": "../etc"}))
        self.assertIn("listen.http: must be a list", self.refusal(environment={"WAITER_LISTEN_HTTP": "unix:/a"}))

    def test_noTimeoutThatARequestMayAskForIsLongerThanItMayAskFor(self):
        for key in ("queue-timeout-ms", "socket-timeout-ms", "streaming-timeout-ms"):
            self.assertIn(f"request.{key}", self.refusal(f"[request]\n{key} = 3600001\n"))

    def test_sectionThatIsNotATableIsRefused(self):
        self.assertIn("cluster: must be a table", self.refusal("cluster = 3\n", {"WAITER_CLUSTER_NAME": "a"}))
        error = self.assertRaises(
            SettingsError, read_settings, path=self.file("listen = 3\n"), environment={}, http=["unix:/a"]
        )
        self.assertIn("listen: must be a table", str(error))

    def test_variablesAreWhatTheirSettingsAre(self):
        settings, _ = read_settings(
            environment={
                "WAITER_CLUSTER_NAME": "2024",
                "WAITER_AUTHENTICATOR_RUN_AS_USER": "1000",
                "WAITER_REQUEST_LOG_PATH": "-",
                "WAITER_REQUEST_LOG_ENABLED": "false",
                "WAITER_REQUEST_QUEUE_TIMEOUT_MS": "5",
                "WAITER_SCHEDULER_MEMORY_SHARE": "0.5",
                "WAITER_SCHEDULER_PORT_RANGE": "[10, 20]",
                "WAITER_DEFAULTS": '{"cpus": 1}',
            }
        )
        self.assertEqual((settings.cluster.name, settings.authenticator.run_as_user), ("2024", "1000"))
        self.assertEqual((settings.request_log.path, settings.request_log.enabled), ("-", False))
        self.assertEqual((settings.request.queue_timeout_ms, settings.scheduler.memory_share), (5, 0.5))
        self.assertEqual((settings.scheduler.port_range, settings.defaults), ((10, 20), {"cpus": 1}))

    def test_brokenFile(self):
        self.assertIn("is not TOML", self.refusal("[["))
        error = self.assertRaises(SettingsError, read_settings, path=Path("/nonexistent/w.toml"), environment={})
        self.assertIn("/nonexistent/w.toml: cannot be read", str(error))

    def test_portRangeMustBeInOrder(self):
        self.assertIn("port-range", self.refusal("[scheduler]\nport-range = [20, 10]\n"))

    def test_zooKeeperIsNamedWhereItIsNeeded(self):
        for text, words in (
            ('[store]\nkind = "zookeeper"', "store.kind: zookeeper needs zookeeper.connect-string"),
            ("[cluster]\nmin-routers = 2", "cluster.min-routers: more than one router needs"),
            ('[zookeeper]\ncertificate-file = "a"\ntls = true', "go together"),
            ('[zookeeper]\nca-file = "a"', "with tls = true only"),
            ('[zookeeper]\ndigest = "nocolon"', "zookeeper.digest"),
            ('[zookeeper]\nbase-path = "waiter"', "zookeeper.base-path"),
        ):
            self.assertIn(words, self.refusal(text + "\n"))

    def test_everySettingHasAVariable(self):
        names = environment_names()
        self.assertEqual(names["WAITER_REQUEST_LOG_MAX_BYTES"], ("request-log", "max-bytes"))
        self.assertEqual(len(names), len({tuple(path) for path in names.values()}))

    @given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")))
    def test_anyValueIsTakenOrRefusedClearly(self, value):
        try:
            read_settings(environment={"WAITER_REQUEST_QUEUE_TIMEOUT_MS": value})
        except SettingsError as error:
            self.assertIn("request.queue-timeout-ms", str(error))


class PrincipalTests(SynchronousTestCase):
    def test_theOneUserIsTheOneWaiterRunsAsWhateverVariablesSay(self):
        self.patch(os, "environ", {**os.environ, "LOGNAME": "somebody-else", "USER": "somebody-else"})
        self.assertEqual(Settings().authenticator.principal, pwd.getpwuid(os.geteuid()).pw_name)

    def test_aUserWithoutANameIsKnownByItsNumber(self):
        self.patch(os, "geteuid", lambda: 2**31 - 7)
        self.assertEqual(Settings().authenticator.principal, str(2**31 - 7))

    def test_anotherCanBeSet(self):
        settings, _ = read_settings(environment={"WAITER_AUTHENTICATOR_RUN_AS_USER": "alice"})
        self.assertEqual(settings.authenticator.principal, "alice")
