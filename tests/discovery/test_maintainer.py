"""What C{/state/maintainer} shows."""

import json

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.discovery.examples import batch, collected, instance, service
from waiter.discovery.aggregator import Aggregator
from waiter.model.instance import Flag

SHOWN_INSTANCE = {
    "id": "s.7",
    "service-id": "s",
    "started-at": "1970-01-01T00:00:07.500Z",
    "healthy?": True,
    "host": "h7",
    "port": 10007,
    "extra-ports": [10008],
    "protocol": "http",
    "flags": ["expired", "has-connected"],
    "exit-code": None,
    "health-check-status": 200,
    "log-directory": "/logs",
    "message": None,
    "status": "Healthy",
}


class MaintainerTests(SynchronousTestCase):
    def setUp(self):
        self.aggregator = Aggregator(
            Clock(), router_id="r", wall=lambda: 100.0, describe=service, failing=lambda _: frozenset()
        )

    def shown(self):
        return json.loads(json.dumps(self.aggregator.view()))

    def test_when_nothing_is_known_it_says_so(self):
        shown = self.shown()
        self.assertEqual((shown["router-id"], shown["iteration"], shown["time"]), ("r", 0, None))
        self.assertEqual(shown["service-id->my-instance->slots"], {})

    def test_it_shows_routers_instances_and_slots_under_the_names_of_the_api(self):
        self.aggregator.router_news({"r": "http://10.0.0.1:9091"})
        healthy = instance(
            7,
            Flag.HAS_CONNECTED,
            Flag.EXPIRED,
            started_at=7.5,
            extra_ports=(10008,),
            health_check_status=200,
            log_directory="/logs",
            status="Healthy",
        )
        failed = [instance(number, exit_code=1) for number in (1, 2)]
        self.aggregator.scheduler_news(
            batch(
                collected(healthy=[healthy], unhealthy=[instance(99, healthy=False)], queued_reason="full"),
                collected("t", failed=failed, requested=1),
                at=50.0,
            )
        )
        self.aggregator.killed(instance(3))
        shown = self.shown()
        self.assertEqual(shown["time"], "1970-01-01T00:00:50.000Z")
        self.assertEqual(shown["routers"], {"r": "http://10.0.0.1:9091/"})
        self.assertEqual(
            shown["router-details"],
            {
                "r": {
                    "id": "r",
                    "name": "r",
                    "address": "10.0.0.1",
                    "port": 9091,
                    "custom-details": {"router-fqdn": "10.0.0.1", "router-ssl-port": None},
                }
            },
        )
        self.assertEqual(shown["all-available-service-ids"], ["s", "t"])
        self.assertEqual(shown["service-id->healthy-instances"], {"s": [SHOWN_INSTANCE], "t": []})
        self.assertEqual(shown["service-id->expired-instances"], {"s": [SHOWN_INSTANCE], "t": []})
        for key, expected in (("unhealthy", ["s.99"]), ("starting", ["s.99"]), ("failed", []), ("killed", ["s.3"])):
            self.assertEqual([one["id"] for one in shown[f"service-id->{key}-instances"]["s"]], expected)
        self.assertEqual(shown["service-id->instance-counts"]["t"], {"healthy": 0, "requested": 1, "scheduled": 0})
        self.assertEqual(shown["service-id->deployment-error"], {"t": "bad-startup-command"})
        self.assertEqual(shown["service-id->instability-issue"], {})
        self.assertEqual(shown["service-id->queued-reason"], {"s": "full"})
        self.assertEqual(shown["service-id->start-secs"], {"s": None, "t": None})
        self.assertEqual(shown["service-id->my-instance->slots"], {"s": {"s.7": 1}, "t": {}})
