"""C{/metrics}."""

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api


class MetricsTests(SynchronousTestCase):
    def setUp(self):
        self.api = Api()
        for service_id in ("a", "b"):
            self.api.parts.metrics.service(service_id).total = 3

    def test_numbersAreForPrometheus(self):
        answer = self.api.ask(self, "/metrics")
        self.assertEqual(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8")
        families = {family.name: family for family in text_string_to_metric_families(answer.content.decode())}
        self.assertEqual(
            [(sample.labels, sample.value) for sample in families["waiter_service_requests"].samples],
            [({"service_id": "a"}, 3.0), ({"service_id": "b"}, 3.0)],
        )

    def test_browserSeesTextToo(self):
        answer = self.api.ask(self, "/metrics", headers={"accept": "text/html,*/*"})
        self.assertEqual(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8")

    def test_whoAcceptsJsonGetsJson(self):
        answer = self.api.ask(self, "/metrics", headers={"accept": "application/json"})
        self.assertEqual(answer.header("content-type"), "application/json")
        self.assertEqual(answer.json["services"]["a"]["counters"]["request-counts"]["total"], 3)

    def test_parametersChooseAmongTheNumbers(self):
        def keys(query):
            tree = self.api.json(self, f"/metrics?{query}", headers={"accept": "application/json"})
            return sorted(tree.get("services", {})), "waiter" in tree

        self.assertEqual(keys(""), (["a", "b"], True))
        self.assertEqual(keys("service-id=b"), (["b"], True))
        self.assertEqual(keys("exclude-services=true"), ([], True))
        self.assertEqual(keys("name=request-counts"), (["a", "b"], False))
        self.assertEqual(keys("name=services.a.timers"), (["a"], False))
