"""Bringing services into existence, and trying again."""

from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from waiter.errors import ServiceFailing, WaiterError
from waiter.model.service import Service
from waiter.scheduler.interface import SchedulerUnavailable
from waiter.support.background import Background


@attrs.define(kw_only=True)
class _Attempt:
    """
    The story of one service that is not there yet.

    @ivar running: whether a call is under way.
    @ivar held: whether it is being deleted, so that it cannot be created now.
    @ivar wanted: what to create when it is not held any more.
    @ivar failures: how many calls failed in a row, the first of them at C{failing_since}.
    @ivar not_before: when the next call may be made.
    @ivar error: what to tell those who wait.
    @ivar final: whether it is the scheduler's own word, and not something that may pass.
    """

    running: bool = False
    held: bool = False
    wanted: Service | None = None
    failures: int = 0
    failing_since: float = 0.0
    not_before: float = 0.0
    error: WaiterError | None = None
    final: bool = False


class ServiceCreator:
    """
    Creates services: one call at a time for each, and after a failure again with growing pauses if somebody still asks.

    There are two kinds of failures. A C{WaiterError} is the scheduler's word that the service may not run: those who wait
    are told at once. Anything else may pass (the scheduler does not answer, say), and they are told only after
    C{patience_secs} without success. Who asks during a pause is told the same, and no call is made.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        background: Background,
        call: Callable[[Service], Deferred[bool]],
        *,
        created: Callable[[str], object],
        failed: Callable[[str, WaiterError], object],
        first_pause_secs: float = 1.0,
        longest_pause_secs: float = 30.0,
        patience_secs: float = 10.0,
        deadline_secs: float = 60.0,
    ) -> None:
        """
        @param call: the scheduler's C{create}.
        @param created: told the id of a service that exists now.
        @param failed: told the id of a service and what to tell those who wait for it.
        @param first_pause_secs: the pause after the first failure; each further one doubles it, up to
            C{longest_pause_secs}.
        @param deadline_secs: how long one call may take.
        """
        self._clock = clock
        self._background = background
        self._call = call
        self._created = created
        self._failed = failed
        self._first_pause_secs = first_pause_secs
        self._longest_pause_secs = longest_pause_secs
        self._patience_secs = patience_secs
        self._deadline_secs = deadline_secs
        self._attempts: dict[str, _Attempt] = {}

    def create(self, service: Service) -> None:
        """Create the service, unless that is under way or has just failed. Cheap to call often."""
        attempt = self._attempts.setdefault(service.id, _Attempt())
        if attempt.held:
            attempt.wanted = service
        elif attempt.running:
            return
        elif self._clock.seconds() < attempt.not_before:
            self._tell(service.id, attempt)
        else:
            self._background.start(self._create(service, attempt), f"Creating {service.id}")

    def hold(self, service_id: str) -> None:
        """Keep what is asked for until L{resume}."""
        self._attempts.setdefault(service_id, _Attempt()).held = True

    def resume(self, service_id: str, *, create: bool) -> None:
        """Forget the hold; C{create} says whether to create what was asked for since L{hold}."""
        attempt = self._attempts.pop(service_id, None)
        if create and attempt is not None and attempt.wanted is not None:
            self.create(attempt.wanted)

    def is_running(self, service_id: str) -> bool:
        """Whether a call is under way."""
        attempt = self._attempts.get(service_id)
        return attempt is not None and attempt.running

    def forget_old(self) -> None:
        """Forget the failures after which nobody asked again for long."""
        long_ago = self._clock.seconds() - 2 * self._longest_pause_secs
        for service_id, attempt in tuple(self._attempts.items()):
            if not attempt.running and not attempt.held and attempt.not_before < long_ago:
                del self._attempts[service_id]

    async def _create(self, service: Service, attempt: _Attempt) -> None:
        attempt.running = True
        try:
            calling = maybeDeferred(self._call, service)
            await calling.addTimeout(self._deadline_secs, self._clock)
        except CancelledError:
            raise
        except SchedulerUnavailable as error:
            self._log.warn("{service_id} could not be created: {error}", service_id=service.id, error=str(error))
            self._note(attempt, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must learn of it
            self._log.failure("{service_id} could not be created", service_id=service.id)
            self._note(attempt, error)
        else:
            attempt.error = None
        finally:
            attempt.running = False
        if attempt.error is None:
            self._attempts.pop(service.id, None)
            self._created(service.id)
        else:
            self._tell(service.id, attempt)

    def _note(self, attempt: _Attempt, error: Exception) -> None:
        now = self._clock.seconds()
        if attempt.failures == 0:
            attempt.failing_since = now
        attempt.not_before = now + min(
            self._longest_pause_secs, self._first_pause_secs * 2 ** min(attempt.failures, 16)
        )
        attempt.failures += 1
        attempt.final = isinstance(error, WaiterError)
        attempt.error = (
            error
            if isinstance(error, WaiterError)
            else ServiceFailing(f"The service could not be started: {error or type(error).__name__}")
        )

    def _tell(self, service_id: str, attempt: _Attempt) -> None:
        patience_is_over = self._clock.seconds() - attempt.failing_since >= self._patience_secs
        if attempt.error is not None and (attempt.final or patience_is_over):
            self._failed(service_id, attempt.error)
