"""Calls that wait for a disk or take long, away from the reactor's thread."""

from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def in_thread(reactor: Any, call: Callable[[*Ts], T], *arguments: *Ts) -> Deferred[T]:
    """
    What a function returns that is called in a thread of the reactor's pool.

    Cancelling it does not end the thread's work. The pool is asked for at the call: twistd forks after the program has
    been put together, and threads do not live through that.
    """
    return deferToThreadPool(reactor, reactor.getThreadPool(), call, *arguments)
