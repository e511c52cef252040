"""What follows for a service from what was collected: expiry, grace, failures, and how long the judgement holds."""

from math import inf

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.discovery.examples import collected, description, instance
from waiter.discovery.assessment import Circumstances, assess, forgive
from waiter.model.instance import Flag
from waiter.model.routing import InstanceCounts

DESCRIPTION = description()


def ids(instances):
    return [one.id for one in instances]


def judge(found, *, now=0.0, described=DESCRIPTION, **known):
    return assess(found, described, Circumstances(**{key: frozenset(value) for key, value in known.items()}), now=now)


class ExpiryTests(SynchronousTestCase):
    """Which instances are to be replaced."""

    def test_a_flag_expires_and_healthy_ones_come_first(self):
        found = collected(
            healthy=[instance(1), instance(2, Flag.EXPIRED)], unhealthy=[instance(0, Flag.EXPIRED, healthy=False)]
        )
        self.assertEqual(ids(judge(found).expired), ["s.2", "s.0"])

    def test_failing_again_and_again_expires(self):
        found = collected(healthy=[instance(1), instance(2)])
        self.assertEqual(ids(judge(found, failing=["s.2", "s.9"]).expired), ["s.2"])

    def test_age_expires_once_it_is_over_the_limit(self):
        described = description(instance_expiry_mins=2)
        found = collected(healthy=[instance(100), instance(101), instance(7, started_at=None)])
        self.assertEqual(ids(judge(found, now=220.0, described=described).expired), [])
        self.assertEqual(ids(judge(found, now=220.5, described=described).expired), ["s.100"])

    def test_when_expiry_is_0_nothing_expires_by_age(self):
        described = description(instance_expiry_mins=0)
        judged = judge(collected(healthy=[instance(1)]), now=1e12, described=described)
        self.assertEqual(judged.expired, ())
        self.assertEqual(judged.holds_until, inf)


class StartingTests(SynchronousTestCase):
    """Which unhealthy instances still have time."""

    def test_within_the_grace_period_it_is_starting(self):
        found = collected(healthy=[instance(9)], unhealthy=[instance(1), instance(2)])
        self.assertEqual(ids(judge(found, now=31.0).starting), ["s.1", "s.2"])
        self.assertEqual(ids(judge(found, now=31.5).starting), ["s.2"])

    def test_when_its_start_is_not_known_it_is_starting(self):
        found = collected(unhealthy=[instance(1, started_at=None)])
        self.assertEqual(ids(judge(found, now=1e12).starting), ["s.1"])

    def test_when_grace_is_0_it_has_all_the_time(self):
        found = collected(unhealthy=[instance(1)])
        self.assertEqual(ids(judge(found, now=1e8, described=description(grace_period_secs=0)).starting), ["s.1"])


class FailureTests(SynchronousTestCase):
    """What failed instances tell."""

    failed = tuple(instance(number, exit_code=1) for number in range(15))

    def test_the_latest_ten_are_kept(self):
        self.assertEqual(ids(judge(collected(failed=self.failed)).failed), [f"s.{number}" for number in range(5, 15)])

    def test_killed_ones_are_not_shown_but_still_tell_something(self):
        judged = judge(collected(failed=self.failed[:2]), killed=["s.0"])
        self.assertEqual(ids(judged.failed), ["s.1"])
        self.assertEqual(judged.deployment_error.key, "bad-startup-command")

    def test_forgiven_ones_are_shown_and_tell_nothing(self):
        judged = judge(collected(failed=self.failed[:2]), forgiven=["s.0"])
        self.assertEqual(ids(judged.failed), ["s.0", "s.1"])
        self.assertIsNone(judged.deployment_error)

    def test_while_one_is_healthy_there_is_no_error(self):
        found = collected(healthy=[instance(99)], failed=self.failed, deployment_error="no space")
        self.assertIsNone(judge(found).deployment_error)

    def test_the_scheduler_has_its_say(self):
        error = judge(collected(deployment_error="no space")).deployment_error
        self.assertEqual((error.key, error.message), ("scheduler-error", "no space"))

    def test_when_memory_ran_out_it_is_an_instability_even_if_others_are_healthy(self):
        found = collected(healthy=[instance(99)], failed=[instance(1, Flag.MEMORY_LIMIT_EXCEEDED)])
        self.assertEqual(judge(found).instability_issue, "not-enough-memory")

    def test_the_config_of_the_scheduler_counts(self):
        same_host = [attrs.evolve(one, host="h") for one in self.failed[:2]]
        known = Circumstances(config={"min-hosts": 1})
        self.assertIsNone(judge(collected(failed=same_host)).deployment_error)
        self.assertIsNotNone(assess(collected(failed=same_host), DESCRIPTION, known, now=0.0).deployment_error)


class ForgivenessTests(SynchronousTestCase):
    """Which failures are history."""

    failed = (instance(1), instance(2))

    def test_when_an_instance_became_healthy_earlier_failures_are_history(self):
        found = collected(healthy=[instance(9)], failed=self.failed)
        self.assertEqual(forgive(found, frozenset()), {"s.1", "s.2"})

    def test_when_the_service_rests_its_failures_are_history(self):
        self.assertEqual(forgive(collected(failed=self.failed), frozenset()), {"s.1", "s.2"})

    def test_when_none_is_healthy_new_failures_are_not_history(self):
        for found in (
            collected(failed=self.failed, requested=1, scheduled=0),
            collected(failed=self.failed, requested=0, scheduled=1),
            collected(failed=self.failed, unhealthy=[instance(3)]),
        ):
            self.assertEqual(forgive(found, frozenset({"s.1", "s.0"})), {"s.1"})


class KilledTests(SynchronousTestCase):
    def test_killed_ones_are_in_no_list_whatever_the_scheduler_says(self):
        found = collected(
            healthy=[instance(1, Flag.EXPIRED), instance(2)], unhealthy=[instance(3, Flag.EXPIRED), instance(4)]
        )
        judged = judge(found, killed=["s.1", "s.3"])
        self.assertEqual(ids(judged.healthy), ["s.2"])
        self.assertEqual(ids(judged.unhealthy), ["s.4"])
        self.assertEqual(ids(judged.starting), ["s.4"])
        self.assertEqual(judged.expired, ())
        self.assertEqual(judged.counts, InstanceCounts(healthy=1, requested=4, scheduled=4))


class DurationTests(SynchronousTestCase):
    """A judgement holds until the moment it names, and not longer than it should."""

    @given(
        st.lists(st.none() | st.integers(0, 300).map(float), max_size=4),
        st.lists(st.none() | st.integers(0, 300).map(float), max_size=4),
        st.integers(0, 3),
        st.sampled_from([0, 30, 90]),
        st.integers(0, 300),
        st.floats(0, 400),
    )
    def test_until_then_nothing_changes_and_right_after_it_something_does(
        self, healthy, unhealthy, expiry_mins, grace_secs, now, later
    ):
        described = description(instance_expiry_mins=expiry_mins, grace_period_secs=grace_secs)
        found = collected(
            healthy=[instance(number, started_at=start) for number, start in enumerate(healthy)],
            unhealthy=[instance(100 + number, started_at=start) for number, start in enumerate(unhealthy)],
        )
        judged = judge(found, now=float(now), described=described)
        self.assertGreaterEqual(judged.holds_until, now)
        then = min(now + later, judged.holds_until)
        self.assertEqual(judge(found, now=then, described=described), judged)
        if judged.holds_until < inf:
            self.assertNotEqual(judge(found, now=judged.holds_until + 0.5, described=described), judged)
