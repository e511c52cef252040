"""L{waiter.catalog.records}: what the stores' contract does not reach."""

from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.records import Watchers


class WatchersTests(SynchronousTestCase):
    def test_whenOneEndsAnotherWhileBeingTold_thatOneIsNotTold(self):
        watchers, heard = Watchers(), []
        watchers.add("", lambda key: end())
        end = watchers.add("", heard.append)
        watchers.tell("key")
        self.assertEqual(heard, [])

    def test_whenOneIsAddedWhileTelling_itHearsTheNextChange(self):
        watchers, heard = Watchers(), []
        watchers.add("", lambda key: watchers.add("", heard.append) if key == "first" else None)
        watchers.tell("first")
        self.assertEqual(heard, [])
        watchers.tell("second")
        self.assertEqual(heard, ["second"])

    def test_theSameFunctionMayWatchTwice(self):
        watchers, heard = Watchers(), []
        end = watchers.add("a", heard.append)
        watchers.add("a", heard.append)
        end()
        watchers.tell("a")
        self.assertEqual(heard, ["a"])
