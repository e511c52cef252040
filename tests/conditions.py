"""For ends of connections that are waited for by what has happened to them."""

from twisted.internet.defer import Deferred


class Conditions:
    """Fires Deferreds when what they wait for holds."""

    def __init__(self):
        self._waiting = []

    def when(self, condition):
        """Fires with this when C{condition()} holds; that is asked now and whenever something may have changed."""
        waiting = Deferred()
        self._waiting.append((condition, waiting))
        self.look()
        return waiting

    def look(self):
        """Something may have changed."""
        ready = [pair for pair in self._waiting if pair[0]()]
        self._waiting = [pair for pair in self._waiting if pair not in ready]
        for _, waiting in ready:
            waiting.callback(self)
