"""What Waiter asks of whatever runs instances."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

from waiter.model.description import ServiceDescription
from waiter.model.instance import Instance
from waiter.model.service import Service, ServiceInstances, ServiceRecord


class SchedulerUnavailable(Exception):
    """What runs the instances cannot be asked now. It may pass; the text is for the operator."""


class Signal(str, Enum):
    """What can be sent to an instance."""

    EXPIRE = "expire"
    SOFT_KILL = "soft-kill"
    FORCE_KILL = "force-kill"


@attrs.frozen(kw_only=True)
class KillResult:
    """
    How a kill or signal went.

    @ivar status: the HTTP status an API answers with: 200, 404 for an unknown service or instance, 400 for one already dead.
    """

    service_id: str
    instance_id: str
    killed: bool
    message: str
    status: int


@attrs.frozen(kw_only=True)
class DeleteResult:
    """
    How the deletion of a service went.

    @ivar result: C{deleted}, C{no-such-service-exists} or C{error}.
    """

    result: str
    message: str


@attrs.frozen(kw_only=True)
class Usage:
    """
    What one instance is granted.

    @ivar mem: in MiB.
    @ivar cpu_share: by what means, C{kind}, and how much it gets of the processors when they are short; JSON-able. C{None}
        if that is not known.
    """

    cpus: float
    mem: float
    cpu_share: Mapping[str, object] | None = None


@attrs.frozen(kw_only=True)
class Measurement:
    """
    What one instance really uses.

    @ivar memory_mib: the memory of all its processes; what they share counts once.
    @ivar processes: how many they are.
    @ivar measured_at: when that was seen, in seconds since the epoch.
    """

    memory_mib: float
    processes: int
    measured_at: float


@attrs.frozen(kw_only=True)
class LogEntry:
    """
    A file or directory in an instance's log directory.

    @ivar type: C{file} or C{directory}.
    @ivar size: in bytes; C{None} for a directory.
    @ivar path: relative to the instance's log directory.
    """

    name: str
    type: str
    size: int | None
    path: str


@attrs.frozen(kw_only=True)
class LoggedInstance:
    """
    An instance whose files are there.

    @ivar state: C{running}, C{failed}, C{killed} or C{finished}.
    @ivar started_at: seconds since the epoch.
    @ivar ended_at: the same; C{None} as long as something of it runs.
    @ivar exit_code: C{None} while it runs and when it is not known.
    @ivar message: why it failed, in words for a user.
    """

    id: str
    service_id: str
    host: str
    state: str
    started_at: float
    log_directory: str
    ended_at: float | None = None
    exit_code: int | None = None
    message: str | None = None


@attrs.frozen(kw_only=True)
class LogExtent:
    """
    Some offsets of a log.

    @ivar oldest: of the oldest byte that is kept anywhere.
    @ivar first: of the first byte of the file itself.
    @ivar end: of the next byte that will be written.
    """

    oldest: int
    first: int
    end: int


class ILog(Interface):
    """
    A file that an instance writes, or wrote, to.

    Bytes are named by their offset in all that was ever written to it, also when the oldest of it are not kept any more.
    """

    def extent() -> LogExtent | None:
        """
        How far it reaches; C{None} if that cannot be said at this moment: ask again soon.

        @raise waiter.errors.NotFound: the file is not there any more.
        """

    def read(offset: int, most: int) -> tuple[int, bytes] | None:
        """
        Some bytes from C{offset} on; none if there are no more yet. What may be read is in memory, mostly: this does not
        take long.

        @return: C{offset}, or a later one if what was there is not kept any more, or an earlier one if the file was emptied
            by the instance, and the bytes; C{None} if it cannot be read at this moment: ask again soon.
        @raise waiter.errors.NotFound: the file is not there any more.
        """

    def complete() -> bool:
        """Whether nothing more will be written."""

    def close() -> None:
        """Give up what was opened by reading. Must be called after the last read; may be called again."""


class IScheduler(Interface):
    """
    Runs the instances of services.

    An implementation is also an C{IService}: what it needs is opened in C{startService}, whose Deferred fires when the
    instances it already knows can be listed. Methods that return Deferreds may be cancelled: the caller is told
    C{CancelledError}, what was asked for may or may not happen. They fail with L{SchedulerUnavailable} where what runs the
    instances is out of reach.
    """

    def services() -> Deferred[Mapping[ServiceRecord, ServiceInstances]]:
        """All services and their instances. Fails if the scheduler cannot be asked; never answers with a part."""

    def create(service: Service) -> Deferred[bool]:
        """
        Make the service known, with one requested instance, and begin to start it. Idempotent.

        @return: whether it was new.
        @raise waiter.errors.WaiterError: (in the Deferred) it may not run here.
        """

    def scale(service_id: str, instances: int, force: bool = False) -> Deferred[None]:
        """
        Set the number of requested instances. Starts what is missing, never stops a process.

        @param force: whether to override operations that are still pending.
        @raise waiter.errors.ServiceNotFound: (in the Deferred) no such service.
        """

    def waited_for(service_ids: AbstractSet[str]) -> None:
        """
        Say for which of the services that are held back for lack of room requests wait. Whoever must choose whom to start
        first starts those first. Replaces what was said before.
        """

    def kill(instance: Instance) -> Deferred[KillResult]:
        """
        Stop one instance, gracefully for the service's termination grace period and then by force, and lower the
        requested number by one, both at once for what C{services} shows. Fires when nothing of the instance is left;
        never fails.
        """

    def signal(service_id: str, instance_id: str, signal: Signal) -> Deferred[KillResult]:
        """Mark an instance expired, or kill it as C{kill} does, by force at once with C{FORCE_KILL}."""

    def delete(service_id: str) -> Deferred[DeleteResult]:
        """
        Stop all instances of a service and forget it, at once for what C{services} shows. Fires when nothing of them is
        left.
        """

    def validate(description: ServiceDescription) -> None:
        """
        @raise waiter.errors.WaiterError: a service described so cannot run here.
        """

    def redescribe(service: Service) -> None:
        """
        The description of a service is another now, though not its id: go by it, as far as that is possible for what is
        there already. A service that is not known is passed over.
        """

    def log_entries(service_id: str, instance_id: str, directory: str) -> Deferred[tuple[LogEntry, ...]]:
        """
        List a directory of an instance's log directory; C{directory} is relative to it, and empty for itself.

        @raise waiter.errors.NotFound: (in the Deferred) no such service, instance or directory.
        """

    def log(service_id: str, instance_id: str, path: str) -> Deferred[ILog]:
        """
        One log file, to be read while it grows. Opens nothing yet.

        @raise waiter.errors.NotFound: (in the Deferred) no such file, or it is outside the log directory.
        """

    def logged_instances(service_id: str) -> Deferred[tuple[LoggedInstance, ...]]:
        """The instances of a service whose files are there, latest first; none if the service is not known."""

    def usage(service_id: str) -> Usage | None:
        """What one instance of the service is granted; C{None} if the service is not known."""

    def measured(service_id: str) -> Mapping[str, Measurement]:
        """What the running instances of a service use, by their ids; without those of which that is not known."""

    def deployment_error_config(service_id: str) -> Mapping[str, int]:
        """Which of C{min-failed-instances} and C{min-hosts} differ from the defaults here."""

    def subscribe(changed: Callable[[], object]) -> None:
        """Call C{changed} soon after anything that C{services} would show has changed."""

    def state() -> Mapping[str, object]:
        """A JSON-able description of the scheduler's inside, for C{/state/scheduler}."""
