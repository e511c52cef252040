"""The right to one slot of one instance."""

from collections.abc import Callable

from waiter.model.instance import Instance
from waiter.model.outcome import Outcome


class Lease:
    """
    A slot on an instance, held by one request (or an instance locked for a kill).

    Whoever gets a lease releases it. Only the first release counts, so every path that might end a request may call it.

    @ivar instance: where to send the request.
    @ivar since: when the slot was taken, in the clock's seconds.
    @ivar released: whether it has been given back.
    """

    __slots__ = ("_give_back", "instance", "released", "since")

    def __init__(self, instance: Instance, since: float, give_back: "Callable[[Lease, Outcome], object]") -> None:
        self.instance = instance
        self.since = since
        self.released = False
        self._give_back = give_back

    def release(self, outcome: Outcome) -> None:
        """Give the slot back; does nothing the second time."""
        if not self.released:
            self.released = True
            self._give_back(self, outcome)
