"""The services that anybody ever asked for."""

import json
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import attrs
from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from waiter.catalog.interface import IStore
from waiter.catalog.overrides import NONE
from waiter.catalog.rules import Constraints, Rules
from waiter.catalog.service_id import DEFAULT_PREFIX, service_id
from waiter.catalog.uses import Uses
from waiter.catalog.validation import check_overrides, describe
from waiter.errors import ServiceUnavailable, WaiterError
from waiter.model.description import ServiceDescription
from waiter.model.service import Service
from waiter.support.shared import Shared
from waiter.support.topic import Topic

#: Under which keys of the store the services are.
KEY_PREFIX = "service/"

_READ_AT_ONCE = 500
_UNBOUNDED = Constraints(cmd_length=sys.maxsize, cpus=float("inf"), mem=float("inf"))
_MOST_CHANGED = 200


class ServiceCatalog(TwistedService):
    """
    Every service with its description: in memory for the requests, in the store for the next start.

    What is stored is the core. The effective description is made from it at each start, with the defaults that hold
    then.

    Services that were of no use for long are forgotten. Whoever asks for one again describes it again, so nothing is lost.

    @ivar rules: how descriptions are made whole and judged.
    @ivar forgotten: told the ids of services that were just forgotten.
    @ivar redescribed: told services whose descriptions are others now.
    """

    name = "service catalog"
    _log = Logger()

    def __init__(
        self,
        store: IStore,
        *,
        prefix: str = DEFAULT_PREFIX,
        rules: Rules | None = None,
        overrides: Callable[[str], Mapping[str, Any]] = lambda _: NONE,
        keep_unused_secs: float = float("inf"),
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        @param prefix: what service ids begin with.
        @param rules: how descriptions are made whole and judged.
        @param overrides: what holds for a service, by its id, instead of what was asked for. L{reconsider} has to be told
            of each change.
        @param keep_unused_secs: how long services that are not in use are remembered.
        @param wall: seconds since the epoch.
        @raise ValueError: the prefix is none.
        """
        if not re.fullmatch(r"[a-z0-9-]+", prefix):
            raise ValueError(f"service ids cannot begin with {prefix!r}: use lower-case letters, digits and dashes")
        self._store = store
        self._prefix = prefix
        self.rules = rules or Rules()
        self._overrides = overrides
        self.forgotten: Topic[Collection[str]] = Topic()
        self.redescribed: Topic[Service] = Topic()
        self._wall = wall
        self._uses = Uses(keep_unused_secs)
        self._services: dict[str, Service] = {}
        # Known as long as this process runs, and not stored.
        self._revived: dict[str, Service] = {}
        self._remembering: dict[str, Shared[Service]] = {}
        self._end_watch: Callable[[], None] | None = None

    @property
    def services(self) -> Mapping[str, Service]:
        """All services, by id: a view, not a copy."""
        return MappingProxyType(self._services)

    def startService(self) -> Deferred[None]:
        """
        Read what is stored, and from now on what others who share the store add to it. A description that does not hold any more
        is logged and left out.

        Fails if the store does; cancelling ends the reading.
        """
        super().startService()
        self._end_watch = self._store.watch(KEY_PREFIX, self._changed)
        return Deferred.fromCoroutine(self._load())

    def stopService(self) -> None:
        """Hear no more of what others add."""
        super().stopService()
        if self._end_watch is not None:
            self._end_watch()
            self._end_watch = None

    def get(self, service_id: str) -> Service | None:
        """The service of this id, if it was ever asked for."""
        return self._services.get(service_id) or self._revived.get(service_id)

    def revive(self, service_id: str, core: Mapping[str, Any]) -> Service | None:
        """
        Make the service of an instance that runs known, though it is stored nowhere or is more than a description may ask
        for today. Nobody gets an instance more by that: who asks for the service has to describe it as it may be.

        @param core: the parameters that were given when the instance was started.
        @return: C{None} if they describe nothing.
        """
        try:
            coerced, description = describe(core, attrs.evolve(self.rules, constraints=_UNBOUNDED))
        except (TypeError, ValueError, WaiterError) as error:
            self._log.error("The service {service_id} cannot be revived: {error}", service_id=service_id, error=error)
            return None
        self._revived[service_id] = service = self._service(service_id, coerced, description)
        if self._may_be_asked_for(service):
            # For the next start. That it could not be stored is logged, and the instances run all the same.
            self.remember(service).addErrback(lambda _: None)
        return service

    def describe(self, core: Mapping[str, Any]) -> Service:
        """
        The service that these parameters describe, whether or not it is known.

        @param core: parameters under their outside names, not yet coerced.
        @raise ServiceMisconfigured: they do not hold.
        """
        coerced, description = describe(core, self.rules)
        return self._service(service_id(coerced, prefix=self._prefix), coerced, description)

    def check_overrides(self, service: Service, overrides: Mapping[str, Any]) -> Mapping[str, Any]:
        """
        Overrides of a service in the form in which they are stored.

        @param overrides: parameters under their outside names, not yet coerced.
        @raise WaiterError: they cannot be overridden, or do not hold for this service.
        """
        return check_overrides(service.core, overrides, self.rules)

    def reconsider(self, service_id: str) -> None:
        """What is overridden of this service has changed."""
        for services in (self._services, self._revived):
            service = services.get(service_id)
            if service is not None:
                _, description = describe(service.core, attrs.evolve(self.rules, constraints=_UNBOUNDED))
                services[service_id] = service = self._service(service_id, service.core, description)
                self.redescribed.publish(service)

    def _service(self, service_id: str, core: Mapping[str, Any], description: ServiceDescription) -> Service:
        overrides = self._overrides(service_id)
        if overrides:
            try:
                _, description = describe(core, attrs.evolve(self.rules, constraints=_UNBOUNDED), overrides=overrides)
            except WaiterError as error:
                self._log.error(
                    "The overrides of {service_id} do not hold any more and are left out: {error}. Set others.",
                    service_id=service_id,
                    error=error.details.get("friendly-error-message", error),
                )
        return Service(id=service_id, core=core, description=description)

    def remember(self, service: Service) -> Deferred[Service]:
        """
        Make the service known, once and for good: fires with the service as it is known, when it is stored durably.

        Many may ask for the same at once; it is written once. Cancelling ends this caller's wait alone.

        @raise ServiceUnavailable: (in the Deferred) it could not be stored.
        """
        known = self._services.get(service.id)
        if known is not None:
            return succeed(known)
        remembering = self._remembering.get(service.id)
        if remembering is None:
            # Without an expected version: the id is made from what is written, so whoever wrote it before wrote the same.
            now = self._wall()
            storing = self._store.put(KEY_PREFIX + service.id, _written(service, now))
            remembering = Shared(storing.addCallback(self._stored, service, now).addErrback(self._not_stored, service))
            if not remembering.fired:
                self._remembering[service.id] = remembering
        return remembering.wait()

    def _may_be_asked_for(self, service: Service) -> bool:
        try:
            return self.describe(service.core).id == service.id
        except WaiterError:
            return False

    def see_in_use(self, service_ids: Iterable[str]) -> None:
        """These services are in use, and no others. To be told each time that changes."""
        self._uses.see(service_ids, self._wall())

    def tidy(self, needed: Collection[str] = ()) -> Deferred[None]:
        """
        Forget services that were of no use for long, and store when the others were; a bounded number at a time.

        Fails if the store does; the rest is done the next time. Cancelling ends it.

        @param needed: services that are needed now although they may not be in use yet.
        """
        return Deferred.fromCoroutine(self._tidy(needed))

    async def _tidy(self, needed: Collection[str]) -> None:
        now = self._wall()
        if unused := self._uses.unused(needed, now, _MOST_CHANGED):
            # From memory first: whoever asks from now on has it stored again, after it is deleted.
            for service_id in unused:
                self._services.pop(service_id, None)
                self._revived.pop(service_id, None)
                self._uses.forget(service_id)
            self.forgotten.publish(unused)
            self._log.info("Services forgotten because nobody asked for them any more: {count}", count=len(unused))
            await gatherResults([self._store.delete(KEY_PREFIX + each) for each in unused], consumeErrors=True)
        for service_id, at in self._uses.unwritten(needed, now, _MOST_CHANGED):
            service = self._services.get(service_id)
            if service is not None:
                await self._store.put(KEY_PREFIX + service_id, _written(service, at))
                self._uses.wrote(service_id, at)

    def _stored(self, _: int, service: Service, at: float) -> Service:
        self._remembering.pop(service.id, None)
        self._uses.wrote(service.id, at)
        self._revived.pop(service.id, None)
        self._services[service.id] = service
        return service

    def _not_stored(self, failure: Failure, service: Service) -> NoReturn:
        self._remembering.pop(service.id, None)
        self._log.failure("The description of {service_id} could not be stored", failure, service_id=service.id)
        raise ServiceUnavailable(
            f"The description of the service could not be stored: {failure.getErrorMessage()}",
            details={"service-id": service.id},
        )

    async def _load(self) -> None:
        keys = await self._store.keys(KEY_PREFIX)
        for first in range(0, len(keys), _READ_AT_ONCE):
            some = keys[first : first + _READ_AT_ONCE]
            for key, (value, _) in (await self._store.get_many(some)).items():
                self._revive(key.removeprefix(KEY_PREFIX), value)

    def _changed(self, key: str) -> None:
        stored_id = key.removeprefix(KEY_PREFIX)
        if stored_id in self._services or stored_id in self._remembering:
            return

        def read(record: tuple[bytes, int] | None) -> None:
            if record is not None and stored_id not in self._services:
                self._revive(stored_id, record[0])

        self._store.get(key).addCallback(read).addErrback(
            lambda failure: self._log.failure("{service_id} could not be read", failure, service_id=stored_id)
        )

    def _revive(self, stored_id: str, value: bytes) -> None:
        try:
            stored, used_at = _read(value)
        except ValueError as error:
            self._log.error(
                "The record of the service {service_id} cannot be read and is left out: {error}",
                service_id=stored_id,
                error=error,
            )
            return
        now = self._wall()
        try:
            core, description = describe(stored, self.rules)
        except WaiterError as error:
            if used_at is not None:
                self._uses.read(stored_id, used_at, now)
            self._log.error(
                "The stored service {service_id} does not hold with the settings [defaults] and [constraints] of today and "
                "is left out: {error}. Instances of it that still run go on, but nobody can ask for it: set back what "
                "was changed, or have its clients send a description that holds.",
                service_id=stored_id,
                error=error.details.get("friendly-error-message", error),
            )
            return
        self._uses.read(stored_id, used_at, now)
        # Under its own id, even if such a description would get another one today: its instances bear this one.
        self._services[stored_id] = self._service(stored_id, core, description)


def _written(service: Service, used_at: float) -> bytes:
    record = {"core": service.core, "used-at": int(used_at)}
    return json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _read(value: bytes) -> tuple[Mapping[str, Any], float | None]:
    """
    The core, and when it was of use last, if that is stored.

    @raise ValueError: this is not what L{_written} writes.
    """
    record = json.loads(value)
    core = record.get("core") if isinstance(record, dict) else None
    if not isinstance(core, dict):
        raise ValueError("the record holds no description")  # noqa: TRY004 - it is about a value, not an argument
    used_at = record.get("used-at")
    return core, float(used_at) if isinstance(used_at, int) else None
