"""Measures what instances use, and notices when one uses more than it may."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList

from waiter.model.resources import NOTHING, Resources
from waiter.scheduler.interface import Measurement
from waiter.scheduler.local.census import Census
from waiter.scheduler.local.footprint import MIB, Footprint, growth, may_exceed
from waiter.scheduler.local.interface import Excess
from waiter.scheduler.local.processes import Process, Snapshot, all_members
from waiter.scheduler.local.usage import exact_bytes, out_of_memory_kills, resident_bytes
from waiter.support.periodic import Periodic
from waiter.support.threads import in_thread

INTERVAL_SECS = 1.0
#: How often those are looked at that may exceed their limit before the next look at all.
CLOSE_INTERVAL_SECS = 0.2
#: One look in so many reads every process anew.
_THOROUGH_EVERY = 30

Exceeded = Callable[[Excess], object]


@attrs.define
class _Followed:
    """
    @ivar leader: see L{waiter.scheduler.local.termination.Termination}.
    @ivar limit: the most memory in bytes; C{None} as long as nobody wants to know.
    @ivar exceeded: who wants to know.
    @ivar growing: in bytes a second.
    """

    leader: Callable[[], int | None]
    limit: int | None = None
    exceeded: Exceeded | None = None
    processes: Collection[Process] = ()
    footprint: Footprint | None = None
    growing: float = 0.0
    measured_at: float = 0.0


@attrs.frozen
class _Question:
    """
    @ivar known: the processes that C{before} is of, when it is only asked whether these are still all.
    """

    leader: int | None
    before: Footprint | None
    limit: int | None
    known: frozenset[tuple[int, int]] | None


@attrs.frozen
class _Answer:
    """
    @ivar seen: the processes of each instance and what they use.
    @ivar others: what instances of other servers were promised, by their ids.
    """

    seen: Mapping[str, tuple[list[Process], Footprint | None]]
    others: Mapping[str, Resources]


class Meter:
    """
    Measures every instance each second, those that are about to exceed their limit more often; in threads.

    What counts for an instance is what a kill would end. What it uses is compared with its limits; before anybody is
    told, all processes are read anew, so no instance is blamed for what another one does with a number used again.

    It also sees what instances of other servers on this machine were promised. As that is anybody's word, it can hold
    back starts here, and nothing else.

    @ivar elsewhere: what they were promised together.
    """

    def __init__(
        self,
        reactor: Any,
        census: Census,
        *,
        wall: Callable[[], float],
        max_processes: int | None = None,
        resident: Callable[[Collection[Process]], list[int]] = resident_bytes,
        exact: Callable[[Collection[Process]], int] = exact_bytes,
        kernel_kills: Callable[[], int | None] = out_of_memory_kills,
    ) -> None:
        """@param max_processes: how many processes an instance may have."""
        self._reactor = reactor
        self._census = census
        self._wall = wall
        self._max_processes = max_processes
        self._resident = resident
        self._exact = exact
        self._kernel_kills = kernel_kills
        self._followed: dict[str, _Followed] = {}
        self._forgotten: set[str] = set()
        self._looks = 0
        self._kills: tuple[int | None, int | None] = (None, None)
        self.elsewhere = NOTHING
        self._all = Periodic(reactor, INTERVAL_SECS, lambda: Deferred.fromCoroutine(self._look()), name="meter")
        self._closer = Periodic(
            reactor,
            CLOSE_INTERVAL_SECS,
            lambda: Deferred.fromCoroutine(self._look_closer()),
            name="close-meter",
            at_once=False,
        )

    def start(self) -> None:
        """Begin to measure."""
        self._all.startService()

    def stop(self) -> Deferred[None]:
        """Measure no more. Fires when nothing is under way."""
        stopping = [each.stopService() for each in (self._all, self._closer) if each.running]
        return DeferredList(stopping).addCallback(lambda _: None)

    def follow(self, instance_id: str, leader: Callable[[], int | None]) -> None:
        """Measure an instance from now on."""
        self._followed[instance_id] = _Followed(leader=leader)

    def limit(self, instance_id: str, mem: float, exceeded: Exceeded) -> None:
        """Tell C{exceeded}, once, when an instance that is followed uses more than C{mem} MiB or too many processes."""
        followed = self._followed.get(instance_id)
        if followed is not None:
            followed.limit = int(mem * MIB)
            followed.exceeded = exceeded

    def forget(self, instance_id: str) -> None:
        """Measure an instance no more."""
        if self._followed.pop(instance_id, None) is not None:
            self._forgotten.add(instance_id)

    def measured(self, instance_id: str) -> Measurement | None:
        """What an instance used when it was last looked at; C{None} if it has not been yet."""
        followed = self._followed.get(instance_id)
        if followed is None or followed.footprint is None:
            return None
        return Measurement(
            memory_mib=followed.footprint.memory / MIB,
            processes=followed.footprint.processes,
            measured_at=followed.measured_at,
        )

    def kernel_has_killed(self) -> bool:
        """Whether the kernel has killed any process of the machine for lack of memory in the last seconds."""
        before, now = self._kills[0], self._kernel_kills()
        return before is not None and now is not None and now > before

    async def _look(self) -> None:
        """Look at all. Cancelling it leaves the last numbers."""
        self._forgotten.clear()
        self._looks += 1
        thorough = self._looks % _THOROUGH_EVERY == 0
        everything = await (self._census.take() if thorough else self._census.glance())
        answer = await self._ask(everything, self._followed)
        self._see_elsewhere(answer)
        self._see(answer)
        if any(self._is_close(each) for each in self._followed.values()) and not self._closer.running:
            self._closer.startService()
        await self._confirm()

    async def _look_closer(self) -> None:
        """Look at the memory of those that may exceed their limit soon, in the processes they had."""
        close = {name: each for name, each in self._followed.items() if self._is_close(each)}
        if not close:
            self._closer.stopService()
            return
        known = {process.pid: process for each in close.values() for process in each.processes}
        self._see(await self._ask(known, close))
        await self._confirm()

    def _is_close(self, followed: _Followed) -> bool:
        return (
            followed.footprint is not None
            and followed.limit is not None
            and followed.exceeded is not None
            and may_exceed(followed.footprint, followed.growing, limit=followed.limit, secs=INTERVAL_SECS)
        )

    async def _confirm(self) -> None:
        """Tell of those that exceed a limit, if they still do when everything is read anew."""
        suspects = {name: each for name, each in self._followed.items() if self._excess(each)}
        if not suspects:
            return
        self._see(await self._ask(await self._census.take(), suspects, again=True))
        for name, followed in suspects.items():
            excess = self._excess(followed)
            exceeded = followed.exceeded
            if excess is not None and exceeded is not None and self._followed.get(name) is followed:
                followed.exceeded = None
                exceeded(excess)

    def _excess(self, followed: _Followed) -> Excess | None:
        """What is to be told of an instance; C{None} if it keeps within its limits or nobody wants to know."""
        footprint, limit = followed.footprint, followed.limit
        if footprint is None or limit is None or followed.exceeded is None:
            return None
        if footprint.memory > limit and footprint.exact_at == footprint.at:
            return Excess(mem_mib=footprint.memory / MIB, processes=footprint.processes, most_mem_mib=limit / MIB)
        most = self._max_processes
        if most is not None and footprint.processes > most:
            return Excess(mem_mib=footprint.memory / MIB, processes=footprint.processes, most_processes=most)
        return None

    async def _ask(self, everything: Snapshot, followed: Mapping[str, _Followed], *, again: bool = False) -> _Answer:
        questions = {
            name: _Question(each.leader(), each.footprint, each.limit, _names(each.processes) if again else None)
            for name, each in followed.items()
        }
        return await in_thread(self._reactor, self._answer, everything, questions)

    def _answer(self, everything: Snapshot, questions: Mapping[str, _Question]) -> _Answer:
        """Runs in a thread."""
        belonging = all_members(everything, {name: question.leader for name, question in questions.items()})
        ours = {process.pid for processes in belonging.values() for process in processes}
        others = {
            process.instance_id: process.declared
            for process in everything.values()
            if process.declared != NOTHING
            and process.instance_id is not None
            and process.instance_id not in questions
            and process.pid not in ours
        }
        seen = {name: (processes, self._weigh(processes, questions[name])) for name, processes in belonging.items()}
        return _Answer(seen, others)

    def _weigh(self, processes: Collection[Process], question: _Question) -> Footprint | None:
        if question.known is not None and question.known == _names(processes):
            # The large ones take long to ask.
            return question.before
        # The launcher only waits, so that its size stays the same: half of the work is saved by not looking at it.
        looked_at = [process for process in processes if process.pid != question.leader]
        sizes = self._resident(looked_at)
        count = len(processes) - len(looked_at) + len(sizes)
        if count == 0:
            return None
        resident = sum(sizes)
        now = self._reactor.seconds()
        if question.before is not None and question.known is None:
            later = question.before.grown(processes=count, resident=resident, now=now)
            if not later.outdated(now, question.limit):
                return later
        exact = self._exact(processes)
        return Footprint(
            processes=count,
            resident=resident,
            at=now,
            exact=exact,
            exact_resident=resident,
            exact_at=now,
            exact_secs=self._reactor.seconds() - now,
        )

    def _see(self, answer: _Answer) -> None:
        for name, (processes, footprint) in answer.seen.items():
            followed = self._followed.get(name)
            if followed is None or footprint is None:
                continue
            followed.growing = growth(followed.footprint, footprint)
            followed.processes = processes
            followed.footprint = footprint
            followed.measured_at = self._wall()

    def _see_elsewhere(self, answer: _Answer) -> None:
        self._kills = (self._kills[1], self._kernel_kills())
        others = [promised for name, promised in answer.others.items() if name not in self._forgotten]
        self.elsewhere = sum(others, NOTHING)


def _names(processes: Collection[Process]) -> frozenset[tuple[int, int]]:
    """What names each process for ever."""
    return frozenset((process.pid, process.start_ticks) for process in processes)
