"""Tests for L{waiter.support.topic}."""

from twisted.trial.unittest import SynchronousTestCase

from waiter.support.topic import Topic


class TopicTests(SynchronousTestCase):
    def setUp(self):
        self.topic = Topic()
        self.heard = []

    def listener(self, name):
        return lambda value: self.heard.append((name, value))

    def test_order(self):
        """Subscribers are told in the order they came, before publish returns."""
        self.topic.subscribe(self.listener("a"))
        self.topic.subscribe(self.listener("b"))
        self.topic.publish(1)
        self.assertEqual(self.heard, [("a", 1), ("b", 1)])

    def test_later_values_only(self):
        """A subscriber hears nothing that was published before."""
        self.topic.publish(1)
        self.topic.subscribe(self.listener("a"))
        self.assertEqual(self.heard, [])

    def test_failure(self):
        """A subscriber that raises is logged, and the others are told."""

        def broken(value):
            raise ZeroDivisionError

        self.topic.subscribe(broken)
        self.topic.subscribe(self.listener("a"))
        self.topic.publish(1)
        self.topic.publish(2)
        self.assertEqual(self.heard, [("a", 1), ("a", 2)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_unsubscribe(self):
        """Who has unsubscribed hears nothing more; doing it again changes nothing."""
        listener = self.listener("a")
        unsubscribe = self.topic.subscribe(listener)
        self.topic.subscribe(listener)
        unsubscribe()
        unsubscribe()
        self.topic.publish(1)
        self.assertEqual(self.heard, [("a", 1)])

    def test_unsubscribe_during_publication(self):
        """Who is unsubscribed by somebody told earlier does not hear that value any more."""
        endings = []
        self.topic.subscribe(lambda value: endings[0]())
        endings.append(self.topic.subscribe(self.listener("a")))
        self.topic.publish(1)
        self.assertEqual(self.heard, [])

    def test_subscribe_during_publication(self):
        """Who subscribes while a value is published hears the next one."""
        self.topic.subscribe(lambda value: value == 1 and self.topic.subscribe(self.listener("a")))
        self.topic.publish(1)
        self.topic.publish(2)
        self.assertEqual(self.heard, [("a", 2)])

    def test_publish_during_publication(self):
        """All hear the values in the same order, even if one of them publishes another on hearing the first."""
        self.topic.subscribe(lambda value: value == 1 and self.topic.publish(2))
        self.topic.subscribe(self.listener("a"))
        self.topic.publish(1)
        self.assertEqual(self.heard, [("a", 1), ("a", 2)])
