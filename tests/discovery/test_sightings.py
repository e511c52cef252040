"""Sorting what was found into healthy, unhealthy and failed, from round to round."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from waiter.discovery.sightings import NOTHING_SEEN, CheckRules, sort_out
from waiter.model.instance import Flag, Instance
from waiter.model.service import ServiceInstances, ServiceRecord

RECORD = ServiceRecord(id="s", instances=1, task_count=1)
RULES = CheckRules(threshold=5, min_gap_secs=2.5)


def instance(name="s.1", **more) -> Instance:
    return Instance(**{"id": name, "service_id": "s", "healthy": False, "started_at": 1.0, **more})


class SightingsTests(SynchronousTestCase):
    def setUp(self):
        self.seen = NOTHING_SEEN
        self.now = 0.0
        self.killing = set()

    def round(self, *active: Instance, failed=(), later=5.0):
        """One round, C{later} seconds after the one before."""
        self.now += later
        collected, self.seen = sort_out(
            RECORD,
            ServiceInstances(active=active, failed=failed),
            self.seen,
            now=self.now,
            rules=RULES,
            being_killed=self.killing.__contains__,
        )
        return collected

    def test_instances_are_split_by_health_and_unknown_is_unhealthy(self):
        collected = self.round(instance("a", healthy=True), instance("b"), instance("c", healthy=None))
        self.assertEqual([one.id for one in collected.healthy], ["a"])
        self.assertEqual([one.id for one in collected.unhealthy], ["b", "c"])
        self.assertEqual(collected.record, RECORD)

    def test_every_list_is_in_instance_order(self):
        young, old, unknown = (
            instance("a", started_at=3.0),
            instance("b", started_at=2.0),
            instance("c", started_at=None),
        )
        for healthy in (True, False):
            active = [attrs.evolve(one, healthy=healthy) for one in (young, old, unknown)]
            collected = self.round(*active)
            self.assertEqual([one.id for one in collected.healthy + collected.unhealthy], ["c", "b", "a"])
        collected = self.round(failed=(young, old, unknown))
        self.assertEqual([one.id for one in collected.failed], ["c", "b", "a"])

    def test_the_status_is_added_only_where_there_is_none(self):
        collected = self.round(instance("a", healthy=True), instance("b"), instance("c", status="TASK_STAGING"))
        self.assertEqual(collected.healthy[0].status, "Healthy")
        self.assertEqual([one.status for one in collected.unhealthy], ["Unhealthy", "TASK_STAGING"])

    def test_when_an_instance_vanishes_after_five_failed_checks_it_has_failed(self):
        for _ in range(5):
            self.assertEqual(self.round(instance(flags=frozenset({Flag.HAS_CONNECTED}))).failed, ())
        for _ in range(3):
            [failed] = self.round().failed
            self.assertEqual(failed.id, "s.1")
            self.assertEqual(failed.flags, {Flag.NEVER_PASSED_HEALTH_CHECKS, Flag.HAS_CONNECTED})

    def test_when_an_instance_vanishes_earlier_it_is_forgotten(self):
        for _ in range(4):
            self.round(instance())
        self.assertEqual(self.round().failed, ())
        self.assertIs(self.seen, NOTHING_SEEN)

    def test_when_an_instance_becomes_healthy_its_failed_checks_are_forgotten(self):
        for _ in range(4):
            self.round(instance())
        self.round(instance(healthy=True))
        self.assertIs(self.seen, NOTHING_SEEN)
        for _ in range(4):
            self.round(instance())
        self.assertEqual(self.round().failed, ())

    def test_when_it_is_being_killed_its_disappearance_is_no_failure(self):
        for _ in range(6):
            self.round(instance())
        self.killing.add("s.1")
        self.assertEqual(self.round().failed, ())

    def test_when_rounds_follow_each_other_fast_they_count_as_one_check(self):
        self.round(instance())
        for _ in range(20):
            self.round(instance(), later=0.1)
        self.assertEqual(self.round(later=0.1).failed, ())

    def test_when_the_scheduler_reports_a_vanished_one_as_failed_both_are_joined(self):
        for _ in range(5):
            self.round(instance(flags=frozenset({Flag.HAS_CONNECTED}), health_check_status=404))
        said = instance(exit_code=9, flags=frozenset({Flag.EXPIRED}))
        [failed] = self.round(failed=(said,)).failed
        self.assertEqual(failed.exit_code, 9)
        self.assertEqual(failed.health_check_status, 404)
        self.assertEqual(failed.flags, {Flag.EXPIRED, Flag.HAS_CONNECTED, Flag.NEVER_PASSED_HEALTH_CHECKS})

    def test_when_a_vanished_one_comes_back_it_has_not_failed(self):
        for _ in range(5):
            self.round(instance())
        self.round()
        self.assertEqual(self.round(instance(healthy=True)).failed, ())
        self.assertEqual(self.round().failed, ())

    def test_while_an_instance_is_unhealthy_its_flags_add_up(self):
        self.round(instance(flags=frozenset({Flag.HAS_CONNECTED})))
        collected = self.round(instance(flags=frozenset({Flag.TIMEOUT_EXCEPTION})))
        self.assertEqual(collected.unhealthy[0].flags, {Flag.HAS_CONNECTED, Flag.TIMEOUT_EXCEPTION})
        self.assertEqual(self.round(instance()).unhealthy[0].flags, collected.unhealthy[0].flags)
        self.round(instance(healthy=True))
        self.assertEqual(self.round(instance()).unhealthy[0].flags, frozenset())

    def test_only_the_latest_ten_vanished_ones_are_remembered(self):
        for number in range(15):
            for _ in range(5):
                self.round(instance(f"s.{number:02}", started_at=float(number)))
        failed = self.round().failed
        self.assertEqual([one.id for one in failed], [f"s.{number:02}" for number in range(5, 15)])
