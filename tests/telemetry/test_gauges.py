"""What the metrics read of other parts."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from waiter.model.description import ServiceDescription
from waiter.model.instance import Instance
from waiter.model.load import ServiceLoad
from waiter.model.routing import InstanceCounts, RoutingState, ServiceState
from waiter.model.service import Service
from waiter.telemetry.gauges import service_gauges
from waiter.telemetry.metrics import ServiceGauges


def service(service_id):
    description = ServiceDescription(cmd="c", cpus=1, mem=1, run_as_user="u", version="v")
    return Service(id=service_id, core={}, description=description)


@attrs.define
class Reserver:
    load: ServiceLoad = attrs.field(factory=lambda: ServiceLoad(outstanding=3, waiting=1))
    slots_assigned: int = 5
    slots_in_use: int = 2
    slots_available: int = 3
    since: float | None = 10.0

    def oldest_wait_secs(self, now):
        return None if self.since is None else now - self.since

    def oldest_lease_secs(self, now):
        return None if self.since is None else now - self.since + 1


class Reservers(dict):
    find = dict.get

    def loads(self):
        return {service_id: reserver.load for service_id, reserver in self.items()}


class GaugesTests(SynchronousTestCase):
    def test_gaugesComeFromTheRoutingStateAndTheReserver(self):
        instances = tuple(Instance(id=f"s.{number}", service_id="s") for number in range(9))
        state = ServiceState(
            service=service("s"),
            healthy=instances[:1],
            unhealthy=instances[1:3],
            starting=instances[1:2],
            expired=instances[:1],
            failed=instances[3:6],
            killed=instances[6:],
            slots={"s.0": 2},
            counts=InstanceCounts(healthy=1, requested=4, scheduled=3),
        )
        gauges = service_gauges(RoutingState(services={"s": state}), Reservers(s=Reserver()), 12.0)
        self.assertEqual(
            gauges,
            {
                "s": ServiceGauges(
                    instances={
                        "healthy": 1,
                        "unhealthy": 2,
                        "starting": 1,
                        "expired": 1,
                        "failed": 3,
                        "killed": 3,
                        "my-instances": 1,
                        "requested": 4,
                        "scheduled": 3,
                    },
                    slots_assigned=5,
                    slots_in_use=2,
                    slots_available=3,
                    outstanding=3,
                    waiting=1,
                    oldest_wait_secs=2.0,
                    oldest_lease_secs=3.0,
                )
            },
        )

    def test_serviceThatIsOnlyAskedForIsThereToo(self):
        gauges = service_gauges(RoutingState(), Reservers(s=Reserver(since=None)), 12.0)
        self.assertEqual((gauges["s"].waiting, gauges["s"].instances, gauges["s"].oldest_wait_secs), (1, {}, 0.0))

    def test_serviceThatNobodyAsksForIsThereToo(self):
        state = ServiceState(service=service("s"), counts=InstanceCounts(requested=1))
        gauges = service_gauges(RoutingState(services={"s": state}), Reservers(), 12.0)
        self.assertEqual((gauges["s"].slots_assigned, gauges["s"].instances["requested"]), (0, 1))
