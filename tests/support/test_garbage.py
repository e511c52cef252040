"""The garbage collector is sparing while Waiter runs, and as before afterwards."""

import gc
import math
import weakref

from twisted.trial.unittest import SynchronousTestCase

from waiter.support.garbage import GarbageService


class Thing:
    pass


class GarbageTests(SynchronousTestCase):
    def setUp(self):
        self.service = GarbageService()
        self.before = gc.get_threshold()
        self.service.privilegedStartService()
        self.made_at_the_start = Thing()
        self.service.startService()
        self.addCleanup(lambda: self.service.running and self.service.stopService())

    def test_whatIsThereIsNotLookedAtAgain(self):
        self.assertGreater(gc.get_freeze_count(), 10000)
        self.assertLess(len(gc.get_objects()), 10000)
        self.assertFalse(any(each is self.made_at_the_start for each in gc.get_objects()))

    def test_looksAreRarerThanPythonHasThem(self):
        self.assertGreater(gc.get_threshold()[0], self.before[0])
        self.assertGreater(math.prod(gc.get_threshold()), math.prod(self.before))

    def test_whatComesLaterAndGoesInACircleIsStillFound(self):
        thing = Thing()
        thing.itself = thing
        gone = weakref.ref(thing)
        del thing
        self.assertIsNotNone(gone())
        gc.collect()
        self.assertIsNone(gone())

    def test_itsStopLeavesNothingBehind(self):
        self.service.stopService()
        self.assertEqual(gc.get_threshold(), self.before)
        self.assertEqual(gc.get_freeze_count(), 0)
