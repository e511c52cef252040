"""Tests for L{waiter.autoscaler.ledger}."""

from twisted.trial.unittest import SynchronousTestCase

from waiter.autoscaler.ledger import Ledger


class LedgerTests(SynchronousTestCase):
    def setUp(self):
        self.ledger = Ledger(settle_secs=10)

    def observe(self, now=0.0, **observed):
        self.ledger.observe(observed.get, now)

    def change(self, service_id, requested, now=0.0):
        """A change that is over at once."""
        self.ledger.end(self.ledger.begin(service_id, requested), requested, now)

    def test_nothing_asked(self):
        """Without anything asked for, what is observed counts."""
        self.assertEqual(self.ledger.requested("a", 3), 3)
        self.assertIsNone(self.ledger.requested("a", None))
        self.assertTrue(self.ledger.is_settled("a"))

    def test_changed(self):
        """The number asked for counts until it is observed, and then what is observed."""
        self.change("a", 5)
        self.observe(a=3)
        self.assertEqual(self.ledger.requested("a", 3), 5)
        self.assertFalse(self.ledger.is_settled("a"))
        self.observe(a=5)
        self.assertTrue(self.ledger.is_settled("a"))
        self.assertEqual(self.ledger.requested("a", 4), 4)

    def test_latest_counts(self):
        """Of two numbers the later one counts; observing the earlier one settles nothing."""
        self.change("a", 5)
        self.change("a", 2)
        self.observe(a=5)
        self.assertEqual(self.ledger.requested("a", 5), 2)

    def test_not_observed_in_time(self):
        """What is not observed for long is not expected any more."""
        self.change("a", 5)
        self.observe(10.0, a=3)
        self.assertFalse(self.ledger.is_settled("a"))
        self.observe(10.1, a=3)
        self.assertEqual(self.ledger.requested("a", 3), 3)
        self.assertTrue(self.ledger.is_settled("a"))

    def test_under_way(self):
        """A change may be under way for ever; when it is over the time counts as usual."""
        change = self.ledger.begin("a", 2)
        self.observe(1000.0, a=3)
        self.assertEqual(self.ledger.requested("a", 3), 2)
        self.ledger.end(change, 2, 1000.0)
        self.observe(1010.1, a=3)
        self.assertTrue(self.ledger.is_settled("a"))

    def test_observed_while_under_way(self):
        """A change that is observed before it is over settles, and its end changes nothing."""
        change = self.ledger.begin("a", 2)
        self.observe(a=2)
        self.assertTrue(self.ledger.is_settled("a"))
        self.ledger.end(change, 2, 5.0)
        self.assertEqual(self.ledger.requested("a", 7), 7)

    def test_other_result(self):
        """What came of a change counts, if that is something else."""
        change = self.ledger.begin("a", 2)
        self.ledger.end(change, 4, 0.0)
        self.assertEqual(self.ledger.requested("a", 5), 4)

    def test_failed(self):
        """After a change that failed, what was expected before it is expected again, or nothing."""
        self.ledger.end(self.ledger.begin("a", 5), None, 1.0)
        self.assertTrue(self.ledger.is_settled("a"))
        self.change("a", 5, 1.0)
        change = self.ledger.begin("a", 7)
        self.assertEqual(self.ledger.requested("a", 3), 7)
        self.ledger.end(change, None, 2.0)
        self.assertEqual(self.ledger.requested("a", 3), 5)
        self.observe(11.1, a=3)
        self.assertTrue(self.ledger.is_settled("a"))

    def test_failed_after_another(self):
        """What was under way before a change that failed does not count for ever."""
        self.ledger.begin("a", 2)
        self.ledger.end(self.ledger.begin("a", 7), None, 5.0)
        self.assertEqual(self.ledger.requested("a", 3), 2)
        self.observe(15.1, a=3)
        self.assertTrue(self.ledger.is_settled("a"))

    def test_overtaken(self):
        """The end of a change after which another began changes nothing."""
        first = self.ledger.begin("a", 2)
        second = self.ledger.begin("a", 7)
        self.ledger.end(first, 2, 0.0)
        self.assertEqual(self.ledger.requested("a", 3), 7)
        self.ledger.end(second, 7, 0.0)
        self.assertEqual(self.ledger.requested("a", 3), 7)

    def test_created(self):
        """A created service exists before it is observed; once it is, the observed number counts, whatever it is."""
        self.ledger.created("a", 0.0)
        self.observe()
        self.assertEqual(self.ledger.requested("a", None), 1)
        self.assertEqual(self.ledger.requested("a", 7), 7)
        self.observe(a=7)
        self.assertTrue(self.ledger.is_settled("a"))

    def test_deleted(self):
        """A deleted service is gone, although it is still observed."""
        self.ledger.deleted("a", 0.0)
        self.observe(a=1)
        self.assertIsNone(self.ledger.requested("a", 1))
        self.observe()
        self.assertTrue(self.ledger.is_settled("a"))

    def test_gone(self):
        """A service whose number was changed and that is not observed any more was deleted by somebody else."""
        self.change("a", 5)
        self.assertIsNone(self.ledger.requested("a", None))
        self.observe()
        self.assertTrue(self.ledger.is_settled("a"))

    def test_services_are_apart(self):
        """What is asked for one service says nothing about another."""
        self.change("a", 5)
        self.assertEqual(self.ledger.requested("b", 1), 1)
