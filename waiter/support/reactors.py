"""Choosing the reactor: asyncio on a uvloop loop, where nothing else has been chosen and uvloop exists."""

import asyncio
import signal
import sys
from enum import Enum
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads


class Installed(Enum):
    """What L{install_fast_reactor} found or did."""

    FAST = "the asyncio reactor on a uvloop loop is installed"
    OTHER = "a reactor was there already"
    NO_UVLOOP = "uvloop is not there; Twisted's default reactor will be used"


def install() -> None:
    """
    Install the asyncio reactor on a new uvloop loop. What C{--reactor uvloop} calls.

    @raise ImportError: uvloop is not there.
    @raise twisted.internet.error.ReactorAlreadyInstalledError: another reactor is.
    """
    # Not at the top: importing this module must cost nothing and must not bring a reactor.
    import uvloop  # noqa: PLC0415
    from twisted.internet.main import installReactor  # noqa: PLC0415

    from waiter.support.uvloop_reactor import UvloopReactor  # noqa: PLC0415

    loop = uvloop.new_event_loop()
    installReactor(UvloopReactor(loop))
    asyncio.set_event_loop(loop)
    _hear_of_children()


def _hear_of_children() -> None:
    """
    Let Twisted learn of the end of its child processes.

    It wants to be told by the wakeup descriptor of signals, but a running uvloop points that at itself, and then only
    calls Python's handler, which Twisted leaves empty: an end was noticed only if the child's pipes closed after it.
    """
    from twisted.internet import reactor  # noqa: PLC0415
    from twisted.internet.process import reapAllProcesses  # noqa: PLC0415

    threads = cast("IReactorFromThreads", reactor)

    def child_ended(*_: object) -> None:
        threads.callFromThread(reapAllProcesses)

    # Once it runs, as Twisted installs its handler when it starts to.
    reactor.callWhenRunning(signal.signal, signal.SIGCHLD, child_ended)


def install_fast_reactor() -> Installed:
    """
    Install the fast reactor, unless one has been imported: then it was asked for, or it is too late.

    Never to be called at import.
    """
    if "twisted.internet.reactor" in sys.modules:
        return Installed.OTHER
    try:
        install()
    except ImportError:
        return Installed.NO_UVLOOP
    return Installed.FAST
