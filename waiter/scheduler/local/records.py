"""The files of an instance, and the record among them by which a later server knows it again."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from waiter.model.description import outside_name

#: Version of the record's form; records of a newer one are not touched.
FORMAT = 1


def _tuple(ports: Iterable[int]) -> tuple[int, ...]:
    return tuple(ports)


def _plain(value: Any) -> Any:
    """What JSON has no word for: read-only mappings and sets."""
    return dict(value) if isinstance(value, Mapping) else sorted(value)


class UnreadableRecord(Exception):
    """There is no record, or it says nothing."""


@attrs.frozen(kw_only=True)
class InstanceRecord:
    """
    What is written of an instance, first before its process is started, then again with what the start showed, then at
    each change that a later server must know.

    @ivar core: the description as it was given, under the outside names.
    @ivar environment: the instance's environment without the secret variables.
    @ivar created_at: when it was started, in seconds since the epoch.
    @ivar pid: the launcher's; C{None} in a half-written record.
    @ivar start_ticks: when that process started, in the kernel's ticks since the boot C{boot_id}.
    @ivar was_healthy: whether it ever passed a health check.
    @ivar killed: whether it was told to end.
    @ivar failed: whether it ended by failure.
    @ivar ended_at: when nothing was left of it; C{None} as long as something may be.
    @ivar exit_code: C{None} while it runs and when the code is not known.
    @ivar message: why it failed, in words for a user.
    """

    id: str
    service_id: str
    cluster: str
    run_as_user: str
    core: Mapping[str, Any]
    environment: Mapping[str, str]
    ports: tuple[int, ...] = attrs.field(converter=_tuple)
    created_at: float
    format: int = FORMAT
    pid: int | None = None
    start_ticks: int | None = None
    boot_id: str | None = None
    was_healthy: bool = False
    expired: bool = False
    killed: bool = False
    failed: bool = False
    ended_at: float | None = None
    exit_code: int | None = None
    message: str | None = None

    def to_json(self) -> bytes:
        """The text of C{instance.json}."""
        values = attrs.asdict(self, recurse=False)
        text = json.dumps({outside_name(key): value for key, value in values.items()}, indent=1, default=_plain)
        return f"{text}\n".encode()

    @classmethod
    def from_json(cls, text: bytes) -> "InstanceRecord":
        """
        Read C{instance.json}.

        @raise UnreadableRecord: it is not a record of this format.
        """
        try:
            values = {key.replace("-", "_"): value for key, value in json.loads(text).items()}
            record = cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise UnreadableRecord(str(error)) from error
        if record.format != FORMAT:
            raise UnreadableRecord(f"it has format {record.format}")
        return record


@attrs.frozen
class InstanceDirectory:
    """
    Where the files of one instance are: C{services/<service-id>/<instance-id>} in the state directory.

    @ivar work: the instance's own working directory, in which Waiter keeps nothing.
    """

    path: Path

    @property
    def record(self) -> Path:
        """The record, C{instance.json}."""
        return self.path / "instance.json"

    @property
    def script(self) -> Path:
        """What the launcher runs."""
        return self.path / "run.sh"

    @property
    def stdout(self) -> Path:
        """What the instance wrote to its standard output."""
        return self.path / "stdout"

    @property
    def stderr(self) -> Path:
        """What the instance wrote to its standard error."""
        return self.path / "stderr"

    @property
    def exit(self) -> Path:
        """The exit code, written by the launcher when the command has ended."""
        return self.path / "exit"

    @property
    def work(self) -> Path:
        """The working directory of the command."""
        return self.path / "work"

    def create(self) -> None:
        """
        Make the directories.

        @raise OSError: they cannot be made.
        """
        self.path.mkdir(parents=True, mode=0o700)
        self.work.mkdir(mode=0o700)

    def write(self, record: InstanceRecord) -> None:
        """
        Replace the record at once as a whole: whoever reads it sees the old or the new one. It survives the end of
        Waiter; C{sync} makes it survive that of the machine.

        @raise OSError: it cannot be written.
        """
        new = self.path / "instance.json.new"
        new.write_bytes(record.to_json())
        new.replace(self.record)

    def read(self) -> InstanceRecord:
        """
        The record.

        @raise UnreadableRecord: it is not there or not one.
        """
        try:
            return InstanceRecord.from_json(self.record.read_bytes())
        except OSError as error:
            raise UnreadableRecord(str(error)) from error

    def read_exit(self) -> int | None:
        """The exit code that the launcher wrote; C{None} if it did not."""
        try:
            return int(self.exit.read_bytes()[:16])
        except (OSError, ValueError):
            return None

    def sync(self) -> None:
        """Bring the record and its directory to the disk. Slow; for a thread."""
        for path in (self.record, self.path):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                # Deleted meanwhile.
                return
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def instance_directories(services: Path) -> Iterator[InstanceDirectory]:
    """Every instance directory under C{services}, which may be missing."""
    if not services.is_dir():
        return
    for service in sorted(services.iterdir()):
        if service.is_dir():
            yield from (InstanceDirectory(path) for path in sorted(service.iterdir()) if path.is_dir())
