"""Tests for L{waiter.autoscaler.ledger}."""

from twisted.trial.unittest import SynchronousTestCase

from waiter.autoscaler.ledger import Ledger


class LedgerTests(SynchronousTestCase):
    def setUp(self):
        self.ledger = Ledger(settle_secs=10)
        self.observed = {}

    def observe(self, now=0.0, **observed):
        self.observed = observed
        self.ledger.observe(self.observed.get, now)

    def test_nothing_asked(self):
        """Without anything asked for, what is observed counts."""
        self.assertEqual(self.ledger.requested("a", 3), 3)
        self.assertIsNone(self.ledger.requested("a", None))
        self.assertTrue(self.ledger.is_settled("a"))

    def test_scaled(self):
        """The number asked for counts until it is observed."""
        self.ledger.scaled("a", 5, 0.0)
        self.observe(a=3)
        self.assertEqual(self.ledger.requested("a", 3), 5)
        self.assertFalse(self.ledger.is_settled("a"))
        self.observe(a=5)
        self.assertTrue(self.ledger.is_settled("a"))
        self.assertEqual(self.ledger.requested("a", 4), 4)

    def test_latest_counts(self):
        """Of two numbers the later one counts; observing the earlier one settles nothing."""
        self.ledger.scaled("a", 5, 0.0)
        self.ledger.scaled("a", 2, 0.0)
        self.observe(a=5)
        self.assertEqual(self.ledger.requested("a", 5), 2)

    def test_created(self):
        """A created service exists before it is observed; once it is, the observed number counts, whatever it is."""
        self.ledger.created("a", 0.0)
        self.observe()
        self.assertEqual(self.ledger.requested("a", None), 1)
        self.observe(a=7)
        self.assertTrue(self.ledger.is_settled("a"))

    def test_created_when_it_had_more(self):
        """If it turns out that it existed with more instances, those count, even before the next observation."""
        self.ledger.created("a", 0.0)
        self.assertEqual(self.ledger.requested("a", 7), 7)

    def test_deleted(self):
        """A deleted service is gone, although it is still observed."""
        self.ledger.deleted("a", 0.0)
        self.observe(a=1)
        self.assertIsNone(self.ledger.requested("a", 1))
        self.observe()
        self.assertTrue(self.ledger.is_settled("a"))

    def test_not_met_in_time(self):
        """What is not observed for long is not expected any more."""
        self.ledger.scaled("a", 5, 0.0)
        self.observe(10.0, a=3)
        self.assertFalse(self.ledger.is_settled("a"))
        self.observe(10.1, a=3)
        self.assertEqual(self.ledger.requested("a", 3), 3)
        self.assertTrue(self.ledger.is_settled("a"))

    def test_not_exactly_known(self):
        """If the number is known only roughly, the least counts until one of those possible is observed."""
        self.ledger.scaled("a", 3, 0.0, at_most=5)
        self.assertEqual(self.ledger.requested("a", 6), 3)
        self.assertEqual(self.ledger.requested("a", 4), 4)
        self.observe(a=5)
        self.assertTrue(self.ledger.is_settled("a"))

    def test_under_way(self):
        """A change may be under way for ever; when it is over the time counts as usual."""
        self.ledger.changing("a", 2)
        self.observe(1000.0, a=3)
        self.assertEqual(self.ledger.requested("a", 3), 2)
        self.ledger.scaled("a", 2, 1000.0)
        self.observe(1010.1, a=3)
        self.assertTrue(self.ledger.is_settled("a"))

    def test_failed(self):
        """After a change that failed, what was expected before it is expected again, or nothing."""
        before = self.ledger.changing("a", 5)
        self.ledger.restore("a", before, 1.0)
        self.assertTrue(self.ledger.is_settled("a"))
        self.ledger.scaled("a", 5, 1.0)
        before = self.ledger.changing("a", 7)
        self.assertEqual(self.ledger.requested("a", 3), 7)
        self.ledger.restore("a", before, 2.0)
        self.assertEqual(self.ledger.requested("a", 3), 5)
        self.observe(11.1, a=3)
        self.assertTrue(self.ledger.is_settled("a"))

    def test_failed_change_of_what_was_under_way(self):
        """What was under way before a change that failed does not count for ever either."""
        self.ledger.changing("a", 2)
        self.ledger.restore("a", self.ledger.changing("a", 7), 5.0)
        self.assertEqual(self.ledger.requested("a", 3), 2)
        self.observe(15.1, a=3)
        self.assertTrue(self.ledger.is_settled("a"))

    def test_services_are_apart(self):
        """What is asked for one service says nothing about another."""
        self.ledger.scaled("a", 5, 0.0)
        self.assertEqual(self.ledger.requested("b", 1), 1)
