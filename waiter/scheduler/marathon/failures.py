"""The instances that failed, as far as Marathon has told."""

from collections.abc import Callable, Collection, Iterable

import attrs

from waiter.model.instance import Instance

MOST_FAILURES = 10


class Failures:
    """
    Remembers the latest failed instances of each service; Marathon itself knows only the very last one.

    What was known of an instance while it lived is kept: where it listened and when it started.

    @ivar ended_at: when those ended of which that is known, in seconds since the epoch.
    """

    def __init__(self, most: int = MOST_FAILURES) -> None:
        self._most = most
        self._services: dict[str, dict[str, Instance]] = {}
        self.ended_at: dict[str, float] = {}

    def add(self, failure: Instance, seen: Instance | None = None) -> bool:
        """
        @param seen: the same instance as it was while it lived, if it was seen.
        @return: whether it is new.
        """
        failed = self._services.setdefault(failure.service_id, {})
        if failure.id in failed:
            return False
        if failure.started_at is not None:
            self.ended_at[failure.id] = failure.started_at
        if seen is not None:
            failure = attrs.evolve(
                failure,
                started_at=failure.started_at if seen.started_at is None else seen.started_at,
                host=seen.host,
                port=seen.port,
                extra_ports=seen.extra_ports,
                log_directory=failure.log_directory or seen.log_directory,
            )
        failed[failure.id] = failure
        if len(failed) > self._most:
            oldest = min(failed.values(), key=lambda instance: instance.order)
            self._forget(failed, oldest.id)
        return failure.id in failed

    def change(self, instance_id: str, service_id: str, change: Callable[[Instance], Instance]) -> None:
        """Replace a failed instance by another view of it, if it is still remembered."""
        failed = self._services.get(service_id, {})
        if instance_id in failed:
            failed[instance_id] = change(failed[instance_id])

    def living(self, service_id: str, instance_ids: Collection[str]) -> None:
        """These live after all."""
        failed = self._services.get(service_id)
        if failed:
            for instance_id in failed.keys() & set(instance_ids):
                self._forget(failed, instance_id)

    def of(self, service_id: str) -> tuple[Instance, ...]:
        """Those of a service, in instance order."""
        return tuple(sorted(self._services.get(service_id, {}).values(), key=lambda instance: instance.order))

    def retain(self, service_ids: Iterable[str]) -> None:
        """Forget those of all other services."""
        kept = set(service_ids)
        for service_id in self._services.keys() - kept:
            for instance_id in self._services.pop(service_id):
                self.ended_at.pop(instance_id, None)

    def _forget(self, failed: dict[str, Instance], instance_id: str) -> None:
        del failed[instance_id]
        self.ended_at.pop(instance_id, None)
