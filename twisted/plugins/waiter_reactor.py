"""Tells C{--reactor} of the fast one."""

from twisted.application.reactors import Reactor

uvloop = Reactor("uvloop", "waiter.support.reactors", "asyncio on a uvloop event loop: what Waiter is fastest on")
