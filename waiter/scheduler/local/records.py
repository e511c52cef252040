"""The files of an instance, and the record among them by which a later server knows it again."""

import glob
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from waiter.model.description import outside_name
from waiter.support.users import User

#: Version of the record's form; records of a newer one are not touched.
FORMAT = 1


def _tuple(ports: Iterable[int]) -> tuple[int, ...]:
    return tuple(ports)


def _plain(value: Any) -> Any:
    """What JSON has no word for: read-only mappings and sets."""
    return dict(value) if isinstance(value, Mapping) else sorted(value)


class UnreadableRecord(Exception):
    """There is no record, or it says nothing."""


class NoRecord(UnreadableRecord):
    """There is none."""


class NewerRecord(UnreadableRecord):
    """A newer Waiter wrote it."""


class RecordOutOfReach(UnreadableRecord):
    """It may not or cannot be read now, whatever it says."""


def _is(*types: type) -> Any:
    return attrs.field(validator=attrs.validators.instance_of(types))


def _may_be(*types: type) -> Any:
    return attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.instance_of(types)))


def _flag() -> Any:
    return attrs.field(default=False, validator=attrs.validators.instance_of(bool))


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

    id: str = _is(str)
    service_id: str = _is(str)
    cluster: str = _is(str)
    run_as_user: str = _is(str)
    core: Mapping[str, Any] = _is(Mapping)
    environment: Mapping[str, str] = _is(Mapping)
    ports: tuple[int, ...] = attrs.field(
        converter=_tuple, validator=attrs.validators.deep_iterable(attrs.validators.instance_of(int))
    )
    created_at: float = _is(int, float)
    format: int = FORMAT
    pid: int | None = _may_be(int)
    start_ticks: int | None = _may_be(int)
    boot_id: str | None = _may_be(str)
    was_healthy: bool = _flag()
    expired: bool = _flag()
    killed: bool = _flag()
    failed: bool = _flag()
    ended_at: float | None = _may_be(int, float)
    exit_code: int | None = _may_be(int)
    message: str | None = _may_be(str)

    def to_json(self) -> bytes:
        """The text of C{instance.json}."""
        values = attrs.asdict(self, recurse=False)
        text = json.dumps({outside_name(key): value for key, value in values.items()}, indent=1, default=_plain)
        return f"{text}\n".encode()

    @classmethod
    def from_json(cls, text: bytes) -> "InstanceRecord":
        """
        Read C{instance.json}. What is not known here is left out, for the format alone says what must be understood.

        @raise UnreadableRecord: it is not a record of this format.
        """
        try:
            values = {key.replace("-", "_"): value for key, value in json.loads(text).items()}
            if values["format"] > FORMAT:
                raise NewerRecord(f"its record has format {values['format']}, which only a newer Waiter understands")
            return cls(**{name: value for name, value in values.items() if name in attrs.fields_dict(cls)})
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise UnreadableRecord(str(error)) from error


@attrs.frozen
class InstanceDirectory:
    """
    Where the files of one instance are: C{services/<service-id>/<instance-id>} in the state directory.

    They are Waiter's and readable by nobody else. An instance that runs as another user can pass through to what is its
    own, and see nothing on the way: C{work}, C{run.sh}, its output, and C{exit}, which it may fill with any number.

    @ivar work: the instance's own working directory, in which Waiter keeps nothing.
    """

    path: Path

    @property
    def record(self) -> Path:
        """The record, C{instance.json}."""
        return self.path / "instance.json"

    @property
    def _new_record(self) -> Path:
        """What becomes the record."""
        return self.path / "instance.json.new"

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
        """The exit code, written by the launcher when the command has ended; empty until then."""
        return self.path / "exit"

    @property
    def work(self) -> Path:
        """The working directory of the command."""
        return self.path / "work"

    def create(self, owner: User | None = None) -> None:
        """
        Make the directories and the empty C{exit}.

        @param owner: as whom the instance will run, if not as the one who calls this.
        @raise OSError: they cannot be made.
        """
        self.path.mkdir(parents=True, mode=0o700)
        # Against the umask: other users' instances pass through it.
        self.path.parent.chmod(0o711)
        self.work.mkdir(mode=0o700)
        os.close(os.open(self.exit, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if owner is not None:
            for path in (self.work, self.exit):
                os.chown(path, owner.uid, owner.gid)
            self.path.chmod(0o711)

    def discard(self) -> None:
        """
        Delete the directory of an instance of which nothing was started, and that of its service if it was the only one.
        Needs no descriptor: there may be none.

        @raise OSError: it cannot be deleted.
        """
        for path in (self.record, self._new_record, self.script, self.stdout, self.stderr, self.exit):
            path.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self.work.rmdir()
            self.path.rmdir()
        # Other instances of the service may be there.
        with suppress(OSError):
            self.path.parent.rmdir()

    def write_script(self, text: str, owner: User | None = None) -> None:
        """
        Write C{run.sh}.

        @param owner: as for C{create}.
        @raise OSError: it cannot be written.
        """
        descriptor = os.open(self.script, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if owner is not None:
                os.fchown(descriptor, owner.uid, owner.gid)

    @contextmanager
    def open_output(self, owner: User | None = None) -> Iterator[tuple[BinaryIO, BinaryIO]]:
        """
        The files of the standard output and error, to be appended to. They are the owner's, because programs open
        C{/dev/stdout} and C{/dev/stderr}.

        @param owner: as for C{create}.
        @raise OSError: they cannot be made.
        """
        with ExitStack() as stack:
            stdout, stderr = (
                stack.enter_context(open(path, "ab", opener=_private)) for path in (self.stdout, self.stderr)
            )
            if owner is not None:
                for file in (stdout, stderr):
                    os.fchown(file.fileno(), owner.uid, owner.gid)
            yield stdout, stderr

    def write(self, record: InstanceRecord) -> None:
        """
        Replace the record at once as a whole: whoever reads it sees the old or the new one. It survives the end of
        Waiter; C{sync} makes it survive that of the machine.

        @raise OSError: it cannot be written.
        """
        with open(self._new_record, "wb", opener=_private) as file:
            file.write(record.to_json())
        self._new_record.replace(self.record)

    def read(self) -> InstanceRecord:
        """
        The record.

        @raise UnreadableRecord: it is not there or not one.
        """
        try:
            text = self.record.read_bytes()
        except FileNotFoundError as error:
            raise NoRecord(str(error)) from error
        except OSError as error:
            raise RecordOutOfReach(f"its record cannot be read: {error.strerror}") from error
        return InstanceRecord.from_json(text)

    def read_exit(self) -> int | None:
        """The exit code that the launcher wrote; C{None} if it did not."""
        try:
            with self.exit.open("rb", buffering=0) as file:
                # The instance may have made it as long as it likes.
                code, end, _ = file.read(16).partition(b"\n")
            return int(code) if end and code.isdigit() else None
        except OSError:
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


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def instance_directories(services: Path) -> Iterator[InstanceDirectory]:
    """
    Every instance directory under C{services}, which may be missing. What is not called as instances are is none, and a
    service's directory that cannot be listed has none.

    @raise OSError: C{services} cannot be listed.
    """
    try:
        found = sorted(services.iterdir())
    except FileNotFoundError:
        return
    for service in found:
        try:
            inside = sorted(service.glob(f"{glob.escape(service.name)}.*")) if service.is_dir() else []
        except OSError:
            # Deleted meanwhile, or another user's.
            continue
        yield from (InstanceDirectory(path) for path in inside if path.is_dir())
