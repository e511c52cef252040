"""Ends single instances of services that go on, and says what became of it."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, DeferredList, succeed

from waiter.scheduler.interface import KillResult, Signal
from waiter.scheduler.local.instance import Ending, LocalInstance
from waiter.scheduler.local.interface import IRunner
from waiter.scheduler.local.service import LocalService

T = TypeVar("T")


class Kills:
    """One instance less is wanted of a service of which one is killed."""

    def __init__(self, services: Mapping[str, LocalService], runner: IRunner) -> None:
        """@param services: by their ids; kept by the caller."""
        self._services = services
        self._runner = runner

    def signal(self, service_id: str, instance_id: str, signal: Signal) -> Deferred[KillResult]:
        """See L{IScheduler.signal<waiter.scheduler.interface.IScheduler.signal>}."""
        done = f"{signal.value} successfully sent to {instance_id}"
        if signal is not Signal.EXPIRE:
            return self.kill(service_id, instance_id, done, force=signal is Signal.FORCE_KILL)
        instance = self._find(service_id, instance_id)
        if instance is None or not instance.active:
            return succeed(self._refusal(service_id, instance_id))
        instance.expire()
        return succeed(
            KillResult(service_id=service_id, instance_id=instance_id, killed=False, message=done, status=200)
        )

    def kill(self, service_id: str, instance_id: str, done: str, *, force: bool = False) -> Deferred[KillResult]:
        """
        End an instance. Fires when nothing of it is left; cancelling that does not save it.

        @param done: what to say then.
        @param force: without a grace period, not even for a kill that is under way.
        """
        instance = self._find(service_id, instance_id)
        if instance is None or not (instance.active or (force and instance.ending is Ending.KILLED)):
            return succeed(self._refusal(service_id, instance_id))
        if instance.active:
            entry = self._services[service_id]
            entry.requested = max(0, entry.requested - 1)
        killed: Deferred[KillResult] = Deferred()
        result = KillResult(service_id=service_id, instance_id=instance_id, killed=True, message=done, status=200)
        answer_after([instance.kill(0 if force else instance.grace_secs)], killed, result)
        return killed

    def _find(self, service_id: str, instance_id: str) -> LocalInstance | None:
        entry = self._services.get(service_id)
        return None if entry is None else entry.instances.get(instance_id)

    def _refusal(self, service_id: str, instance_id: str) -> KillResult:
        """Why an instance cannot be signalled that does not run."""
        status, message = 404, f"There is no instance {instance_id}"
        if service_id not in self._services:
            message = f"There is no service {service_id} on this machine"
        elif self._find(service_id, instance_id) is not None or self._runner.path(service_id, instance_id) is not None:
            status, message = 400, f"{instance_id} is already dead or being killed"
        return KillResult(service_id=service_id, instance_id=instance_id, killed=False, message=message, status=status)


def answer_after(killing: Sequence[Deferred[None]], asked: Deferred[T], answer: T) -> None:
    """Answer when all kills are done, unless whoever asked has gone away."""
    DeferredList(killing).addCallback(lambda _: None if asked.called else asked.callback(answer))
