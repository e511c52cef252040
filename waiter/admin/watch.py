"""A listing that goes on with what changes: a JSON object on a line for what there is, then one for each turn of changes."""

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.task import Cooperator
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from waiter.admin.arguments import Arguments, whole_number
from waiter.admin.encoding import json_bytes
from waiter.admin.negotiation import CONTENT_TYPES
from waiter.errors import WaiterError

_IDLE_MS = 20000
_LOOK_SECS = 0.5
# How long a client may take nothing.
_PATIENCE_SECS = 60.0

Message = dict[str, Any]


class Watched(Protocol):
    """What one client watches, and what it has been told of that."""

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call C{changed} at each change from now on; calling what is returned ends that."""

    def find(self) -> Iterator[None]:
        """
        Find what there is, some at a time.

        @raise WaiterError: a pattern is too complicated for what there is.
        """

    def initial(self) -> Message:
        """What was found; asked once."""

    def events(self) -> Message | None:
        """
        What has changed since the client was told last; C{None} if that is nothing to it.

        @raise WaiterError: a pattern is too complicated for what there is.
        """


@attrs.frozen(kw_only=True)
class WatchEnd:
    """
    When a watch is over.

    @ivar idle_secs: after how long without any change.
    @ivar stopping: whether this server wants to end.
    """

    idle_secs: float
    stopping: Callable[[], bool]


def watch_end(given: Arguments, stopping: Callable[[], bool]) -> WatchEnd:
    """
    What query parameters say about the end.

    @raise BadRequest: C{streaming-timeout} is not a whole number of milliseconds.
    """
    return WatchEnd(idle_secs=whole_number(given, "streaming-timeout", _IDLE_MS) / 1000, stopping=stopping)


class Watch(Resource):
    """Answers with what there is, and goes on with what changes."""

    isLeaf = True

    def __init__(self, clock: IReactorTime, watched: Watched, end: WatchEnd) -> None:
        super().__init__()
        self._clock = clock
        self._watched = watched
        self._end = end

    def render_GET(self, request: Request) -> int:
        """Send it until the client goes, or nothing has changed for long."""
        request.setHeader(b"content-type", CONTENT_TYPES["json"])
        request.setHeader(b"x-accel-buffering", b"no")
        if request.method == b"HEAD":
            request.finish()
        else:
            _Watcher(self._clock, request, self._watched, self._end).start()
        return NOT_DONE_YET


@implementer(IPushProducer)
class _Watcher:
    """
    Tells one client. What changes while it takes nothing is told when it does, once, as it is then; if it takes nothing for
    a minute it is cut off.
    """

    def __init__(self, clock: IReactorTime, request: Request, watched: Watched, end: WatchEnd) -> None:
        self._clock = clock
        self._request = request
        self._watched = watched
        self._end = end
        self._id = uuid.uuid4().hex
        # Whether the client has been told what there is.
        self._begun = False
        # Whether it does not know yet of something that changed.
        self._changed = False
        self._sending: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._quiet_since = clock.seconds()
        self._paused = False
        self._over = False
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin; ends the request."""
        self._request.notifyFinish().addBoth(lambda _: self._let_go())
        self._request.registerProducer(self, True)
        self._unsubscribe = self._watched.subscribe(self._change)
        task = Cooperator(scheduler=partial(self._clock.callLater, 0)).cooperate(self._find())
        self._look()
        task.whenDone().addCallbacks(lambda _: self._begin(), lambda failure: self._broken(failure.value))

    def pauseProducing(self) -> None:
        """The client takes nothing."""
        if not self._paused:
            self._paused = True
            self._quiet_since = self._clock.seconds()

    def resumeProducing(self) -> None:
        """The client takes something again."""
        self._paused = False
        self._quiet_since = self._clock.seconds()
        self._send_soon()

    def stopProducing(self) -> None:
        """The client has gone."""
        self._let_go()

    def _find(self) -> Iterator[None]:
        for step in self._watched.find():
            if self._over:
                return
            yield step

    def _begin(self) -> None:
        if self._over:
            return
        self._begun = True
        self._write(self._watched.initial())
        self._send_soon()

    def _change(self) -> None:
        self._changed = True
        self._send_soon()

    def _send_soon(self) -> None:
        if self._changed and self._begun and self._sending is None and not self._paused and not self._over:
            self._sending = self._clock.callLater(0, self._send)

    def _send(self) -> None:
        self._sending = None
        if self._paused:
            return
        self._changed = False
        try:
            message = self._watched.events()
        except WaiterError as error:
            self._broken(error)
            return
        if message is not None:
            self._write(message)

    def _write(self, message: Message) -> None:
        self._quiet_since = self._clock.seconds()
        self._request.write(json_bytes({"id": self._id, **message}, indent=None) + b"\n")

    def _look(self) -> None:
        """Now and then: whether it is over."""
        self._timer = None
        if self._over:
            return
        quiet_secs = self._clock.seconds() - self._quiet_since
        if self._paused and quiet_secs >= _PATIENCE_SECS:
            self._let_go()
            transport: Any = self._request.transport
            transport.abortConnection()
        elif self._end.stopping() or (not self._paused and self._begun and quiet_secs >= self._end.idle_secs):
            self._let_go()
            self._request.unregisterProducer()
            self._request.finish()
        else:
            self._timer = self._clock.callLater(_LOOK_SECS, self._look)

    def _broken(self, _error: BaseException) -> None:
        """A pattern is too complicated for something that there is."""
        if not self._over:
            self._let_go()
            self._request.unregisterProducer()
            self._request.loseConnection()

    def _let_go(self) -> None:
        self._over = True
        for call in (self._sending, self._timer):
            if call is not None and call.active():
                call.cancel()
        self._sending = self._timer = None
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
