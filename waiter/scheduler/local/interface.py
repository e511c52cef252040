"""What the local scheduler asks of whatever starts and ends processes for it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from waiter.model.instance import Flag
from waiter.model.resources import Resources
from waiter.model.service import Service
from waiter.scheduler.interface import Measurement
from waiter.scheduler.local.listening import ListeningSocket


class CannotStart(Exception):
    """
    An instance was not started.

    @ivar temporary: whether this machine only lacks something now that instances give back, like ports.
    """

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.message = message
        self.temporary = temporary


@attrs.frozen(kw_only=True)
class Excess:
    """
    An instance uses more than it may.

    @ivar mem_mib: the memory of all its processes.
    @ivar most_mem_mib: what they may have, if that is what it exceeds.
    @ivar most_processes: how many it may have, if that is.
    """

    mem_mib: float
    processes: int
    most_mem_mib: float | None = None
    most_processes: int | None = None

    @property
    def flag(self) -> Flag:
        """The flag for that."""
        return Flag.MEMORY_LIMIT_EXCEEDED if self.most_processes is None else Flag.PROCESS_LIMIT_EXCEEDED


class IRunning(Interface):
    """An instance whose process was started, until nothing of it is left."""

    id: str = Attribute("The instance id.")
    service_id: str = Attribute("The service it belongs to.")
    core: Mapping[str, Any] = Attribute("The description of its service as it was given.")
    ports: tuple[int, ...] = Attribute("Its ports, in order.")
    created_at: float = Attribute("When it was started, in seconds since the epoch.")
    log_directory: str = Attribute("Where its output is.")
    expired: bool = Attribute("Whether it has been marked to be replaced.")
    was_healthy: bool = Attribute("Whether it ever passed a health check, under an earlier server perhaps.")

    def watch(exited: Callable[[int | None], object]) -> None:
        """Call C{exited} with the exit code, or C{None} if that is not known, when the command has ended by itself or not."""

    def limit(mem: float, exceeded: Callable[[Excess], object]) -> None:
        """Call C{exceeded}, once, when it uses more memory than C{mem} MiB or more processes than any instance may."""

    def measured() -> Measurement | None:
        """What it uses; C{None} if that is not known yet."""

    def kernel_has_killed() -> bool:
        """Whether the kernel has killed some process of the machine for lack of memory in the last seconds."""

    def terminate(grace_secs: float) -> Deferred[None]:
        """
        End what is left of it: by request, and after C{grace_secs} by force. Fires when nothing is left and its ports are
        given back; never fails. Called again, it answers the same moment and can only make it come earlier. Cancelling
        it: nobody is told, the instance still ends.
        """

    def force() -> None:
        """Kill its processes now, without waiting for anything."""

    def leave() -> None:
        """Let it run and forget it. Nothing more is called."""

    def taken_port() -> int | None:
        """One of its ports that some program uses now; C{None} if none does."""

    def left_behind() -> bool:
        """Whether the command had ended, and processes it had started had not, when C{terminate} began."""

    def exit_code() -> int | None:
        """The exit code; C{None} while it runs and when it is not known."""

    def listeners() -> Deferred[Sequence[ListeningSocket]]:
        """
        Where its processes listen now; takes as long as a look at all processes. Cancelling it ends the wait only.
        """

    def lack_of_room() -> str | None:
        """What the disk of its files has run out of, as a sentence; C{None} normally."""

    def last_output() -> tuple[str, ...]:
        """The last lines it wrote."""

    def note(
        *,
        was_healthy: bool | None = None,
        expired: bool | None = None,
        killed: bool | None = None,
        failed: bool | None = None,
        message: str | None = None,
    ) -> None:
        """Record what a later server must know; C{None} leaves as it is."""


class IRunner(Interface):
    """Starts instances and finds those that an earlier server started."""

    def adopt() -> Deferred[Sequence[IRunning]]:
        """
        Take over every instance that is still running. Called once, before the first C{start}. What is found dead is
        ended properly. Fails only if the instances cannot be listed at all.
        """

    def start(service: Service) -> IRunning:
        """
        Start one instance.

        @raise CannotStart: it was not.
        """

    def elsewhere() -> Resources:
        """What the instances of other servers of this machine were promised, as far as they say."""

    def path(service_id: str, instance_id: str | None = None) -> Path | None:
        """
        The log directory of an instance that runs or has ended, or the directory that those of all instances of a service
        are in; C{None} if there is none.
        """

    def cpu_share(cpus: float) -> Mapping[str, object]:
        """By what means, and how much, an instance of so many CPUs gets of the processors when they are short."""

    def state() -> Mapping[str, object]:
        """A JSON-able description of what holds for all instances."""

    def close() -> None:
        """Give up what was opened. Instances that are left run on."""
