"""Gives up instances that Marathon neither starts nor is about to start."""

from collections.abc import Callable, Mapping

import attrs
from twisted.internet.interfaces import IReactorTime

from waiter.scheduler.marathon.translation import App


@attrs.frozen
class _Mismatch:
    """An app that nobody changes has another number of tasks than it should."""

    instances: int
    tasks: int
    since: float


class Upkeep:
    """
    Notices apps that no deployment changes and that yet have another number of tasks than they should, for long: their
    deployment was ended half way. They are to be set to what they have.

    Only the leader acts. Others forget what they saw, so that a new leader waits for the whole time.
    """

    def __init__(self, clock: IReactorTime, is_leader: Callable[[], bool], *, patience_secs: float = 60.0) -> None:
        self._clock = clock
        self._is_leader = is_leader
        self._patience_secs = patience_secs
        self._seen: dict[str, _Mismatch] = {}

    def due(self, apps: Mapping[str, App], asked: Callable[[str], int | None]) -> dict[str, int]:
        """
        The apps that are stuck now, with the number of instances that they should have.

        @param apps: all there are, by service id, with their deployments.
        @param asked: how many instances of a service were asked for, if that is known to differ from what Marathon says.
        """
        if not self._is_leader():
            self._seen.clear()
            return {}
        now = self._clock.seconds()
        seen: dict[str, _Mismatch] = {}
        for service_id, app in apps.items():
            tasks = len(app.tasks)
            if app.deployments or app.instances == tasks or asked(service_id) is not None:
                continue
            before = self._seen.get(service_id)
            same = before is not None and (before.instances, before.tasks) == (app.instances, tasks)
            seen[service_id] = before if before is not None and same else _Mismatch(app.instances, tasks, now)
        self._seen = seen
        return {
            service_id: mismatch.instances
            for service_id, mismatch in seen.items()
            if now - mismatch.since > self._patience_secs
        }
