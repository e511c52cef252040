"""Changes of apps: creating, scaling and deleting them, and what keeps Marathon from it."""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from waiter.errors import ServiceFailing, ServiceNotFound
from waiter.scheduler.interface import DeleteResult
from waiter.scheduler.marathon.bell import Bell
from waiter.scheduler.marathon.client import MarathonClient
from waiter.scheduler.marathon.errors import MarathonError, MarathonRefused
from waiter.scheduler.marathon.translation import (
    affects,
    locking_deployments,
    old_stop,
    scale_json,
    words,
)

_SHORTEST_PAUSE_SECS = 0.05
_LONGEST_PAUSE_SECS = 1.0


class Deployments:
    """
    Changes apps. Nothing is sent unless Marathon has answered a question a moment before: what is sent to one that hangs
    would be done when nobody expects it any more.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: MarathonClient,
        bell: Bell,
        *,
        wall: Callable[[], float],
        old_stop_secs: float = 300.0,
        gone_within_secs: float = 330.0,
    ) -> None:
        """
        @param bell: rung when something may have changed.
        @param old_stop_secs: the age at which a deployment that stops an app is given up, if the app is wanted again.
        @param gone_within_secs: how long the end of what is being deleted is waited for.
        """
        self._clock = clock
        self._client = client
        self._bell = bell
        self._wall = wall
        self._old_stop_secs = old_stop_secs
        self._gone_within_secs = gone_within_secs

    async def create(self, service_id: str, app: Mapping[str, Any]) -> bool:
        """
        Post an app, unless it is there.

        @return: whether it is new.
        @raise ServiceFailing: Marathon does not take such an app.
        @raise MarathonError: it could not be posted now.
        """
        if await self._client.app(service_id) is not None:
            return False
        try:
            return await self._post(app)
        except MarathonRefused as refusal:
            if refusal.status != 409:
                raise
            if not locking_deployments(refusal.answer):
                # Somebody was faster.
                return False
            if not await self._end_old_stop(locking_deployments(refusal.answer)):
                raise
            return await self._post(app)

    async def scale(self, service_id: str, instances: int, *, force: bool) -> int:
        """
        Set the number of instances, but not lower than what runs, as Marathon would stop it.

        @param force: whether to end what is being done with the app.
        @return: the number that was set.
        @raise ServiceNotFound: there is no such app.
        @raise MarathonError: it could not be set now.
        """
        app = await self._client.app(service_id)
        if app is None:
            raise ServiceNotFound(f"There is no service {service_id} at Marathon")
        if force:
            await self._end_deployment_of(service_id)
        number = max(instances, len(app.get("tasks") or ()))
        if number != app.get("instances"):
            try:
                await self._client.update(service_id, scale_json(app, number))
            except MarathonRefused as refusal:
                if refusal.status == 404:
                    raise ServiceNotFound(f"There is no service {service_id} at Marathon") from None
                raise
        return number

    async def settle(self, service_id: str, instances: int) -> None:
        """
        Set the number of instances to what runs, unless the app is being changed, or was since it was to run this number.

        @param instances: how many it was to run when it was last seen.
        @raise MarathonError: it could not be set now.
        """
        app = await self._client.app(service_id)
        if app is None or app.get("deployments") or app.get("instances") != instances:
            return
        number = len(app.get("tasks") or ())
        if number != instances:
            self._log.warn(
                "{service_id} got stuck: nothing changes it, and it has another number of instances than it should. "
                "It is set to {number}.",
                service_id=service_id,
                number=number,
            )
            await self._client.update(service_id, scale_json(app, number))

    async def delete(self, service_id: str, accepted: Callable[[], object]) -> DeleteResult:
        """
        Delete an app and wait for the end of its tasks.

        @param accepted: told as soon as Marathon does it.
        """
        missing = DeleteResult(result="no-such-service-exists", message=f"There is no service {service_id} at Marathon")
        try:
            if await self._client.app(service_id) is None:
                return missing
            answer = await self._delete(service_id)
        except MarathonRefused as refusal:
            if refusal.status == 404:
                return missing
            return DeleteResult(result="error", message=str(refusal))
        except MarathonError as error:
            return DeleteResult(result="error", message=str(error))
        if "deploymentId" not in answer:
            return DeleteResult(result="error", message="Marathon did not say that it deletes the app")
        accepted()
        await self._ended(answer["deploymentId"])
        return DeleteResult(result="deleted", message=f"Deleted {service_id}")

    async def _delete(self, service_id: str) -> Mapping[str, Any]:
        try:
            return await self._client.delete(service_id, force=False)
        except MarathonRefused as refusal:
            if refusal.status != 409:
                raise
            # A service that never becomes healthy is being deployed for ever.
            return await self._client.delete(service_id, force=True)

    async def _post(self, app: Mapping[str, Any]) -> bool:
        try:
            await self._client.create(app)
        except MarathonRefused as refusal:
            if refusal.status in {400, 422}:
                raise ServiceFailing(f"Marathon does not take the service: {words(refusal.answer)}") from None
            raise
        return True

    async def _end_old_stop(self, locking: list[str]) -> bool:
        """End one of these deployments if it has been stopping an app for too long; whether there was one."""
        for deployment in await self._client.deployments():
            if deployment.get("id") in locking and old_stop(
                deployment, now=self._wall(), older_than_secs=self._old_stop_secs
            ):
                self._log.warn(
                    "Deployment {id} has been stopping an app for too long; it is ended", id=deployment["id"]
                )
                await self._client.delete_deployment(deployment["id"])
                return True
        return False

    async def _end_deployment_of(self, service_id: str) -> None:
        for deployment in await self._client.deployments():
            if affects(deployment, service_id) and isinstance(deployment.get("id"), str):
                await self._client.delete_deployment(deployment["id"])
                return

    async def _ended(self, deployment_id: str) -> None:
        """Wait for the end of a deployment."""
        pause_secs = _SHORTEST_PAUSE_SECS
        give_up_at = self._clock.seconds() + self._gone_within_secs
        while self._clock.seconds() < give_up_at:
            try:
                if deployment_id not in {each.get("id") for each in await self._client.deployments()}:
                    return
            except MarathonError as error:
                self._log.debug("It is not known whether {id} has ended: {why}", id=deployment_id, why=error)
            await self._bell.wait(pause_secs)
            pause_secs = min(_LONGEST_PAUSE_SECS, pause_secs * 2)
