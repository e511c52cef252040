"""What every store does the same way: which records it takes, and whom it tells of changes."""

from collections.abc import Callable

from twisted.logger import Logger

LARGEST_VALUE = 1024 * 1024 - 1024


def check_key(key: str) -> None:
    """
    @raise ValueError: no store takes this key.
    """
    if not isinstance(key, str) or not key or not key.isprintable():
        raise ValueError(f"{key!r} is not a key: keys are non-empty strings of printable characters")


def check_value(value: bytes) -> None:
    """
    @raise ValueError: no store takes this value.
    """
    if not isinstance(value, bytes):
        raise ValueError(f"a value must be bytes, not {type(value).__name__}")  # noqa: TRY004 - IStore names ValueError
    if len(value) > LARGEST_VALUE:
        raise ValueError(f"a value has at most {LARGEST_VALUE} bytes, not {len(value)}")


class Watchers:
    """Those who want to know of changes to the keys that begin with a prefix."""

    _log = Logger()

    def __init__(self) -> None:
        self._watchers: dict[object, tuple[str, Callable[[str], object]]] = {}

    def add(self, prefix: str, changed: Callable[[str], object]) -> Callable[[], None]:
        """Tell C{changed} each changed key until the returned function is called."""
        watcher = object()
        self._watchers[watcher] = (prefix, changed)

        def end() -> None:
            self._watchers.pop(watcher, None)

        return end

    def tell(self, key: str) -> None:
        """The record of C{key} has changed. A watcher that raises is logged and the others are told all the same."""
        for watcher, (prefix, changed) in tuple(self._watchers.items()):
            # One of those before may have ended this one.
            if watcher not in self._watchers or not key.startswith(prefix):
                continue
            try:
                changed(key)
            except Exception:  # noqa: BLE001 - one watcher must not take the others down
                self._log.failure("A watcher of {prefix} failed at {key}", prefix=prefix, key=key)
