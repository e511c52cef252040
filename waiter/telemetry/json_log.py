"""The program's log as lines of JSON: C{twistd -n --logger waiter.telemetry.json_log.observer waiter}."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, formatEvent
from twisted.python.failure import Failure

_OURS = frozenset({"isError", "failure", "format", "message", "system", "text", "time"})


def observer(out: TextIO | None = None) -> ILogObserver:
    """
    Writes each event as one line: C{time}, C{level}, C{from} (the logger), C{message}, C{traceback} if there is one, and
    the event's own fields under their names.

    @param out: where to; the standard output as it is now if not said.
    """
    return FileLogObserver(sys.stdout if out is None else out, line)


def line(event: LogEvent) -> str:
    """One event. Never fails."""
    level = event.get("log_level")
    failure = event.get("log_failure")
    fields: dict[str, Any] = {
        "time": _iso(event.get("log_time")),
        "level": "info" if level is None else level.name,
        "from": event.get("log_namespace", ""),
        "message": formatEvent(event),
    }
    if isinstance(failure, Failure):
        fields["traceback"] = failure.getTraceback()
    for name, value in event.items():
        if not name.startswith("log_") and name not in _OURS:
            fields.setdefault(name, value)
    return _dumped(fields) + "\n"


def _dumped(fields: Mapping[str, Any]) -> str:
    try:
        return json.dumps(fields, default=_spoken, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps({name: _spoken(value) for name, value in fields.items()})


def _spoken(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a value that cannot be shown must not cost the line
        return f"<{type(value).__name__} that cannot be shown>"


def _iso(time: float | None) -> str | None:
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
