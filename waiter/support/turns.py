"""Long work in short turns."""

from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

from twisted.internet.task import deferLater

T = TypeVar("T")

#: How long the reactor is kept from other things at a time.
SLICE_SECS = 0.005


async def in_turns(clock: Any, items: Iterable[T]) -> AsyncIterator[T]:
    """
    Iterate, and let others have their turn every L{SLICE_SECS}. Cancelling whoever iterates ends it.
    """
    began = clock.seconds()
    for item in items:
        yield item
        if clock.seconds() - began > SLICE_SECS:
            await deferLater(clock, 0)
            began = clock.seconds()


async def next_turn(clock: Any) -> None:
    """Let others have their turn."""
    await deferLater(clock, 0)
