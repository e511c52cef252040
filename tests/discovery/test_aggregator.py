"""The aggregator: what it makes of the news, when it publishes, and what it leaves alone."""

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.discovery.examples import batch, collected, instance, service
from waiter.discovery.aggregator import Aggregator
from waiter.discovery.distribution import distribute
from waiter.model.instance import Flag
from waiter.model.routing import InstanceCounts, RoutingState
from waiter.support.turns import SLICE_SECS

ALONE = {"r": "http://r/"}
PAIR = {"q": "http://q/", "r": "http://r/"}


def ids(instances):
    return [one.id for one in instances]


class AggregatorCase(SynchronousTestCase):
    """An aggregator that knows the services C{s} and C{t}."""

    def setUp(self):
        self.now = 1000.0
        self.clock = Clock()
        self.known = {name: service(name, concurrency_level=3) for name in ("s", "t")}
        self.failing = {}
        self.config = {}
        self.published = []
        self.aggregator = self.make()
        self.aggregator.states.subscribe(self.published.append)

    def make(self, router_id="r"):
        return Aggregator(
            self.clock,
            router_id=router_id,
            wall=lambda: self.now,
            describe=self.known.get,
            failing=lambda name: self.failing.get(name, frozenset()),
            deployment_error_config=lambda name: self.config,
        )

    def start(self, *services):
        self.aggregator.router_news(ALONE)
        self.hear(*services)

    def hear(self, *services, at=0.0):
        """A batch; gives what was published of it."""
        before = len(self.published)
        self.successResultOf(self.aggregator.scheduler_news(batch(*services, at=at)))
        return self.published[before:]

    @property
    def s(self):
        return self.aggregator.state.services["s"]


class FirstStateTests(AggregatorCase):
    """Nothing is published while something is missing."""

    def test_when_only_the_scheduler_was_heard_nothing_is_published(self):
        self.assertEqual(self.hear(collected(healthy=[instance(1)])), [])
        self.aggregator.router_news(ALONE)
        [state] = self.published
        self.assertEqual(state.services["s"].slots, {"s.1": 3})
        self.assertEqual(state.routers, ALONE)

    def test_when_only_the_routers_were_heard_nothing_is_published(self):
        self.aggregator.router_news(ALONE)
        self.aggregator.router_news(PAIR)
        self.assertEqual(self.published, [])
        self.assertEqual(self.aggregator.state, RoutingState())
        self.assertEqual(len(self.hear(collected())), 1)

    def test_when_there_is_no_service_that_is_known_and_published(self):
        self.start()
        [state] = self.published
        self.assertEqual(state.services, {})
        self.assertGreater(state.iteration, 0)


class TurnsTests(AggregatorCase):
    """A batch that takes longer than others should have to wait: each service in it takes half of a turn."""

    def setUp(self):
        super().setUp()
        self.known |= {name: service(name) for name in ("a", "b", "c", "d", "e")}
        self.aggregator._describe = self.describe

    def describe(self, name):
        self.clock.rightNow += SLICE_SECS * 0.6
        return self.known.get(name)

    def begin(self, *names, at=0.0, **lists):
        return self.aggregator.scheduler_news(batch(*(collected(name, **lists) for name in names), at=at))

    def publications(self):
        return ["".join(state.services) for state in self.published]

    def test_each_turn_publishes_what_is_known_by_then(self):
        self.aggregator.router_news(ALONE)
        begun = self.begin("a", "b", "c", "d", "e")
        self.assertEqual(self.publications(), ["ab"])
        self.assertNoResult(begun)
        self.clock.advance(0)
        self.successResultOf(begun)
        self.assertEqual(self.publications(), ["ab", "abcd", "abcde"])
        self.assertEqual([state.iteration for state in self.published], [1, 2, 3])

    def test_only_the_last_is_whole(self):
        self.aggregator.router_news(ALONE)
        self.begin("a", "b", "c", "d", "e")
        self.aggregator.router_news(PAIR)
        self.clock.advance(0)
        self.assertEqual([state.whole for state in self.published], [False, False, False, True])
        self.published.clear()
        self.begin("a", "b", healthy=[instance(1)])
        self.aggregator.killed(instance(1, service_id="a"))
        self.assertFalse(self.aggregator.state.whole)
        self.clock.advance(0)
        self.assertEqual(self.publications(), ["abcde", "ab"])
        self.assertEqual([state.whole for state in self.published], [False, True])

    def test_the_last_is_published_even_if_nothing_is_new_by_then(self):
        self.aggregator.router_news(ALONE)
        self.begin("a", "b")
        self.clock.advance(0)
        self.published.clear()
        self.begin("a", "b", healthy=[instance(1)])
        self.clock.advance(0)
        self.assertEqual([state.whole for state in self.published], [False, True])
        self.assertEqual(*(state.services for state in self.published))

    def test_after_one_that_was_cancelled_the_next_makes_it_whole(self):
        self.aggregator.router_news(ALONE)
        begun = self.begin("a", "b", "c", healthy=[instance(1)])
        begun.cancel()
        self.failureResultOf(begun, CancelledError)
        self.begin("a")
        self.assertEqual([state.whole for state in self.published], [False, True])

    def test_routers_that_come_while_nothing_is_new_make_no_part_of_it(self):
        self.aggregator._describe = self.known.get
        self.start(*(collected(name) for name in "abc"))
        self.aggregator._describe = self.describe
        self.begin("a", "b", "c")
        self.aggregator.router_news(PAIR)
        self.assertTrue(self.published[-1].whole)

    def test_what_has_not_had_its_turn_is_as_it_was(self):
        self.aggregator._describe = self.known.get
        self.start(*(collected(name) for name in "abcs"))
        self.aggregator._describe = self.describe
        self.begin("a", "b", "c", healthy=[instance(1)])
        state = self.published[-1]
        self.assertEqual({name: len(state.services[name].healthy) for name in "abcs"}, {"a": 1, "b": 1, "c": 0, "s": 0})
        self.clock.advance(0)
        self.assertEqual(set(self.published[-1].services), set("abc"))

    def test_where_nothing_is_new_a_turn_publishes_nothing(self):
        self.aggregator._describe = self.known.get
        self.start(*(collected(name) for name in "abcd"))
        self.published.clear()
        self.aggregator._describe = self.describe
        begun = self.begin("a", "b", "c", "d", at=7.0)
        self.clock.advance(0)
        self.successResultOf(begun)
        self.assertEqual((self.published, self.aggregator.state.time), ([], 7.0))

    def test_a_kill_between_two_turns_counts(self):
        self.aggregator.router_news(ALONE)
        begun = self.begin("a", "b", "c", healthy=[instance(1, service_id="a"), instance(2, service_id="a")])
        self.aggregator.killed(instance(1, service_id="a"))
        self.clock.advance(0)
        self.successResultOf(begun)
        self.assertEqual(ids(self.published[-1].services["a"].healthy), ["a.2"])

    def test_batches_are_taken_in_one_after_the_other(self):
        self.aggregator.router_news(ALONE)
        begun = [self.begin("a", "b", "c", at=1.0), self.begin("a", "d", at=2.0)]
        self.clock.advance(0)
        for each in begun:
            self.successResultOf(each)
        self.assertEqual(self.publications(), ["ab", "abc", "abcd", "ad"])
        self.assertEqual([state.time for state in self.published], [1.0, 1.0, 2.0, 2.0])

    def test_when_it_is_cancelled_the_rest_is_left_out_and_the_next_one_has_its_turn(self):
        self.aggregator.router_news(ALONE)
        first = self.begin("a", "b", "c")
        waiting = self.begin("d")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.successResultOf(waiting)
        self.assertEqual(self.publications(), ["ab", "d"])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class MergeTests(AggregatorCase):
    """What a state says of a service."""

    def test_it_has_what_was_collected(self):
        healthy, unhealthy, failed = instance(990), instance(980, healthy=False), instance(1, exit_code=2)
        self.start(
            collected(
                healthy=[healthy],
                unhealthy=[unhealthy],
                failed=[failed],
                requested=4,
                scheduled=3,
                queued_reason="full",
            )
        )
        self.assertIs(self.s.service, self.known["s"])
        self.assertEqual(self.s.healthy, (healthy,))
        self.assertEqual(self.s.unhealthy, (unhealthy,))
        self.assertEqual(self.s.starting, (unhealthy,))
        self.assertEqual(self.s.failed, (failed,))
        self.assertEqual(self.s.counts, InstanceCounts(healthy=1, requested=4, scheduled=3))
        self.assertEqual(self.s.queued_reason, "full")
        self.assertEqual(self.s.status, "Running")

    def test_a_service_is_healthy_when_one_of_its_instances_is(self):
        self.start(collected(healthy=[instance(1)]), collected("t", unhealthy=[instance(2, healthy=False)]))
        self.assertEqual([self.aggregator.is_healthy(name) for name in "stu"], [True, False, False])

    def test_the_state_carries_the_time_of_the_collection(self):
        self.start()
        self.hear(at=77.0)
        self.assertEqual(self.aggregator.state.time, 77.0)

    def test_when_a_service_is_not_in_the_batch_it_is_gone(self):
        self.start(collected(healthy=[instance(1)]), collected("t"))
        [state] = self.hear(collected("t"))
        self.assertEqual(list(state.services), ["t"])

    def test_when_a_service_comes_back_nothing_is_left_of_its_past(self):
        self.start(collected(healthy=[instance(1)]))
        self.aggregator.killed(instance(1))
        self.hear()
        self.hear(collected(healthy=[instance(1)]))
        self.assertEqual(ids(self.s.healthy), ["s.1"])
        self.assertEqual(self.s.killed, ())

    def test_when_a_service_is_not_described_it_is_left_out_and_logged_once(self):
        warnings = []
        globalLogPublisher.addObserver(warnings.append)
        self.addCleanup(globalLogPublisher.removeObserver, warnings.append)
        self.start(collected("mystery"), collected("t"))
        self.hear(collected("mystery"), collected("t"))
        self.assertEqual(list(self.aggregator.state.services), ["t"])
        told = [event for event in warnings if event["log_level"] is LogLevel.warn]
        self.assertEqual([event["service_id"] for event in told], ["mystery"])
        self.hear()
        self.hear(collected("mystery"))
        self.assertEqual(warnings[-1]["service_id"], "mystery")
        self.assertEqual(len([event for event in warnings if event["log_level"] is LogLevel.warn]), 2)

    def test_when_a_service_is_described_later_it_appears(self):
        self.known.pop("t")
        self.start(collected("t"))
        self.known["t"] = service("t")
        [state] = self.hear(collected("t"))
        self.assertIn("t", state.services)

    def test_when_a_service_is_not_described_any_more_it_is_gone(self):
        self.start(collected(healthy=[instance(1)]), collected("t"))
        self.known.pop("s")
        [state] = self.hear(collected(healthy=[instance(1)]), collected("t"))
        self.assertEqual(list(state.services), ["t"])

    def test_when_a_description_cannot_be_had_the_services_before_it_are_published_with_the_next_batch(self):
        self.start()
        calls = self.known
        self.aggregator._describe = lambda name: calls[name]
        heard = self.aggregator.scheduler_news(batch(collected("s"), collected("mystery")))
        self.failureResultOf(heard, KeyError)
        self.known["mystery"] = service("mystery")
        [state] = self.hear(collected("s"), collected("mystery"))
        self.assertEqual(set(state.services), {"s", "mystery"})

    def test_when_instances_fail_the_error_is_found_and_goes_when_one_is_healthy(self):
        failed = [instance(number, exit_code=127, host="h") for number in (1, 2)]
        self.config = {"min-hosts": 1}
        self.start(collected(failed=failed, requested=1, scheduled=0))
        self.assertEqual(self.s.deployment_error.key, "bad-startup-command")
        self.assertIn("exit code 127", self.s.deployment_error.explanation)
        self.assertEqual(self.s.status, "Failing")
        self.hear(collected(failed=failed, healthy=[instance(3)]))
        self.assertEqual(self.s.status, "Running")

    def test_when_the_scheduler_says_that_one_host_is_enough_old_failures_are_judged_anew(self):
        found = collected(failed=[instance(number, exit_code=1, host="h") for number in (1, 2)], requested=1)
        self.start(found)
        self.assertIsNone(self.s.deployment_error)
        self.config = {"min-hosts": 1}
        [state] = self.hear(found)
        self.assertIsNotNone(state.services["s"].deployment_error)

    def test_when_a_service_rests_after_failures_the_next_request_gets_a_new_try(self):
        failed = [instance(number, exit_code=127) for number in (1, 2)]
        self.start(collected(failed=failed, requested=1))
        self.assertEqual(self.s.status, "Failing")
        self.hear(collected(failed=failed))
        self.assertEqual(self.s.status, "Inactive")
        self.hear(collected(failed=failed, requested=1))
        self.assertEqual(self.s.status, "Starting")
        self.hear(collected(failed=[*failed, instance(3, exit_code=127)], requested=1))
        self.assertEqual(self.s.status, "Starting")
        self.hear(collected(failed=[*failed, *(instance(number, exit_code=127) for number in (3, 4))], requested=1))
        self.assertEqual(self.s.status, "Failing")

    def test_when_instances_fail_their_requests_they_expire(self):
        self.start(collected(healthy=[instance(1), instance(2)]))
        self.failing["s"] = frozenset({"s.2"})
        [state] = self.hear(collected(healthy=[instance(1), instance(2)]))
        self.assertEqual(ids(state.services["s"].expired), ["s.2"])

    def test_when_time_passes_instances_expire_and_grace_ends_without_other_news(self):
        self.known["s"] = service("s", instance_expiry_mins=1, grace_period_secs=10)
        self.now = 100.0
        found = collected(healthy=[instance(50)], unhealthy=[instance(95)])
        self.start(found)
        for later, starting, expired in ((105, ["s.95"], []), (106, [], []), (110, [], []), (111, [], ["s.50"])):
            self.now = float(later)
            self.hear(found)
            self.assertEqual((ids(self.s.starting), ids(self.s.expired)), (starting, expired))

    def test_when_the_clock_jumps_back_ages_are_judged_anew(self):
        self.known["s"] = service("s", instance_expiry_mins=1)
        found = collected(healthy=[instance(50)])
        self.now = 1e9
        self.start(found)
        self.assertEqual(len(self.s.expired), 1)
        self.now = 60.0
        [state] = self.hear(found)
        self.assertEqual(state.services["s"].expired, ())

    def test_when_the_description_changes_the_slots_and_the_state_follow(self):
        found = collected(healthy=[instance(1)])
        self.start(found)
        self.known["s"] = service("s", concurrency_level=5)
        [state] = self.hear(found)
        self.assertIs(state.services["s"].service, self.known["s"])
        self.assertEqual(state.services["s"].slots, {"s.1": 5})

    def test_when_only_words_of_the_description_change_the_new_one_is_passed_on(self):
        self.start(collected())
        self.known["s"] = service("s", concurrency_level=3, max_queue_length=5)
        [state] = self.hear(collected())
        self.assertIs(state.services["s"].service, self.known["s"])

    def test_states_cannot_be_changed(self):
        self.start(collected(healthy=[instance(1)]))
        for mapping in (self.aggregator.state.services, self.aggregator.state.routers, self.s.slots):
            with self.assertRaises(TypeError):
                mapping["x"] = 1


class PublishingTests(AggregatorCase):
    """When subscribers hear."""

    def test_when_a_batch_brings_nothing_new_nothing_is_published_but_the_time(self):
        found = [collected(healthy=[instance(1)], failed=[instance(9)]), collected("t")]
        self.start(*found)
        before = self.aggregator.state
        self.assertEqual(self.hear(*found, at=5.0), [])
        self.assertEqual(self.aggregator.state.time, 5.0)
        self.assertGreater(self.aggregator.state.iteration, before.iteration)

    def test_each_relevant_change_is_published(self):
        base = collected(healthy=[instance(990)], unhealthy=[instance(995)], failed=[instance(9)], requested=2)
        self.start(base)
        for change in (
            {"healthy": (instance(991),)},
            {"healthy": (instance(990, Flag.EXPIRED),)},
            {"unhealthy": ()},
            {"unhealthy": (instance(1),)},
            {"failed": ()},
            {"failed": (instance(9, Flag.MEMORY_LIMIT_EXCEEDED),)},
            {"record": attrs.evolve(base.record, instances=3)},
            {"record": attrs.evolve(base.record, task_count=3)},
            {"record": attrs.evolve(base.record, queued_reason="full")},
            {"healthy": (), "record": attrs.evolve(base.record, deployment_error="no space")},
        ):
            self.assertEqual(len(self.hear(attrs.evolve(base, **change))), 1, change)
            self.assertEqual(len(self.hear(base)), 1, change)

    def test_when_a_change_has_no_effect_nothing_is_published(self):
        self.start(collected(healthy=[instance(1)]))
        before = self.s
        self.failing["s"] = frozenset({"s.gone"})
        self.assertEqual(self.hear(collected(healthy=[instance(1)])), [])
        self.assertIs(self.s, before)

    def test_what_has_not_changed_is_the_same_object(self):
        self.start(collected(healthy=[instance(1)]), collected("t"))
        before = self.aggregator.state
        [state] = self.hear(collected(healthy=[instance(1)]), collected("t", requested=1))
        self.assertIs(state.services["s"], before.services["s"])
        self.assertIsNot(state.services["t"], before.services["t"])

    def test_when_nothing_has_changed_all_services_are_the_same_object(self):
        self.start(collected(healthy=[instance(1)]), collected("t"))
        before = self.aggregator.state
        self.hear(collected(healthy=[instance(1)]), collected("t"))
        self.assertIs(self.aggregator.state.services, before.services)

    def test_a_new_list_of_routers_is_published_and_the_same_one_is_not(self):
        self.start(collected(healthy=[instance(1)]))
        self.aggregator.router_news(dict(ALONE))
        self.assertEqual(len(self.published), 1)
        self.aggregator.router_news(PAIR)
        self.assertEqual(len(self.published), 2)
        self.assertEqual(self.published[-1].routers, PAIR)

    def test_when_only_a_url_changes_the_slots_stay(self):
        self.start(collected(healthy=[instance(1)]))
        before = self.s
        self.aggregator.router_news({"r": "http://elsewhere/"})
        self.assertEqual(self.published[-1].routers, {"r": "http://elsewhere/"})
        self.assertIs(self.s, before)

    def test_iterations_grow(self):
        self.start(collected(healthy=[instance(1)]))
        iterations = [self.aggregator.state.iteration]
        for news in (
            lambda: self.hear(collected(healthy=[instance(1)])),
            lambda: self.hear(collected()),
            lambda: self.aggregator.router_news(PAIR),
            lambda: self.aggregator.killed(instance(1)),
        ):
            news()
            iterations.append(self.aggregator.state.iteration)
        self.assertEqual(iterations, sorted(set(iterations)))

    def test_when_news_come_during_a_publication_nobody_hears_the_older_state_last(self):
        def react(state):
            if "t" not in state.services:
                self.aggregator.scheduler_news(batch(collected("s"), collected("t")))

        late = []
        self.aggregator.states.subscribe(react)
        self.aggregator.states.subscribe(late.append)
        self.start(collected("s"))
        self.assertEqual([list(state.services) for state in late], [["s"], ["s", "t"]])
        self.assertIs(late[-1], self.aggregator.state)

    def test_when_a_subscriber_fails_the_others_hear_and_the_next_state_comes(self):
        heard = []
        self.aggregator.states.subscribe(lambda state: 1 / 0)
        self.aggregator.states.subscribe(heard.append)
        self.start()
        self.hear(collected())
        self.assertEqual(len(heard), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


class SlotTests(AggregatorCase):
    """This router's slots."""

    found = tuple(instance(number) for number in range(1, 6))

    def test_several_routers_compute_parts_that_make_up_the_whole(self):
        shares = {}
        for router_id in PAIR:
            aggregator = self.make(router_id)
            aggregator.router_news(PAIR)
            aggregator.scheduler_news(batch(collected(healthy=self.found)))
            shares[router_id] = aggregator.state.services["s"].slots
        self.assertEqual(shares, distribute(PAIR, self.found, 3, "balanced"))
        self.assertEqual(sum(sum(share.values()) for share in shares.values()), 15)

    def test_the_scheme_of_the_service_counts(self):
        self.known["s"] = service("s", distribution_scheme="simple")
        self.aggregator.router_news(PAIR)
        self.hear(collected(healthy=self.found))
        self.assertEqual(self.s.slots, distribute(PAIR, self.found, 1, "simple")["r"])

    def test_when_a_router_joins_and_leaves_the_slots_follow(self):
        self.start(collected(healthy=self.found))
        self.assertEqual(sum(self.s.slots.values()), 15)
        self.aggregator.router_news(PAIR)
        self.assertEqual(self.s.slots, distribute(PAIR, self.found, 3, "balanced")["r"])
        self.aggregator.router_news(ALONE)
        self.assertEqual(sum(self.s.slots.values()), 15)

    def test_when_this_router_is_not_listed_it_has_no_slots(self):
        self.aggregator.router_news({"q": "http://q/"})
        self.hear(collected(healthy=self.found))
        self.assertEqual(self.s.slots, {})
        self.assertEqual(len(self.s.healthy), 5)

    def test_when_no_instance_is_healthy_the_service_is_there_without_slots(self):
        self.start(collected())
        self.assertEqual(self.s.slots, {})

    def test_slots_are_computed_again_only_where_healthy_instances_changed(self):
        self.start(collected(healthy=self.found[:2]), collected("t", healthy=[instance(1, service_id="t")]))
        before = {name: state.slots for name, state in self.aggregator.state.services.items()}
        self.hear(
            collected(healthy=self.found[:2], requested=9, unhealthy=[instance(7)]),
            collected("t", healthy=[instance(2, service_id="t")]),
        )
        after = {name: state.slots for name, state in self.aggregator.state.services.items()}
        self.assertIs(after["s"], before["s"])
        self.assertEqual(after["t"], {"t.2": 3})


class KillTests(AggregatorCase):
    """Instances that Waiter has killed."""

    def test_it_is_shown_as_killed_and_offered_no_more_and_nothing_is_published(self):
        self.start(collected(healthy=[instance(1), instance(2)]))
        self.aggregator.killed(instance(1))
        self.assertEqual(len(self.published), 1)
        self.assertEqual(ids(self.s.killed), ["s.1"])
        self.assertEqual(ids(self.s.healthy), ["s.2"])
        self.assertEqual(self.s.slots, {"s.2": 3})

    def test_the_next_batch_publishes_it_even_if_the_scheduler_lags(self):
        found = collected(healthy=[instance(1), instance(2)])
        self.start(found)
        self.aggregator.killed(instance(1))
        [state] = self.hear(found)
        self.assertEqual(state.services["s"].slots, {"s.2": 3})
        self.assertEqual(self.hear(found), [])
        self.assertEqual(self.s.slots, {"s.2": 3})

    def test_it_is_not_listed_as_failed(self):
        self.start(collected(failed=[instance(1), instance(2)]))
        self.aggregator.killed(instance(1))
        self.assertEqual(ids(self.s.failed), ["s.2"])
        self.hear(collected(failed=[instance(1), instance(2), instance(3)]))
        self.assertEqual(ids(self.s.failed), ["s.2", "s.3"])

    def test_it_is_known_what_is_being_killed_and_what_was(self):
        self.start(collected(healthy=[instance(1), instance(2)]))
        first, second = self.aggregator.stopping(instance(1)), self.aggregator.stopping(instance(1))
        self.assertTrue(self.aggregator.is_being_killed("s.1"))
        self.assertFalse(self.aggregator.is_being_killed("s.2"))
        self.assertFalse(self.aggregator.is_being_killed("elsewhere.1"))
        first()
        self.assertTrue(self.aggregator.is_being_killed("s.1"))
        self.aggregator.killed(instance(1))
        second()
        self.assertTrue(self.aggregator.is_being_killed("s.1"))
        self.aggregator.stopping(instance(2))()
        self.assertFalse(self.aggregator.is_being_killed("s.2"))

    def test_the_latest_twelve_are_shown_once_each(self):
        self.start(collected())
        for number in (*range(15), 5, 14):
            self.aggregator.killed(instance(number, status="again"))
        self.assertEqual(ids(self.s.killed), [f"s.{number}" for number in (3, 4, *range(6, 14), 5, 14)])

    def test_when_more_are_killed_than_are_shown_none_comes_back_while_the_scheduler_reports_it(self):
        found = collected(healthy=[instance(number) for number in range(20)])
        self.start(found)
        for each in found.healthy[:19]:
            self.aggregator.killed(each)
        for requested in (20, 10, 1):
            self.hear(collected(healthy=found.healthy, requested=requested))
            self.assertEqual(ids(self.s.healthy), ["s.19"])

    def test_when_the_service_is_not_known_nothing_happens(self):
        self.aggregator.killed(instance(1))
        self.start()
        self.aggregator.killed(instance(1))
        self.assertEqual(self.aggregator.state.services, {})

    def test_when_the_last_healthy_one_is_killed_old_failures_are_no_error(self):
        failed = [instance(number, exit_code=1) for number in (1, 2)]
        found = collected(healthy=[instance(3)], failed=failed)
        self.start(found)
        self.aggregator.killed(instance(3))
        self.hear(found)
        self.assertEqual(self.s.healthy, ())
        self.assertIsNone(self.s.deployment_error)


class StartTimeTests(AggregatorCase):
    """How long instances take from start to healthy."""

    def test_it_is_unknown_until_an_instance_became_healthy_while_watched(self):
        self.start(collected(healthy=[instance(900)], unhealthy=[instance(999)]))
        self.now = 1010.0
        self.hear(collected(healthy=[instance(900), instance(999)]))
        self.assertIsNone(self.s.start_secs)
        self.hear(collected(healthy=[instance(1001)]))
        self.assertEqual(self.s.start_secs, 9.0)

    def test_it_is_smoothed(self):
        self.start(collected())
        for took, smooth in ((10, 10.0), (20, 13.0), (3, 10.0)):
            self.now += 100
            self.hear(collected(healthy=[instance(self.now - took)]))
            self.assertAlmostEqual(self.s.start_secs, smooth)

    def test_it_is_measured_once_for_each_instance(self):
        self.start(collected())
        self.now = 1010.0
        for found in ({"healthy": [instance(1005)]}, {"unhealthy": [instance(1005)]}, {"healthy": [instance(1005)]}):
            self.hear(collected(**found))
            self.now += 100
        self.assertEqual(self.s.start_secs, 5.0)

    def test_when_the_start_is_unknown_or_in_the_future_it_is_not_measured(self):
        self.start(collected())
        self.hear(collected(healthy=[instance(1, started_at=None), instance(2000)]))
        self.assertIsNone(self.s.start_secs)

    def test_it_stays_while_the_service_rests(self):
        self.start(collected())
        self.now = 1010.0
        self.hear(collected(healthy=[instance(1008)]))
        self.hear(collected())
        self.assertEqual(self.s.start_secs, 2.0)


class LogTests(AggregatorCase):
    """Each instance's way is logged."""

    def setUp(self):
        super().setUp()
        self.events = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def told(self):
        told = [(event["instance_id"], event["event"]) for event in self.events if "instance_id" in event]
        self.events.clear()
        return told

    def test_it_appears_becomes_healthy_expires_and_is_removed(self):
        self.start(collected(unhealthy=[instance(1)]))
        self.assertEqual(self.told(), [("s.1", "unhealthy")])
        self.hear(collected(healthy=[instance(1)]))
        self.assertEqual(self.told(), [("s.1", "healthy")])
        self.hear(collected(healthy=[instance(1, Flag.EXPIRED)]))
        self.assertEqual(self.told(), [("s.1", "expire")])
        self.hear(collected(healthy=[instance(1, Flag.EXPIRED)]))
        self.assertEqual(self.told(), [])
        self.hear(collected())
        self.assertEqual(self.told(), [("s.1", "remove")])

    def test_one_that_has_time_left_starts_and_one_that_was_healthy_is_unhealthy(self):
        self.start(collected(unhealthy=[instance(999)]))
        self.assertEqual(self.told(), [("s.999", "starting")])
        self.hear(collected(healthy=[instance(999)]))
        self.told()
        self.hear(collected(unhealthy=[instance(999)]))
        self.assertEqual(self.told(), [("s.999", "unhealthy")])

    def test_when_the_service_goes_its_instances_are_removed(self):
        self.start(collected(healthy=[instance(1)], unhealthy=[instance(2)]))
        self.told()
        self.hear()
        self.assertEqual(self.told(), [("s.1", "remove"), ("s.2", "remove")])


class AggregatorMachine(RuleBasedStateMachine):
    """News of all kinds in any order; the view always follows from the latest of each kind."""

    names = ("s", "t", "mystery")
    numbers = st.sets(st.integers(1, 6))

    def __init__(self):
        super().__init__()
        self.now = 100.0
        self.known = {name: service(name, concurrency_level=2, instance_expiry_mins=1) for name in ("s", "t")}
        self.failing = {name: frozenset() for name in self.names}
        self.published = []
        self.aggregator = Aggregator(
            Clock(), router_id="r", wall=lambda: self.now, describe=self.known.get, failing=self.failing.__getitem__
        )
        self.aggregator.states.subscribe(self.published.append)
        self.services = None
        self.routers = None
        self.killed = {}
        self.killed_since_batch = False

    @rule(found=st.dictionaries(st.sampled_from(names), st.tuples(numbers, numbers, numbers), max_size=3))
    def batch(self, found):
        self.services = {}
        for name, (healthy, unhealthy, failed) in found.items():
            lists = [
                [instance(number, service_id=name) for number in sorted(numbers)]
                for numbers in (healthy, unhealthy - healthy, failed - unhealthy - healthy)
            ]
            self.services[name] = collected(name, healthy=lists[0], unhealthy=lists[1], failed=lists[2])
        self.killed = {name: killed for name, killed in self.killed.items() if name in self.services}
        self.killed_since_batch = False
        self.aggregator.scheduler_news(batch(*self.services.values(), at=self.now))

    @precondition(lambda self: self.services is not None)
    @rule()
    def same_batch(self):
        published, services = len(self.published), self.aggregator.state.services
        quiet = not self.killed_since_batch and self.routers is not None
        self.killed_since_batch = False
        self.aggregator.scheduler_news(batch(*self.services.values(), at=self.now))
        if quiet and self.aggregator.state.services == services:
            assert len(self.published) == published

    @rule(routers=st.sets(st.sampled_from("qrp")))
    def routers_change(self, routers):
        self.routers = {router: f"http://{router}/" for router in routers}
        self.aggregator.router_news(self.routers)

    @precondition(lambda self: self.services)
    @rule(name=st.sampled_from(("s", "t")), number=st.integers(1, 6))
    def kill(self, name, number):
        published = len(self.published)
        self.aggregator.killed(instance(number, service_id=name))
        assert len(self.published) == published
        if name in self.services:
            self.killed.setdefault(name, set()).add(f"{name}.{number}")
            self.killed_since_batch = True

    @rule(name=st.sampled_from(names), numbers=numbers)
    def failing_changes(self, name, numbers):
        self.failing[name] = frozenset(f"{name}.{number}" for number in numbers)

    @rule(secs=st.sampled_from([0.5, 30.0, -50.0]))
    def time_passes(self, secs):
        self.now += secs

    @invariant()
    def it_publishes_when_it_knows_everything(self):
        assert bool(self.published) == (self.services is not None and self.routers is not None)

    @invariant()
    def iterations_grow_from_publication_to_publication(self):
        iterations = [state.iteration for state in self.published]
        assert iterations == sorted(set(iterations))

    @invariant()
    def subscribers_have_the_latest_but_for_kills_and_quiet_batches(self):
        if self.published and not self.killed_since_batch:
            assert self.published[-1].services == self.aggregator.state.services
            assert self.published[-1].routers == self.aggregator.state.routers

    @invariant()
    def the_view_follows_from_the_news(self):
        if self.services is None:
            assert self.aggregator.state.services == {}
            return
        state = self.aggregator.state
        assert set(state.services) == self.services.keys() & self.known.keys()
        for name, view in state.services.items():
            found, killed = self.services[name], self.killed.get(name, set())
            assert [*view.healthy] == [one for one in found.healthy if one.id not in killed]
            assert [*view.unhealthy] == [one for one in found.unhealthy if one.id not in killed]
            assert [*view.failed] == [one for one in found.failed if one.id not in killed]
            assert {*ids(view.killed)} == killed
            shares = distribute(self.routers or {}, view.healthy, 2, "balanced")
            assert view.slots == shares.get("r", {})
            assert {*view.starting} <= {*view.unhealthy}
            assert {*view.expired} <= {*view.healthy, *view.unhealthy}


class AggregatorStateTests(SynchronousTestCase):
    def test_whatever_happens_the_view_follows_from_the_latest_news(self):
        run_state_machine_as_test(
            AggregatorMachine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
        )
