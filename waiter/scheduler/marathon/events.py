"""Hears from Marathon that something has changed."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from waiter.scheduler.marathon.body import read_body
from waiter.scheduler.marathon.client import MarathonClient
from waiter.scheduler.marathon.sse import Event, EventReader

STATUS = "status_update_event"
#: After these, what Marathon lists is another than before.
TYPES = (
    STATUS,
    "health_status_changed_event",
    "failed_health_check_event",
    "app_terminated_event",
    "deployment_success",
    "deployment_failed",
)
_SMALL = frozenset({STATUS, "health_status_changed_event", "failed_health_check_event"})


class EventStream(Service):
    """
    Listens to Marathon's events and tells of them. When the stream ends or is silent it is opened again, at growing
    intervals while that fails.

    It only makes things faster: whoever needs to know looks for himself as well, from time to time.

    @ivar connected: whether it listens now.
    @ivar received: how many events came.
    @ivar connections: how often it has connected.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        client: MarathonClient,
        heard: Callable[[str, Mapping[str, Any]], object],
        *,
        first_pause_secs: float = 1.0,
        longest_pause_secs: float = 30.0,
        silence_secs: float = 60.0,
    ) -> None:
        """
        @param heard: told the type and the data of each event; of large ones the data is empty. Told C{connected} when
            the stream has been opened, as something may have been missed.
        @param silence_secs: after how long without anything the stream is given up. Marathon sends an empty line every
            few seconds.
        """
        self.setName("marathon-events")
        self._reactor = reactor
        self._client = client
        self._heard = heard
        self._first_pause_secs = first_pause_secs
        self._longest_pause_secs = longest_pause_secs
        self._silence_secs = silence_secs
        self._listening: Deferred[None] | None = None
        self._reader = EventReader(self._event)
        self.connected = False
        self.received = 0
        self.connections = 0

    def startService(self) -> None:
        """Begin to listen."""
        super().startService()
        self._listening = Deferred.fromCoroutine(self._listen()).addErrback(self._ended)

    def stopService(self) -> Deferred[None] | None:
        """Cut the stream. Fires when it is."""
        super().stopService()
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
        return listening

    async def _listen(self) -> None:
        pause_secs = self._first_pause_secs
        while self.running:
            connections = self.connections
            try:
                await self._stream()
                trouble: object = "it ended"
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may go better
                trouble = error
            finally:
                was_connected, self.connected = self.connected, False
            if was_connected:
                self._log.info("The stream of Marathon's events is interrupted: {trouble}", trouble=trouble)
            if self.connections > connections:
                pause_secs = self._first_pause_secs
            await deferLater(self._reactor, pause_secs)
            pause_secs = min(self._longest_pause_secs, pause_secs * 2)

    async def _stream(self) -> None:
        response = await self._client.events(TYPES)
        self._reader = EventReader(self._event)
        self.connected = True
        self.connections += 1
        self._tell("connected", {})
        await read_body(self._reactor, response, self._reader.feed, silence_secs=self._silence_secs)

    def _event(self, event: Event) -> None:
        if event.type not in TYPES:
            return
        self.received += 1
        data: object = {}
        if event.type in _SMALL and event.data is not None:
            try:
                data = json.loads(event.data)
            except ValueError:
                data = {}
        self._tell(event.type, data if isinstance(data, dict) else {})

    def _tell(self, kind: str, data: Mapping[str, Any]) -> None:
        try:
            self._heard(kind, data)
        except Exception:  # noqa: BLE001 - an event that nobody understands must not end the stream
            self._log.failure("An event of type {kind} could not be used", kind=kind)

    def _ended(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._log.failure("Marathon's events are not heard any more", failure)
