"""The one directory in which a router keeps what must outlive it."""

import fcntl
import os
import secrets
import time
from pathlib import Path

from twisted.application.service import Service

FORMAT = 1

_SECRET_BYTES = 32
_LOCK = "lock"
_LOOK_SECS = 0.05


class StateDirectoryError(Exception):
    """The state directory cannot be used; the text says why and what to do."""


class StateDirectoryInUse(StateDirectoryError):
    """
    Another process holds it.

    @ivar holder: its process id, as it says.
    """

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"{path} is in use by another Waiter (process {holder}). "
            "Stop that one, or give this one another --state-dir."
        )
        self.holder = holder


def lock_state_directory(path: Path) -> int:
    """
    Take a state directory for this process alone, until the descriptor is closed.

    @raise StateDirectoryInUse: another has it.
    @raise OSError: its lock cannot be opened.
    """
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _flock(lock)
    except BlockingIOError:
        holder = _holder(lock)
        os.close(lock)
        raise StateDirectoryInUse(path, holder) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def state_directory_holder(path: Path) -> str | None:
    """
    The process id of who holds a state directory now; C{None} if nobody does.

    @raise OSError: its lock cannot be opened.
    """
    try:
        lock = os.open(path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(lock)
    finally:
        os.close(lock)
    return None


def _flock(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # Somebody may only be looking whether it is held, which takes no time.
        time.sleep(_LOOK_SECS)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(lock: int) -> str:
    return os.pread(lock, 100, 0).decode(errors="replace").strip() or "unknown"


class StateDirectory(Service):
    """
    Owns the state directory while the router runs.

    In it: C{lock} (held with flock, naming the holder), C{format} (the version of the layout), C{secret} (a random key,
    readable by the owner alone), C{waiter.db} and C{services/}.

    Nobody else can read anything in it. For root, who can run instances as other users, it can be passed through, so that
    these instances reach their own directories.

    @ivar path: the directory.
    """

    def __init__(self, path: Path, *, passable: bool | None = None) -> None:
        """@param passable: whether other users' instances need to pass; whether this is root if not given."""
        self.setName("state directory")
        self.path = path
        self._passable = os.geteuid() == 0 if passable is None else passable
        self._lock: int | None = None
        self._secret: bytes | None = None

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "waiter.db"

    @property
    def services(self) -> Path:
        """The directory of instances: C{<service-id>/<instance-id>/}."""
        return self.path / "services"

    @property
    def request_log(self) -> Path:
        """Where requests are logged if nothing else is set."""
        return self.path / "request.log"

    def secret(self) -> bytes:
        """
        The key from which passwords and signatures are derived.

        @raise StateDirectoryError: it was not opened.
        """
        if self._secret is None:
            raise StateDirectoryError("The state directory is not open.")
        return self._secret

    def open(self) -> None:
        """
        Create what is missing, lock it and read the secret. May be called again while it is open.

        @raise StateDirectoryError: it cannot be written, another server holds it, a newer Waiter wrote it, or its secret is
            none.
        """
        if self._lock is not None:
            return
        try:
            self._make()
            self._lock = lock_state_directory(self.path)
            self._check_format()
            self._secret = self._read_secret()
            self._hide()
        except OSError as error:
            self.close()
            raise StateDirectoryError(
                f"{error.filename or self.path}: {error.strerror}. Choose a directory that {_user()} may write with --state-dir."
            ) from None
        except StateDirectoryError:
            self.close()
            raise

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._secret = None

    def privilegedStartService(self) -> None:
        """Open it before anything else starts, so that a second server ends with the reason."""
        self.open()

    def startService(self) -> None:
        """Open it, where C{privilegedStartService} was not called."""
        super().startService()
        self.open()

    def stopService(self) -> None:
        """Give it back."""
        super().stopService()
        self.close()

    def _make(self) -> None:
        mode = 0o711 if self._passable else 0o700
        # Each with its mode: those that mkdir makes on the way have another. What was there stays as it is.
        for directory in (*reversed(self.path.parents), self.path):
            if not directory.exists():
                directory.mkdir(mode=mode)
                # Against the umask.
                directory.chmod(mode)

    def _hide(self) -> None:
        """Let others pass, if they must, but only after everything in the directory is out of their sight."""
        for path in self.path.iterdir():
            if path.is_file() and not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o700)
        self.services.mkdir(exist_ok=True, mode=0o711)
        for directory in (self.path, self.services):
            directory.chmod(0o711 if self._passable else 0o700)

    def _check_format(self) -> None:
        path = self.path / "format"
        if not path.exists():
            _write_durably(path, f"{FORMAT}\n".encode(), 0o600)
            return
        text = path.read_text(errors="backslashreplace").strip()
        if text != str(FORMAT):
            raise StateDirectoryError(
                f"{self.path} has format {text}, and this Waiter knows format {FORMAT} only. "
                "Run the newer Waiter that wrote it, or choose another --state-dir."
            )

    def _read_secret(self) -> bytes:
        path = self.path / "secret"
        if not path.exists():
            _write_durably(path, secrets.token_bytes(_SECRET_BYTES), 0o600)
        secret = path.read_bytes()
        if len(secret) < _SECRET_BYTES:
            raise StateDirectoryError(
                f"{path}: the secret has {len(secret)} bytes instead of {_SECRET_BYTES}, so that it could be guessed. "
                "Put the right one back, or remove it to get a new one."
            )
        return secret


def _user() -> str:
    return f"user {os.geteuid()}"


def _write_durably(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(path.name + ".new")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    temporary.replace(path)
