"""A store whose answers come when the test wants."""

from twisted.internet.defer import Deferred, fail


class SlowStore:
    """
    Says what another store says.

    @ivar held: where answers to C{get}, which are found out at once, are held; C{None} to give them at once.
    @ivar held_puts: where what C{put} is asked to do is held; C{None} to do it at once.
    @ivar failing: with what C{get} fails, if with anything.
    """

    def __init__(self, inner):
        self.inner = inner
        self.held = None
        self.held_puts = None
        self.failing = None

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def get(self, key, **how):
        if self.failing is not None:
            return fail(self.failing)
        found = self.inner.get(key, **how)
        if self.held is None:
            return found
        later = Deferred()
        self.held.append(lambda: found.chainDeferred(later))
        return later

    def put(self, *arguments):
        if self.held_puts is None:
            return self.inner.put(*arguments)
        later = Deferred()
        self.held_puts.append(lambda: self.inner.put(*arguments).chainDeferred(later))
        return later

    def release_puts(self):
        held, self.held_puts = self.held_puts, None
        for each in held:
            each()

    def release(self):
        held, self.held = self.held, None
        for each in held:
            each()
