"""Tests for L{waiter.settings}."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.settings import Settings, SettingsError, environment_names, read_settings


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

    def test_sectionThatIsNotATableIsRefused(self):
        self.assertIn("cluster: must be a table", self.refusal("cluster = 3\n", {"WAITER_CLUSTER_NAME": "a"}))

    def test_brokenFile(self):
        self.assertIn("is not TOML", self.refusal("[["))
        error = self.assertRaises(SettingsError, read_settings, path=Path("/nonexistent/w.toml"), environment={})
        self.assertIn("/nonexistent/w.toml: cannot be read", str(error))

    def test_portRangeMustBeInOrder(self):
        self.assertIn("port-range", self.refusal("[scheduler]\nport-range = [20, 10]\n"))

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
