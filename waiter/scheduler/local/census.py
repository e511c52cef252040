"""Looks at the machine's processes off the reactor's thread."""

from collections.abc import Callable, Iterable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from waiter.scheduler.local.processes import Process, Snapshot, pids, read_process, snapshot, with_files
from waiter.support.threads import in_thread


class ProcessTable:
    """
    What was seen of the machine's processes, to see it again for less.

    Not for two threads at the same time.
    """

    def __init__(
        self,
        scan: Callable[[], dict[int, Process]] = snapshot,
        *,
        listing: Callable[[], list[int]] = pids,
        read: Callable[[int], Process | None] = read_process,
    ) -> None:
        self._scan = scan
        self._listing = listing
        self._read = read
        self._seen: dict[int, Process] = {}
        self._young: frozenset[int] = frozenset()

    def look(self) -> Snapshot:
        """Everything, read anew. A process that had a mark keeps it, whatever it has written over it since."""
        everything = self._scan()
        for pid, process in everything.items():
            before = self._seen.get(pid)
            if process.instance_id is None and before is not None and before.start_ticks == process.start_ticks:
                everything[pid] = attrs.evolve(
                    process, instance_id=before.instance_id, owner=before.owner, declared=before.declared
                )
        self._take_down(everything)
        return everything

    def glance(self) -> Snapshot:
        """
        Everything, but a process that is known is not read again: only one that is new, was new the last time - so
        short after its start it may not run its own program yet - or has lost its parent.

        So a number that was used again since the last C{look} may show the process that had it before, and a group or
        session that was left is shown still.
        """
        everything: dict[int, Process] = {}
        fresh = []
        present = set(self._listing())
        for pid in present:
            process = self._seen.get(pid)
            if process is None or pid in self._young or process.parent not in present:
                process = self._read(pid)
                if process is None:
                    continue
                fresh.append(process)
            everything[pid] = process
        for process in fresh:
            everything[process.pid] = with_files(process, everything)
        self._take_down(everything)
        return everything

    def _take_down(self, everything: dict[int, Process]) -> None:
        self._young = frozenset(everything.keys() - self._seen.keys())
        self._seen = everything


class Census:
    """
    Takes snapshots in a thread.

    Any number of callers share one scan, but never one that began before they asked.
    """

    def __init__(self, reactor: Any, table: ProcessTable | None = None) -> None:
        self._reactor = reactor
        self._table = table or ProcessTable()
        self._waiting: list[Deferred[Snapshot]] = []
        self._thorough = False
        self._busy = False

    def take(self) -> Deferred[Snapshot]:
        """A snapshot that begins after this call. Cancelling it does not end the scan."""
        self._thorough = True
        return self.glance()

    def glance(self) -> Deferred[Snapshot]:
        """The same, for a quarter of the time, where what L{ProcessTable.glance} may miss does no harm."""
        asked: Deferred[Snapshot] = Deferred()
        self._waiting.append(asked)
        if not self._busy:
            self._begin()
        return asked

    def _begin(self) -> None:
        served, self._waiting = self._waiting, []
        thorough, self._thorough = self._thorough, False
        self._busy = True
        scan = self._table.look if thorough else self._table.glance
        in_thread(self._reactor, scan).addBoth(self._end, served)

    def _end(self, result: Any, served: Iterable[Deferred[Snapshot]]) -> None:
        self._busy = False
        if self._waiting:
            self._begin()
        for asked in served:
            if not asked.called:
                asked.callback(result)
