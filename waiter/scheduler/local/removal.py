"""Ends instances where no server runs, as the scheduler does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as TookTooLong

from waiter.model.description import ServiceDescription
from waiter.scheduler.local.census import Census
from waiter.scheduler.local.inventory import Entry
from waiter.scheduler.local.meter import Meter
from waiter.scheduler.local.ports import PortPool
from waiter.scheduler.local.process import RunningProcess
from waiter.scheduler.local.termination import Termination

#: How long after SIGKILL something may take to be gone.
_PATIENCE_SECS = 30.0
_GRACE = "termination_grace_period_secs"


class Removal:
    """Ends what was found, all of it, and records that it was told to end, so that no server takes it for a failure."""

    def __init__(
        self,
        reactor: Any,
        ports: PortPool,
        *,
        wall: Callable[[], float],
        defaults: Mapping[str, Any] | None = None,
        patience_secs: float = _PATIENCE_SECS,
    ) -> None:
        """
        @param defaults: parameters of services that do not give them, under their outside names.
        @param patience_secs: how long after the grace period the end of an instance is waited for.
        """
        self._reactor = reactor
        self._defaults = defaults or {}
        self._ports = ports
        self._wall = wall
        self._patience_secs = patience_secs
        self._census = Census(reactor)
        # It is never started: nobody wants to know what they use.
        self._meter = Meter(reactor, self._census, wall=wall)

    async def end(self, entries: Sequence[Entry], *, force: bool) -> dict[str, str]:
        """
        End instances, all at the same time. The lock of their state directory must be held.

        @param force: by SIGKILL at once, and not after each one's termination grace period.
        @return: by the ids of those that could not be ended, why.
        """
        endings = [Deferred.fromCoroutine(self._end(entry, force=force)) for entry in entries]
        reasons = await gatherResults(endings)
        return {entry.id: reason for entry, reason in zip(entries, reasons, strict=True) if reason is not None}

    async def _end(self, entry: Entry, *, force: bool) -> str | None:
        core = {} if entry.finding is None else entry.finding.record.core
        grace_secs = 0.0 if force else grace_secs_of({**self._defaults, **core})
        try:
            ending = self._terminate(entry, grace_secs)
            await ending.addTimeout(grace_secs + self._patience_secs, self._reactor)
        except TookTooLong:
            return f"something of it still runs {self._patience_secs:g} s after SIGKILL"
        except OSError as error:
            return error.strerror or str(error)
        return None

    def _terminate(self, entry: Entry, grace_secs: float) -> Deferred[None]:
        if entry.finding is None:
            # Of its launcher's number nothing is known; there is no record that could be kept.
            return Deferred.fromCoroutine(
                Termination(self._reactor, self._census, entry.id, lambda: None).end(grace_secs)
            )
        record = entry.finding.record
        running = RunningProcess(
            self._reactor,
            record,
            entry.finding.directory,
            lease=self._ports.adopt(record.ports),
            ports=self._ports,
            census=self._census,
            meter=self._meter,
            wall=self._wall,
            own=False,
            ended=lambda _: None,
        )
        running.note(killed=True)
        return running.terminate(grace_secs)


def grace_secs_of(description: Mapping[str, Any]) -> float:
    """How long an instance may take to end when it is asked to, by its description as far as that was given."""
    given = description.get(_GRACE.replace("_", "-"))
    if isinstance(given, int | float) and not isinstance(given, bool) and given >= 0:
        return float(given)
    return float(ServiceDescription.model_fields[_GRACE].default)
