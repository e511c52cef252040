"""L{waiter.model.reference}."""

from twisted.trial.unittest import SynchronousTestCase

from waiter.model.description import ServiceDescription
from waiter.model.reference import parameter_rows


class ParameterRowsTests(SynchronousTestCase):
    def setUp(self):
        self.rows = {row.name: row for row in parameter_rows()}

    def test_everyParameterHasARow(self):
        self.assertEqual(set(self.rows), {name.replace("_", "-") for name in ServiceDescription.model_fields})

    def test_theRequiredOnesComeFirst(self):
        rows = list(parameter_rows())
        self.assertEqual([row.name for row in rows[:5]], ["cmd", "cpus", "mem", "run-as-user", "version"])
        self.assertEqual([row.required for row in rows], [True] * 5 + [False] * (len(rows) - 5))

    def test_typesAndRangesAreInWords(self):
        for name, words in {
            "cmd": "text",
            "cpus": "number, more than 0",
            "concurrency-level": "integer, 1 to 10000",
            "scale-factor": "number, more than 0 to 2",
            "jitter-threshold": "number, 0 to less than 1",
            "backend-proto": "one of http, https",
            "health-check-proto": "one of http, https",
            "env": "map of texts",
            "allowed-params": "list of texts",
            "name": "text",
            "liveness-check-interval-secs": "integer, 5 to 600",
            "pin": "true or false",
        }.items():
            self.assertEqual(self.rows[name].type, words)

    def test_defaultsAreAsInJson(self):
        for name, default in {"cmd": "", "ports": "1", "env": "{}", "load-balancing": '"oldest"', "name": ""}.items():
            self.assertEqual(self.rows[name].default, default)

    def test_itIsSaidWhatMayBeOverridden(self):
        self.assertTrue(self.rows["max-instances"].overridable)
        self.assertFalse(self.rows["cmd"].overridable)
        self.assertFalse(self.rows["ports"].overridable)
