"""What instances wrote."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from twisted.web.server import Request

from waiter.admin.arguments import Arguments, arguments, first
from waiter.admin.endpoint import Answer, json_answer
from waiter.admin.log_file import LogFile
from waiter.admin.parts import Parts
from waiter.admin.views import logs_url
from waiter.errors import BadRequest, Unauthorized
from waiter.scheduler.interface import LogEntry


class Logs:
    """
    Lists the log directories of instances and serves their files. Which files there are is only the scheduler's to say.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def directory(self, request: Request, service_id: str) -> Answer:
        """
        The files and directories in C{directory} (by default the log directory itself) of C{instance-id}.

        @raise BadRequest: a parameter is missing.
        @raise Unauthorized: the caller may not see them.
        @raise NotFound: no such service, instance or directory.
        """
        given = arguments(request)
        instance_id = _required(given, "instance-id")
        host = _required(given, "host")
        self._check(request, service_id)
        entries = await self._parts.scheduler.log_entries(service_id, instance_id, first(given, "directory") or "")
        return json_answer([self._entry(service_id, instance_id, host, entry) for entry in entries])

    async def file(self, request: Request, service_id: str, instance_id: str, path: str) -> LogFile:
        """
        One file.

        @raise Unauthorized: the caller may not see it.
        @raise NotFound: no such service, instance or file.
        """
        self._check(request, service_id)
        return LogFile(self._parts.clock, await self._parts.scheduler.log_path(service_id, instance_id, path))

    def _check(self, request: Request, service_id: str) -> None:
        principal = self._parts.principal(request)
        if not self._parts.may_manage(principal, service_id):
            raise Unauthorized(f"Unauthorized user {principal}")

    def _entry(self, service_id: str, instance_id: str, host: str, entry: LogEntry) -> Mapping[str, Any]:
        base = self._parts.identity.url
        if entry.type == "directory":
            url = logs_url(base, service_id, instance_id, host, entry.path)
            return {"name": entry.name, "type": entry.type, "url": url}
        url = f"{base}/apps/{quote(service_id)}/logs/{quote(instance_id)}/{quote(entry.path)}"
        return {"name": entry.name, "type": entry.type, "size": entry.size, "url": url}


def _required(given: Arguments, name: str) -> str:
    value = first(given, name)
    if not value:
        raise BadRequest(f"Missing {name} parameter")
    return value
