"""Keeps the garbage collector from holding up a process that lives long and has much in memory."""

import gc

from twisted.application.service import Service

# Note [Rare full looks]
#
# Nearly all that a request leaves behind is freed at once, as nothing refers to it any more. The collector looks for what refers to
# itself in a circle, and that is little. But a full look at all there is takes 0.05 s for the program alone, and 0.1 s with a
# thousand services, and nobody is served meanwhile. With Python's own thresholds that is done every few seconds
# where there are many services: what describes them is made anew all the time, and each is taken for one more object that lasts.

#: How many more objects than before there are when the young ones are looked at; how many such looks make a look at those
#: that survived the first; and how many of these a full one. Python's are 700, 10 and 10.
_THRESHOLDS = (10_000, 5, 100)


class GarbageService(Service):
    """
    From its privileged start on full looks for garbage are rare. What there is then, and once more at its start, counts as there for
    good. To be started last, in a process that is Waiter's own. Its stop takes that back.
    """

    def __init__(self) -> None:
        self.setName("garbage")
        self._thresholds = gc.get_threshold()

    def privilegedStartService(self) -> None:
        """Begin to be sparing."""
        super().privilegedStartService()
        self._thresholds = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)

    def startService(self) -> None:
        """Keep what the start of all others has made."""
        super().startService()
        # A full look would hold up whoever asks by now.
        gc.collect(1)
        gc.freeze()

    def stopService(self) -> None:
        """As Python has it."""
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()
        super().stopService()
