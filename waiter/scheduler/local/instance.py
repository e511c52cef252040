"""The life of one local instance: starting, healthy or not, ending, gone."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag, Instance
from waiter.model.service import Service
from waiter.scheduler.health import TIMEOUT, HealthResult, health_url, unanswered
from waiter.scheduler.local import explanations
from waiter.scheduler.local.explanations import Explanation
from waiter.scheduler.local.interface import Excess, IRunning
from waiter.scheduler.local.listening import ListeningSocket
from waiter.scheduler.probing import (
    BUSY_PATIENCE_SECS,
    FIRST_PAUSE_SECS,
    LONGEST_PAUSE_SECS,
    STARTING_PATIENCE_SECS,
    FailedChecks,
    starting_pause,
)

#: What a local instance is reached under.
HOST = "127.0.0.1"

#: How long it may take to find out where an instance listens.
_LOOK_SECS = 5.0


class Probe(Protocol):
    """Something that checks an instance, as L{waiter.scheduler.health.HealthProbe} does."""

    def check(
        self, instance: Instance, description: ServiceDescription, *, patience_secs: float
    ) -> Deferred[HealthResult]:
        """Check once, for C{patience_secs} at least before giving up; never fails unless it is cancelled."""


class Phase(str, Enum):
    """Where an instance is in its life."""

    STARTING = "starting"
    HEALTHY = "healthy"
    #: It was healthy before.
    UNHEALTHY = "unhealthy"
    #: It is to end, or has ended, and something of it may be left.
    ENDING = "ending"
    GONE = "gone"


class Ending(str, Enum):
    """Why an instance ends."""

    #: It was told to.
    KILLED = "killed"
    #: Its command ended with code 0 after it had been healthy, and left nothing running.
    FINISHED = "finished"
    FAILED = "failed"
    #: Another program has its port.
    PORT_TAKEN = "port-taken"


class Listener(Protocol):
    """Who is told about an instance."""

    def changed(self, instance: "LocalInstance") -> object:
        """It shows another face."""

    def ended(self, instance: "LocalInstance") -> object:
        """It is known why it ends. Comes once, in time to be looked at before C{gone}."""

    def gone(self, instance: "LocalInstance") -> object:
        """Nothing of it is left. Comes once, at last."""


class LocalInstance:
    """
    Checks one running instance and decides when it has failed.

    @ivar phase: where it is.
    @ivar ending: why it ends; C{None} while it should run, and for an exit whose reason is not clear yet.
    @ivar started_at: when it was started or taken over, in the clock's seconds.
    @ivar was_healthy: whether it ever passed a check.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, service: Service, running: IRunning, *, probe: Probe, wall: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._description = service.description
        self.running = running
        self._probe = probe
        self._wall = wall
        self.phase = Phase.STARTING
        self.ending: Ending | None = None
        self.started_at = clock.seconds()
        self.was_healthy = running.was_healthy
        self._listener: Listener | None = None
        self._flags: frozenset[Flag] = frozenset()
        self._expired = running.expired
        self._explanation: Explanation | None = None
        self._last_output: tuple[str, ...] = ()
        self._last_check: HealthResult | None = None
        self._last_status: int | None = None
        self._failed_checks = FailedChecks()
        self._check: Deferred[HealthResult] | None = None
        self._checking = False
        self._next: IDelayedCall | None = None
        self._checking_since = 0.0
        self._grace: IDelayedCall | None = None
        self._looking: Deferred[Sequence[ListeningSocket]] | None = None

    def redescribe(self, description: ServiceDescription) -> None:
        """Go by another description from the next check on; a time of grace that has begun stays as it is."""
        self._description = description

    @property
    def id(self) -> str:
        """The instance id."""
        return self.running.id

    @property
    def active(self) -> bool:
        """Whether it runs and is meant to."""
        return self.phase in {Phase.STARTING, Phase.HEALTHY, Phase.UNHEALTHY}

    @property
    def grace_secs(self) -> float:
        """How long it may take to end when it is asked to."""
        return self._description.termination_grace_period_secs

    def begin(self, listener: "Listener") -> None:
        """Start to check it and to wait for its end. The listener is not told anything before this returns."""
        self._listener = listener
        self._checking = True
        self.running.watch(self._exited)
        self.running.limit(self._description.mem, self._exceeded)
        self._next = self._clock.callLater(FIRST_PAUSE_SECS, self._probe_now)
        if self._description.grace_period_secs > 0 and not self.was_healthy:
            self._grace = self._clock.callLater(self._description.grace_period_secs, self._grace_over)

    def view(self) -> Instance:
        """The instance as others see it."""
        flags = self._flags | {Flag.EXPIRED} if self._expired else self._flags
        explanation = self._explanation or self._seen_so_far()
        return Instance(
            id=self.id,
            service_id=self.running.service_id,
            started_at=self.running.created_at,
            healthy=self.phase is Phase.HEALTHY,
            host=HOST,
            port=self.running.ports[0],
            extra_ports=tuple(self.running.ports[1:]),
            protocol=self._description.backend_proto,
            flags=flags,
            exit_code=self.running.exit_code(),
            health_check_status=self._last_status,
            log_directory=self.running.log_directory,
            message=explanation.fact if explanation else None,
            advice=explanation.advice if explanation else None,
            last_output=self._last_output,
            status=self._status(),
        )

    def expire(self) -> None:
        """Mark it to be replaced."""
        self._expired = True
        self.running.note(expired=True)
        self._tell().changed(self)

    def kill(self, grace_secs: float) -> Deferred[None]:
        """End it because it was told to. Fires when nothing of it is left; see L{IRunning.terminate} for cancelling."""
        if self.active:
            self.running.note(killed=True)
            self._end(Ending.KILLED)
            self._terminate(grace_secs)
        return self.running.terminate(grace_secs)

    def leave(self) -> None:
        """Stop to look after it; it runs on."""
        self._stop_checking()
        self.running.leave()

    def _seen_so_far(self) -> Explanation | None:
        if self._last_check is None or self.phase not in {Phase.STARTING, Phase.UNHEALTHY}:
            return None
        return explanations.not_healthy_yet(self._last_check)

    def _status(self) -> str:
        if self.ending is Ending.KILLED:
            return "Killed"
        if self.ending is not None:
            return "Failed"
        return "Healthy" if self.phase is Phase.HEALTHY else "Unhealthy"

    def _tell(self) -> "Listener":
        if self._listener is None:
            raise RuntimeError("the instance has not begun")
        return self._listener

    def _become(self, phase: Phase) -> None:
        self.phase = phase
        self._tell().changed(self)

    def _probe_now(self) -> None:
        self._next = None
        self._checking_since = self._clock.seconds()
        patience = BUSY_PATIENCE_SECS if self.was_healthy else STARTING_PATIENCE_SECS
        self._check = self._probe.check(self.view(), self._description, patience_secs=patience)
        self._check.addCallbacks(self._checked, self._not_checked)

    def _not_checked(self, failure: Failure) -> None:
        self._check = None
        if not self._checking:
            return
        # A probe never fails; if it does all the same, that says nothing about the instance.
        self._log.failure("{id} could not be checked", failure, id=self.id)
        self._check_again()

    def _checked(self, result: HealthResult) -> None:
        self._check = None
        if not self._checking:
            return
        before, self._last_check = self._last_check, result
        if result.status is not None:
            self._last_status = result.status
        if result.healthy:
            self._passed()
        else:
            self._did_not_pass(result, before)
        if self._checking:
            self._check_again()

    def _passed(self) -> None:
        self._flags = frozenset()
        self._failed_checks = FailedChecks()
        if self.phase is Phase.HEALTHY:
            return
        if not self.was_healthy:
            self.was_healthy = True
            self.running.note(was_healthy=True)
        self._cancel_grace()
        self._become(Phase.HEALTHY)

    def _did_not_pass(self, result: HealthResult, before: HealthResult | None) -> None:
        now = self._clock.seconds()
        self._flags |= result.flags
        if not self.was_healthy:
            if before is None or (before.status, before.error) != (result.status, result.error):
                # What is seen of it may be what its user waits for: that it wants credentials, for example.
                self._tell().changed(self)
            return
        self._failed_checks = self._failed_checks.another(now)
        description = self._description
        if self._failed_checks.too_many(
            now,
            interval_secs=description.health_check_interval_secs,
            max_failures=description.health_check_max_consecutive_failures,
        ):
            self._fail(
                explanations.no_longer_healthy(
                    failures=self._failed_checks.count,
                    secs=now - self._failed_checks.first_at,
                    check=result,
                )
            )
        elif self.phase is Phase.HEALTHY:
            self._become(Phase.UNHEALTHY)

    def _check_again(self) -> None:
        if self.phase is Phase.STARTING:
            pause = starting_pause(self._clock.seconds() - self.started_at)
        elif self.phase is Phase.UNHEALTHY:
            pause = LONGEST_PAUSE_SECS
        else:
            pause = self._description.health_check_interval_secs
        self._next = self._clock.callLater(pause, self._probe_now)

    def _grace_over(self) -> None:
        self._grace = None
        if self._last_check is not None and Flag.HAS_CONNECTED in self._last_check.flags:
            self._never_passed(())
            return
        # It is told where it listens instead; meanwhile it may still pass.
        self._looking = self.running.listeners().addTimeout(_LOOK_SECS, self._clock)
        self._looking.addCallbacks(self._never_passed, self._not_seen)

    def _not_seen(self, failure: Failure) -> None:
        if self._looking is None:
            # It passed or ends.
            return
        self._log.failure("It cannot be found out where {id} listens", failure, id=self.id)
        self._never_passed(())

    def _never_passed(self, listeners: Sequence[ListeningSocket]) -> None:
        self._looking = None
        check = self._last_check
        port_name, port = self._checked_port()
        if self._check is not None and any(listener.reachable and listener.port == port for listener in listeners):
            # The first check that reached it is still open.
            url = health_url(self.view(), self._description) or ""
            secs = self._clock.seconds() - self._checking_since
            check = unanswered(url, TIMEOUT, connected=True, reason=f"was not answered within {secs:.1f} s")
            self._flags |= check.flags
        self._flags |= {Flag.NEVER_PASSED_HEALTH_CHECKS}
        self._fail(
            explanations.never_passed(
                grace_secs=self._description.grace_period_secs,
                check=check,
                port_name=port_name,
                port=port,
                listeners=listeners,
            )
        )

    def _checked_port(self) -> tuple[str, int]:
        index = self._description.health_check_port_index
        return f"$PORT{index}", self.running.ports[index] if index < len(self.running.ports) else 0

    def _exceeded(self, excess: Excess) -> None:
        if self.active:
            self._flags |= {excess.flag}
            self._explain(explanations.exceeded(excess), sure=True)
            self._end(Ending.FAILED)
            self._terminate(0)

    def _fail(self, explanation: Explanation) -> None:
        """End it because it does not work; what it still runs is ended like in a kill."""
        self._explain(explanation)
        self._end(Ending.FAILED)
        self._terminate(self._description.termination_grace_period_secs)

    def _exited(self, exit_code: int | None) -> None:
        if not self.active:
            return
        if exit_code != 0 and (self.was_healthy or self.running.taken_port() is None):
            self._exit_failed(exit_code)
        else:
            # The port may be another's or held by what the command left behind: after the clean-up that is clear.
            self._stop_checking()
            self._become(Phase.ENDING)
        self._terminate(0)

    def _exit_failed(self, exit_code: int | None) -> None:
        age = max(0.0, self._wall() - self.running.created_at)
        self._explain(
            explanations.exited(
                exit_code,
                age_secs=age,
                was_healthy=self.was_healthy,
                left_behind=self.running.left_behind(),
                has_output=bool(self.running.last_output()),
                kernel_kills=self.running.kernel_has_killed(),
            )
        )
        self._end(Ending.FAILED)

    def _terminate(self, grace_secs: float) -> None:
        self.running.terminate(grace_secs).addCallback(self._gone)

    def _gone(self, _: object) -> None:
        if self.ending is None:
            self._decide()
        self.phase = Phase.GONE
        self._tell().gone(self)

    def _decide(self) -> None:
        """Nothing is left of an instance that ended by itself: say why."""
        exit_code = self.running.exit_code()
        port = None if self.was_healthy else self.running.taken_port()
        if port is not None:
            self._explain(explanations.port_taken(port, exit_code))
            self._end(Ending.PORT_TAKEN)
        elif exit_code == 0 and self.was_healthy and not self.running.left_behind():
            self._end(Ending.FINISHED)
        else:
            self._exit_failed(exit_code)

    def _explain(self, explanation: Explanation, *, sure: bool = False) -> None:
        lack = None if sure else self.running.lack_of_room()
        if lack is not None:
            explanation = explanations.with_lack_of_room(explanation, lack)
        self._explanation = explanation
        self._last_output = self.running.last_output()
        self.running.note(failed=True, message=str(explanation))

    def _end(self, why: Ending) -> None:
        self._stop_checking()
        self.ending = why
        self.phase = Phase.ENDING
        self._tell().ended(self)

    def _stop_checking(self) -> None:
        self._checking = False
        self._cancel_grace()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._check is not None:
            self._check.cancel()

    def _cancel_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
