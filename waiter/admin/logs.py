"""What instances wrote."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from twisted.web.server import Request

from waiter.admin.arguments import Arguments, arguments, first
from waiter.admin.endpoint import Answer, json_answer
from waiter.admin.log_file import LogFile
from waiter.admin.log_follow import FollowedLog, Span
from waiter.admin.log_frames import Events, PlainText
from waiter.admin.parts import Parts
from waiter.admin.views import logs_url
from waiter.errors import BadRequest, ServiceNotFound, Unauthorized
from waiter.scheduler.interface import LogEntry, LoggedInstance
from waiter.telemetry.timing import iso_time

#: The most lines that C{tail} can ask for.
MOST_LINES = 10000
_TAIL_DIGITS = 9
_OFFSET_DIGITS = 18
# What only makes sense for one instance.
_LISTING = frozenset({"instance-id", "host", "directory"})


class Logs:
    """
    Lists the log directories of instances and serves their files. Which files there are is only the scheduler's to say.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def listing(self, request: Request, service_id: str) -> Answer:
        """
        The instances of which there are files; with C{instance-id}, what is in C{directory} of one's log directory, or in
        that itself.

        @raise BadRequest: a parameter is missing.
        @raise Unauthorized: the caller may not see them.
        @raise NotFound: no such service, instance or directory.
        """
        given = arguments(request)
        instance_id, host = first(given, "instance-id"), first(given, "host")
        if not instance_id and _LISTING.intersection(given):
            raise BadRequest("Missing instance-id parameter")
        self._check(request, service_id)
        if not instance_id:
            return await self._instances(service_id)
        entries = await self._parts.scheduler.log_entries(service_id, instance_id, first(given, "directory") or "")
        return json_answer([self._entry(service_id, instance_id, host, entry) for entry in entries])

    async def file(self, request: Request, service_id: str, instance_id: str, path: str) -> LogFile | FollowedLog:
        """
        One file: what is there now or the part of it that C{Range} asks for; with C{tail} its last lines; with C{follow}
        also what is written from now on, as plain text or, if C{Accept} says so, as events.

        @raise BadRequest: C{follow} or C{tail} is not what it can be.
        @raise Unauthorized: the caller may not see it.
        @raise NotFound: no such service, instance or file.
        """
        given = arguments(request)
        events = _wants_events(request)
        follow = _follow(given, events=events)
        tail = _tail(given)
        after = _last_event_id(request) if events else None
        self._check(request, service_id)
        log = await self._parts.scheduler.log(service_id, instance_id, path)
        if not follow and tail is None:
            return LogFile(self._parts.clock, log)
        return FollowedLog(
            self._parts.clock,
            log,
            Events() if events else PlainText(),
            Span(follow=follow, tail=tail, after=after, stopping=self._parts.is_draining),
        )

    async def _instances(self, service_id: str) -> Answer:
        instances = await self._parts.scheduler.logged_instances(service_id)
        known = service_id in self._parts.aggregator.state.services or self._parts.services.get(service_id) is not None
        if not instances and not known:
            raise ServiceNotFound("Service not found", details={"service-id": service_id})
        base = self._parts.identity.url
        return json_answer([_instance(base, instance) for instance in instances])

    def _check(self, request: Request, service_id: str) -> None:
        principal = self._parts.principal(request)
        if not self._parts.may_manage(principal, service_id):
            raise Unauthorized(f"Unauthorized user {principal}")

    def _entry(self, service_id: str, instance_id: str, host: str | None, entry: LogEntry) -> Mapping[str, Any]:
        base = self._parts.identity.url
        if entry.type == "directory":
            url = logs_url(base, service_id, instance_id, host, entry.path)
            return {"name": entry.name, "type": entry.type, "url": url}
        url = f"{base}/apps/{quote(service_id)}/logs/{quote(instance_id)}/{quote(entry.path)}"
        return {"name": entry.name, "type": entry.type, "size": entry.size, "url": url}


def _instance(base_url: str, instance: LoggedInstance) -> Mapping[str, Any]:
    return {
        "id": instance.id,
        "service-id": instance.service_id,
        "host": instance.host,
        "state": instance.state,
        "started-at": iso_time(instance.started_at),
        "ended-at": iso_time(instance.ended_at),
        "exit-code": instance.exit_code,
        "message": instance.message,
        "log-directory": instance.log_directory,
        "log-url": logs_url(base_url, instance.service_id, instance.id, instance.host),
    }


def _wants_events(request: Request) -> bool:
    accepted = (request.getHeader(b"accept") or b"").lower().split(b",")
    return any(media.partition(b";")[0].strip() == b"text/event-stream" for media in accepted)


def _follow(given: Arguments, *, events: bool) -> bool:
    """Who asks for events wants to follow, unless it says otherwise."""
    text = (first(given, "follow") or str(events)).lower()
    if text not in {"true", "false"}:
        raise BadRequest("follow must be true or false", details={"follow": text})
    return text == "true"


def _tail(given: Arguments) -> int | None:
    text = first(given, "tail")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _TAIL_DIGITS and int(text) <= MOST_LINES):
        raise BadRequest(f"tail must be a number of lines from 0 to {MOST_LINES}", details={"tail": text})
    return int(text)


def _last_event_id(request: Request) -> int | None:
    text = request.getHeader(b"last-event-id")
    if not text:
        return None
    if not (text.isdigit() and len(text) <= _OFFSET_DIGITS):
        raise BadRequest("Last-Event-ID must be the id of an event of this stream: a number")
    return int(text)
