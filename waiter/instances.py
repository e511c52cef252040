"""
C{waiter-instances}: lists and stops instances from the command line, where a server runs and where none does.

Ends with 0 if all was done that was asked for, with 1 if something could not be done, with 2 for a wrong command line.
"""

import argparse
import json
import os
import pwd
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from waiter.scheduler.local.inventory import Entry, inventory
from waiter.scheduler.local.listening import listeners_of
from waiter.scheduler.local.ports import PortPool, lock_directory
from waiter.scheduler.local.removal import Removal
from waiter.settings import Settings, SettingsError
from waiter.settings_sources import read_settings, settings_path
from waiter.state_directory import StateDirectoryInUse, lock_state_directory, state_directory_holder

_HEADINGS = ("STATE", "SERVER", "PID", "PORTS", "AGE", "MEMORY", "INSTANCE")
_NUMBERS = frozenset({"SERVER", "PID", "AGE", "MEMORY"})


class CannotDo(Exception):
    """What was asked for cannot be done; the text says why and what to do."""


@attrs.frozen(kw_only=True)
class Place:
    """
    A state directory.

    @ivar server: the process id of the server that uses it; C{None} if none does.
    """

    path: Path
    server: str | None
    entries: tuple[Entry, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Do what the command line says.

    @return: the exit status.
    """
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.action == "stop" and bool(options.names) == options.all:
        parser.error("say which instances or services to stop, or --all")
    if options.every_cluster and options.state_dir is not None:
        parser.error("--every-cluster looks beside the default state directory; leave --state-dir out")
    try:
        settings, _ = read_settings(
            path=settings_path(options.settings, os.environ), environment=os.environ, state_dir=options.state_dir
        )
        paths = _paths(settings, every_cluster=options.every_cluster)
        if options.action == "stop":
            return _stop(paths, settings, options)
        return _list(paths, options)
    except SettingsError as error:
        parser.error(str(error))
    except CannotDo as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(_explain(error))


def run() -> None:
    """The console script."""
    sys.exit(main())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="waiter-instances",
        description="Lists and stops the instances of a state directory, with a server or without.",
        epilog="Where a server runs, it is the one to stop instances: DELETE /apps/<service-id>.",
    )
    parser.add_argument("action", nargs="?", choices=("list", "stop"), default="list", help="list if not given")
    parser.add_argument("names", nargs="*", metavar="ID", help="instances or services; all if list is given none")
    parser.add_argument("--settings", metavar="FILE", help="the server's settings file; also WAITER_SETTINGS")
    parser.add_argument("--state-dir", metavar="DIR", help="the server's state directory")
    parser.add_argument("--every-cluster", action="store_true", help="look at every cluster's state directory")
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.add_argument("--all", action="store_true", help="stop every instance")
    parser.add_argument("--force", action="store_true", help="stop with SIGKILL at once, without the grace period")
    return parser


def _paths(settings: Settings, *, every_cluster: bool) -> list[Path]:
    path = settings.state_path
    if every_cluster and path.parent.is_dir():
        return sorted(each for each in path.parent.iterdir() if (each / "services").is_dir()) or [path]
    if settings.state_dir is not None and not (path / "services").is_dir():
        raise CannotDo(f"{path} is no state directory: no Waiter has ever run there")
    return [path]


def _look(path: Path) -> Place:
    return Place(path=path, server=state_directory_holder(path), entries=tuple(inventory(path / "services")))


def _chosen(places: Iterable[Place], names: Sequence[str]) -> list[Place]:
    """
    The places with the named instances and services alone; with all if none is named.

    @raise CannotDo: nothing that runs is called like one of the names.
    """
    found = list(places)
    if not names:
        return found
    for name in names:
        if not any(name in {entry.id, entry.service_id} for place in found for entry in place.entries):
            where = ", ".join(str(place.path) for place in found)
            raise CannotDo(f"No instance or service called {name} runs in {where}: waiter-instances list names them")
    return [
        attrs.evolve(place, entries=tuple(each for each in place.entries if {each.id, each.service_id} & set(names)))
        for place in found
    ]


def _list(paths: Iterable[Path], options: argparse.Namespace) -> int:
    places = _chosen([_look(path) for path in paths], options.names)
    now = time.time()
    if options.json:
        _write(json.dumps([_facts(place, entry, now) for place in places for entry in place.entries], indent=1))
        return 0
    for place in places:
        if not place.entries:
            _write(f"No instance runs in {place.path}{_told_apart(place)}")
    rows = [_row(place, entry, now) for place in places for entry in place.entries]
    if rows:
        _write(_table([_HEADINGS, *rows]))
    return 0


def _stop(paths: Iterable[Path], settings: Settings, options: argparse.Namespace) -> int:
    locks: list[int] = []
    try:
        places = []
        for path in paths:
            # A server that starts meanwhile would take over what is being stopped.
            if (path / "services").is_dir():
                locks.append(_lock(path))
            places.append(_look(path))
        entries = [entry for place in _chosen(places, options.names) for entry in place.entries]
        failed = _end(entries, settings, force=options.force) if entries else {}
    finally:
        for lock in locks:
            os.close(lock)
    stopped = [entry.id for entry in entries if entry.id not in failed]
    if options.json:
        _write(json.dumps({"stopped": stopped, "failed": failed}, indent=1))
    elif stopped or not failed:
        _write("\n".join(f"Stopped {each}" for each in stopped) or "There was nothing to stop")
    for instance_id, reason in failed.items():
        _complain(f"{instance_id} could not be stopped: {reason}")
    return 1 if failed else 0


def _lock(path: Path) -> int:
    try:
        return lock_state_directory(path)
    except StateDirectoryInUse as error:
        raise CannotDo(
            f"A server runs on {path} (process {error.holder}{_listening(error.holder)}), and stops instances itself: send "
            "it DELETE /apps/<service-id>, as with curl -X DELETE. Or stop the server first."
        ) from None


def _listening(process: str) -> str:
    """Where a server listens, as far as that can be seen: a UNIX socket cannot, nor can another user's."""
    found = listeners_of([int(process)]) if process.isdigit() else ()
    return f", listening on {', '.join(map(str, found))}" if found else ""


def _end(entries: Sequence[Entry], settings: Settings, *, force: bool) -> dict[str, str]:
    failed: dict[str, str] = {}

    async def end(reactor: Any) -> None:
        ports = PortPool(
            lock_directory(),
            settings.scheduler.port_range,
            wall=time.time,
            rest_secs=settings.scheduler.port_rest_secs,
        )
        removal = Removal(reactor, ports, wall=time.time, defaults=settings.defaults)
        failed.update(await removal.end(entries, force=force))

    _in_reactor(lambda reactor: Deferred.fromCoroutine(end(reactor)))
    return failed


def _in_reactor(work: Callable[[Any], Deferred[None]]) -> None:
    """
    @raise CannotDo: it was interrupted, or failed and is logged.
    """
    try:
        react(work)
    except SystemExit as ended:
        if ended.code:
            raise CannotDo("It was not finished; what runs is what list shows") from None


def _facts(place: Place, entry: Entry, now: float) -> dict[str, Any]:
    return {
        "age-secs": None if entry.started_at is None else round(max(0.0, now - entry.started_at), 3),
        "cmd": entry.command,
        "instance-id": entry.id,
        "memory-mib": round(entry.memory_mib, 1),
        "pid": entry.pid,
        "ports": list(entry.ports),
        "processes": entry.processes,
        "server-pid": int(place.server) if place.server is not None and place.server.isdigit() else place.server,
        "service-id": entry.service_id,
        "state": entry.state.value,
        "state-directory": str(place.path),
    }


def _row(place: Place, entry: Entry, now: float) -> tuple[str, ...]:
    return (
        entry.state.value,
        place.server or "-",
        "-" if entry.pid is None else str(entry.pid),
        ",".join(map(str, entry.ports)) or "-",
        "-" if entry.started_at is None else _age(now - entry.started_at),
        f"{entry.memory_mib:.1f} MiB",
        entry.id,
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if heading in _NUMBERS else cell.ljust(width)
            for heading, cell, width in zip(_HEADINGS, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _age(secs: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if secs >= 2 * length:
            return f"{secs // length:.0f} {unit}"
    return f"{max(0.0, secs):.0f} s"


def _told_apart(place: Place) -> str:
    """So that nobody takes another server's directory for that of the one that is meant."""
    if place.server is not None:
        return f", where process {place.server} is the server"
    if not (place.path / "services").is_dir():
        return ", where no Waiter has ever run; --state-dir or --settings names another place"
    return ""


def _explain(error: OSError) -> str:
    text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if isinstance(error, PermissionError) and error.filename:
        text += f". Run this as {_owner(Path(os.fsdecode(error.filename)))}, whose instances they are, or as root."
    return text


def _owner(path: Path) -> str:
    for place in (path, *path.parents):
        try:
            uid = place.stat().st_uid
        except OSError:
            continue
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"user {uid}"
    return "its user"


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(text: str) -> int:
    sys.stderr.write(f"waiter-instances: {text}\n")
    return 1


if __name__ == "__main__":
    run()
