"""Long work in short turns."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from waiter.support.turns import SLICE_SECS, in_turns


class InTurnsTests(SynchronousTestCase):
    def test_othersHaveTheirTurnInBetween(self):
        clock = Clock()
        seen = []

        def items():
            for number in range(4):
                # As if reading it took that long.
                clock.rightNow += SLICE_SECS * 0.6
                yield number

        note = seen.append

        async def read_all():
            async for item in in_turns(clock, items()):
                note(item)

        reading = Deferred.fromCoroutine(read_all())
        self.assertEqual(seen, [0, 1])
        self.assertNoResult(reading)
        clock.advance(0)
        self.successResultOf(reading)
        self.assertEqual(seen, [0, 1, 2, 3])

    def test_cancellingItEndsIt(self):
        clock = Clock()
        seen = []

        def items():
            while True:
                clock.rightNow += SLICE_SECS
                yield len(seen)

        note = seen.append

        async def read_all():
            async for item in in_turns(clock, items()):
                note(item)

        reading = Deferred.fromCoroutine(read_all())
        reading.cancel()
        self.failureResultOf(reading)
        count = len(seen)
        clock.advance(1)
        self.assertEqual(len(seen), count)
        self.assertEqual(clock.getDelayedCalls(), [])
