"""Clients that go on asking."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater


class Load:
    """
    Clients that ask one request after the other, until they are told to stop.

    @ivar codes: how often which status came; instead of one, what went wrong.
    """

    def __init__(self, waiter, headers, *, clients=2, path="/0"):
        self.codes = {}
        self._going = True
        self._ended = gatherResults(
            [Deferred.fromCoroutine(self._ask(waiter, headers, path)) for _ in range(clients)], consumeErrors=True
        )

    async def _ask(self, waiter, headers, path):
        while self._going:
            try:
                came = (await waiter.request(path, headers=headers)).code
            except Exception as error:  # noqa: BLE001 - it is what the test wants to know
                came = repr(error)
            self.codes[came] = self.codes.get(came, 0) + 1
            await deferLater(reactor, 0.02)

    async def stop(self):
        """Let them end; returns what came."""
        self._going = False
        await self._ended
        return self.codes
