"""A listing of tokens that goes on with what changes."""

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.task import Cooperator
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from waiter.admin.encoding import json_bytes
from waiter.admin.negotiation import CONTENT_TYPES
from waiter.catalog.tokens import TokenCatalog
from waiter.errors import WaiterError
from waiter.model.token import Token

_LOOK_SECS = 0.5
# How long a client may take nothing.
_PATIENCE_SECS = 60.0


@attrs.frozen(kw_only=True)
class Watched:
    """
    What somebody wants to hear of.

    @ivar wants: whether a token is one of those.
    @ivar entry: how one is shown.
    @ivar idle_secs: after how long without any change it is over.
    @ivar stopping: whether this server wants to end.
    """

    wants: Callable[[Token], bool]
    entry: Callable[[Token], dict[str, Any]]
    idle_secs: float
    stopping: Callable[[], bool]


class TokenWatch(Resource):
    """A JSON object on a line for the tokens there are, then one for each turn in which some of them change."""

    isLeaf = True

    def __init__(self, clock: IReactorTime, tokens: TokenCatalog, watched: Watched) -> None:
        super().__init__()
        self._clock = clock
        self._tokens = tokens
        self._watched = watched

    def render_GET(self, request: Request) -> int:
        """Send them until the client goes, or nothing has changed for long."""
        request.setHeader(b"content-type", CONTENT_TYPES["json"])
        request.setHeader(b"x-accel-buffering", b"no")
        if request.method == b"HEAD":
            request.finish()
        else:
            TokenWatcher(self._clock, request, self._tokens, self._watched).start()
        return NOT_DONE_YET


@implementer(IPushProducer)
class TokenWatcher:
    """
    Tells one client. What changes while it takes nothing is told when it does, once, as it is then; if it takes nothing for
    a minute it is cut off.
    """

    def __init__(self, clock: IReactorTime, request: Request, tokens: TokenCatalog, watched: Watched) -> None:
        self._clock = clock
        self._request = request
        self._tokens = tokens
        self._watched = watched
        self._id = uuid.uuid4().hex
        # What the client has been told of; None before it has been told of anything.
        self._told: set[str] | None = None
        self._changed: dict[str, None] = {}
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
        self._unsubscribe = self._tokens.changes.subscribe(self._change)
        self._found: list[Token] = []
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
        for token in self._tokens.all():
            if self._over:
                return
            # It may have changed since the list was begun: then it is among those that have changed, too.
            if self._watched.wants(token):
                self._found.append(token)
            yield

    def _begin(self) -> None:
        if self._over:
            return
        found, self._found = self._found, []
        self._told = {token.name for token in found}
        self._write("INITIAL", [self._watched.entry(token) for token in found])
        self._send_soon()

    def _change(self, name: str) -> None:
        self._changed[name] = None
        self._send_soon()

    def _send_soon(self) -> None:
        if self._changed and self._told is not None and self._sending is None and not self._paused and not self._over:
            self._sending = self._clock.callLater(0, self._send)

    def _send(self) -> None:
        self._sending = None
        if self._paused or self._told is None:
            return
        names, self._changed = self._changed, {}
        try:
            events = [event for name in names if (event := self._event(name, self._told)) is not None]
        except WaiterError as error:
            self._broken(error)
            return
        if events:
            self._write("EVENTS", events)

    def _event(self, name: str, told: set[str]) -> dict[str, Any] | None:
        token = self._tokens.find(name)
        if token is not None and self._watched.wants(token):
            told.add(name)
            return {"object": self._watched.entry(token), "reference-type": "token", "type": "UPDATE"}
        if name in told:
            told.discard(name)
            gone = {"token": name} if token is None else {"owner": token.owner, "token": name}
            return {"object": gone, "reference-type": "token", "type": "DELETE"}
        return None

    def _write(self, kind: str, objects: list[dict[str, Any]]) -> None:
        message = {"id": self._id, "object": objects, "reference-type": "token", "type": kind}
        self._quiet_since = self._clock.seconds()
        self._request.write(json_bytes(message, indent=None) + b"\n")

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
        elif self._watched.stopping() or (
            not self._paused and self._told is not None and quiet_secs >= self._watched.idle_secs
        ):
            self._let_go()
            self._request.unregisterProducer()
            self._request.finish()
        else:
            self._timer = self._clock.callLater(_LOOK_SECS, self._look)

    def _broken(self, _error: BaseException) -> None:
        """A pattern is too complicated for a token that there is."""
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
