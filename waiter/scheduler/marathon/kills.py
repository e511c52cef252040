"""Stops instances, those of one service together where that saves a turn."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from waiter.model.instance import Instance
from waiter.scheduler.interface import KillResult
from waiter.scheduler.marathon.bell import Bell
from waiter.scheduler.marathon.client import MarathonClient
from waiter.scheduler.marathon.errors import MarathonError, MarathonRefused
from waiter.scheduler.marathon.translation import ENDED, instance_id_of
from waiter.support.background import Background

_SHORTEST_PAUSE_SECS = 0.05
_LONGEST_PAUSE_SECS = 1.0
_LOCK_PATIENCE_SECS = 1.0

Asked = tuple[Instance, str, "Deferred[KillResult]"]


@attrs.define(kw_only=True)
class _Desk:
    """
    What is being killed of one service.

    @ivar asked: those that wait for their turn: the instance, what to say when it is done, whom to tell.
    @ivar failing_since: when kills began to fail, in the clock's seconds; C{None} if the last one did not.
    """

    asked: list[Asked] = attrs.field(factory=list)
    busy: bool = False
    failing_since: float | None = None


class Kills:
    """
    Kills tasks and lowers the number of instances of their app by as many.

    That is a deployment, and a second one is refused while the first is under way: so those of one service that are asked
    for meanwhile wait, and are then killed together. Nothing is killed that Marathon has not listed a moment before.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: MarathonClient,
        background: Background,
        bell: Bell,
        *,
        accepted: Callable[[Instance], object],
        was_killed: Callable[[str], bool],
        force_after_secs: float = 60.0,
        gone_within_secs: float = 330.0,
    ) -> None:
        """
        @param bell: rung when something may have changed.
        @param accepted: told each instance that Marathon is killing.
        @param was_killed: whether an instance is known to be dead.
        @param force_after_secs: how long the kills of a service may have been failing before the lock of its app is broken.
        @param gone_within_secs: how long the end of what is being killed is waited for.
        """
        self._clock = clock
        self._client = client
        self._background = background
        self._bell = bell
        self._accepted = accepted
        self._was_killed = was_killed
        self._force_after_secs = force_after_secs
        self._gone_within_secs = gone_within_secs
        self._desks: dict[str, _Desk] = {}

    def kill(self, instance: Instance, message: str) -> Deferred[KillResult]:
        """
        Kill one instance. Fires when it is gone, or with the reason why it is not being killed; never fails but by being
        cancelled, which takes the request back if it was not sent yet.

        @param message: what to say if it is done.
        """
        desk = self._desks.setdefault(instance.service_id, _Desk())
        told: Deferred[KillResult] = Deferred(
            lambda told: desk.asked.__setitem__(slice(None), [each for each in desk.asked if each[2] is not told])
        )
        desk.asked.append((instance, message, told))
        if not desk.busy:
            self._background.start(self._work(instance.service_id, desk), f"Killing instances of {instance.service_id}")
        return told

    def forget(self, service_id: str) -> None:
        """The service was deleted: its failed kills count no more."""
        desk = self._desks.get(service_id)
        if desk is not None:
            desk.failing_since = None
            self._put_away(service_id, desk)

    def state(self) -> Mapping[str, Any]:
        """Those that are under way and those that fail; JSON-able."""
        now = self._clock.seconds()
        return {
            service_id: {
                "busy": desk.busy,
                "waiting": [instance.id for instance, _, _ in desk.asked],
                "failing-secs": None if desk.failing_since is None else round(now - desk.failing_since, 1),
            }
            for service_id, desk in self._desks.items()
            if desk.busy or desk.asked or desk.failing_since is not None
        }

    async def _work(self, service_id: str, desk: _Desk) -> None:
        desk.busy = True
        asked: list[Asked] = []
        try:
            while desk.asked:
                asked, desk.asked = desk.asked, []
                try:
                    await self._kill_all(service_id, desk, asked)
                except CancelledError:
                    raise
                except Exception:  # noqa: BLE001 - nobody must wait for ever
                    self._log.failure("Instances of {service_id} could not be killed", service_id=service_id)
                    for instance, _, told in asked:
                        _tell(told, instance, 500, "Unable to kill instance")
        except CancelledError:
            for instance, _, told in (*asked, *desk.asked):
                _tell(told, instance, 503, "Waiter is stopping")
            desk.asked = []
            raise
        finally:
            desk.busy = False
            self._put_away(service_id, desk)

    def _put_away(self, service_id: str, desk: _Desk) -> None:
        if desk.failing_since is None and not desk.asked and not desk.busy:
            self._desks.pop(service_id, None)

    async def _kill_all(self, service_id: str, desk: _Desk, asked: list[Asked]) -> None:
        try:
            asked = self._present(asked, await self._living(service_id))
            if not asked:
                return
            task_ids = [instance.id for instance, _, _ in asked]
            answer = await self._send(service_id, desk, task_ids)
        except (MarathonError, ValueError) as error:
            self._failed(service_id, desk, asked, error)
            return
        deployment_id = answer.get("deploymentId")
        if deployment_id is None:
            self._failed(service_id, desk, asked, None)
            return
        desk.failing_since = None
        for instance, _, _ in asked:
            self._accepted(instance)
        await self._gone(service_id, set(task_ids), deployment_id)
        for instance, message, told in asked:
            _tell(told, instance, 200, message, killed=True)

    async def _send(self, service_id: str, desk: _Desk, task_ids: list[str]) -> Mapping[str, Any]:
        """Let them be killed; a lock is given a moment to go away, as it does when the last instance has just started."""
        give_up_at = self._clock.seconds() + _LOCK_PATIENCE_SECS
        while True:
            try:
                return await self._client.kill(service_id, task_ids, force=self._force(desk))
            except MarathonRefused as refusal:
                if refusal.status != 409 or self._clock.seconds() >= give_up_at:
                    raise
            await self._bell.wait(_LOCK_PATIENCE_SECS / 5)

    def _force(self, desk: _Desk) -> bool:
        return desk.failing_since is not None and self._clock.seconds() - desk.failing_since > self._force_after_secs

    def _failed(self, service_id: str, desk: _Desk, asked: list[Asked], error: Exception | None) -> None:
        if desk.failing_since is None:
            desk.failing_since = self._clock.seconds()
        status, message = 500, "Unable to kill instance"
        if isinstance(error, MarathonRefused):
            status = error.status
            message = "Locked by one or more deployments" if status == 409 else str(error)
        elif error is not None:
            status, message = 503, str(error)
        self._log.warn("Instances of {service_id} are not killed: {message}", service_id=service_id, message=message)
        for instance, _, told in asked:
            _tell(told, instance, status, message)

    def _present(self, asked: list[Asked], living: set[str] | None) -> list[Asked]:
        """Those that live; the others are answered."""
        present = []
        for instance, message, told in asked:
            if living is not None and instance.id in living and not self._was_killed(instance.id):
                present.append((instance, message, told))
            elif self._was_killed(instance.id):
                _tell(told, instance, 400, f"{instance.id} is already dead or being killed")
            elif living is None:
                _tell(told, instance, 404, f"There is no service {instance.service_id} at Marathon")
            else:
                _tell(told, instance, 404, f"There is no instance {instance.id}")
        return present

    async def _living(self, service_id: str) -> set[str] | None:
        """The ids of the tasks of an app; C{None} if there is no app."""
        app = await self._client.app(service_id)
        if app is None:
            return None
        try:
            return {instance_id_of(task["id"]) for task in app.get("tasks") or () if task.get("state") not in ENDED}
        except (AttributeError, KeyError, TypeError):
            raise ValueError(f"the tasks of {service_id} are not understood") from None

    async def _gone(self, service_id: str, task_ids: set[str], deployment_id: str) -> None:
        """Wait until the tasks have ended and the app can be changed again."""
        pause_secs = _SHORTEST_PAUSE_SECS
        give_up_at = self._clock.seconds() + self._gone_within_secs
        while self._clock.seconds() < give_up_at:
            try:
                app = await self._client.app(service_id)
                if app is None:
                    return
                left = task_ids.intersection(instance_id_of(each["id"]) for each in app.get("tasks") or ())
                if not left and deployment_id not in {each["id"] for each in app.get("deployments") or ()}:
                    return
            except (MarathonError, AttributeError, KeyError, TypeError) as error:
                self._log.debug("It is not known whether tasks of {id} are gone: {why}", id=service_id, why=error)
            await self._bell.wait(pause_secs)
            pause_secs = min(_LONGEST_PAUSE_SECS, pause_secs * 2)


def _tell(told: Deferred[KillResult], instance: Instance, status: int, message: str, *, killed: bool = False) -> None:
    if not told.called:
        told.callback(
            KillResult(
                service_id=instance.service_id, instance_id=instance.id, killed=killed, message=message, status=status
            )
        )
