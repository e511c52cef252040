"""What becomes of signals while the reactor stops."""

import signal
from collections.abc import Callable
from typing import Any

_ENDING = (signal.SIGINT, signal.SIGTERM)


def hear_again(reactor: Any, again: Callable[[], object]) -> None:
    """
    From now on, have SIGINT and SIGTERM call C{again}, in the reactor's thread.

    Left alone they would call the reactor's C{stop} once more, and that raises an exception while it is stopping already.
    Only the reactor's own handlers are replaced. To be called in the main thread.
    """

    def received(*_: object) -> None:
        reactor.callFromThread(again)

    for number in _ENDING:
        if getattr(signal.getsignal(number), "__self__", None) is reactor:
            signal.signal(number, received)
