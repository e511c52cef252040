"""What Waiter asks of whatever keeps its records."""

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface


class Conflict(Exception):
    """The record is not at the version the caller expected. Nothing was changed."""


class StoreUnusable(Exception):
    """The store cannot be opened, or is closed. The message says which, why and what to do."""


class IStore(Interface):
    """
    Keeps small records under names, with a version each for compare-and-set.

    Keys are non-empty strings of printable characters without control characters; values are bytes. An acknowledged write survives the end of the process. An implementation is also an C{IService}, whose
    C{startService} fails (perhaps in a Deferred) with L{StoreUnusable} if it cannot be opened; a store that is not open
    fails every call with the same. Cancelling a Deferred: the caller is told C{CancelledError}; a write may or may not
    have happened.
    """

    largest_value = Attribute("How many bytes a value may have.")

    def get(key: str, *, newest: bool = False) -> Deferred[tuple[bytes, int] | None]:
        """
        The value and its version, or C{None}.

        @param newest: whether it must not be older than any write that was acknowledged before, by whomever. Without it,
            it may be that of a moment ago if others wrote it.
        """

    def get_many(keys: Iterable[str]) -> Deferred[dict[str, tuple[bytes, int]]]:
        """
        The values and versions of those keys that there are; faster than asking for each. For a few hundred at a time.

        A single one that is damaged is logged and left out.
        """

    def put(key: str, value: bytes, expected_version: int | None = None) -> Deferred[int]:
        """
        Write, and answer the new version, which is greater than any the key had before.

        @param expected_version: C{None} writes whatever is there; 0 demands that there is no such key; another number
            demands that version.
        @raise Conflict: (in the Deferred) the demand was not met.
        @raise ValueError: (in the Deferred) the key or value is not one a store takes.
        """

    def delete(key: str, expected_version: int | None = None) -> Deferred[bool]:
        """
        Remove the record; fires with whether there was one.

        @raise Conflict: (in the Deferred) a version was expected and it is at another, or gone.
        """

    def keys(prefix: str) -> Deferred[list[str]]:
        """All keys that begin with C{prefix}, sorted."""

    def watch(prefix: str, changed: Callable[[str], object]) -> Callable[[], None]:
        """
        Call C{changed} with the key after each change under C{prefix}, until the returned function is called.

        For a write made here it is called before the write's own Deferred fires. What it raises is logged.
        """
